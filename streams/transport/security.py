"""Security settings for aiokafka, so that Faust's consumer reaches the cluster as the librdkafka clients do."""

import ssl
from typing import TYPE_CHECKING

from faust import SASLCredentials, SSLCredentials

if TYPE_CHECKING:
    from deploy.settings import Settings


def credentials(settings: "Settings") -> SASLCredentials | SSLCredentials | None:
    """What Faust calls `broker_credentials`; None for a plain-text cluster."""
    protocol = settings.kafka_security_protocol
    context = _tls(settings) if protocol.endswith("SSL") else None
    if protocol.startswith("SASL_"):
        password = settings.kafka_sasl_password
        return SASLCredentials(
            username=settings.kafka_sasl_username,
            password=password.get_secret_value() if password else None,
            mechanism=settings.kafka_sasl_mechanism or "PLAIN",
            ssl_context=context,
        )
    return SSLCredentials(context) if context else None


def _tls(settings: "Settings") -> ssl.SSLContext:
    authorities = settings.kafka_ssl_ca_location
    context = ssl.create_default_context(cafile=str(authorities) if authorities else None)
    if settings.kafka_ssl_certificate_location:
        context.load_cert_chain(settings.kafka_ssl_certificate_location, settings.kafka_ssl_key_location)
    return context
