"""Whether the cluster lets this process in, asked once when it starts.

Kafka's clients take a wrong password or an unknown authority for an outage, and try for ever. Here it is an error that
says what to do.
"""

import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Producer

from streams import Broken
from streams.kafka import CHECK_BROKERS

if TYPE_CHECKING:
    from deploy.settings import Settings

_TIMEOUT_S = 15.0
_LOOK_EVERY_S = 0.25
_REMEDIES = {
    KafkaError._AUTHENTICATION: "Check MANDATE_KAFKA_SASL_USERNAME, MANDATE_KAFKA_SASL_PASSWORD and"
    " MANDATE_KAFKA_SASL_MECHANISM; the brokers must know this user under this mechanism.",
    KafkaError._SSL: "Check that MANDATE_KAFKA_SSL_CA_LOCATION holds the authority that signed the brokers'"
    " certificates, that these are made for the addresses in MANDATE_KAFKA_BOOTSTRAP, and that TLS is spoken there.",
}


def check_access(settings: "Settings") -> None:
    """Raises Broken when login or certificate is refused, or nobody answers. Asks nothing of a plain-text cluster."""
    if settings.kafka_security_protocol == "PLAINTEXT":
        return
    complaints: list[KafkaError] = []
    client = Producer({**settings.client_config(), "log_level": 0, "error_cb": complaints.append})
    until = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            client.list_topics(timeout=_LOOK_EVERY_S)
            return
        except KafkaException as error:
            client.poll(0)
            refused = next((found for found in complaints if found.code() in _REMEDIES), None)
            if refused is not None:
                raise Broken(f"The cluster refused us ({_brief(refused)}).", _REMEDIES[refused.code()]) from None
            if time.monotonic() > until:
                raise Broken(f"The Kafka cluster does not answer ({error.args[0].str()}).", CHECK_BROKERS) from None


def _brief(error: KafkaError) -> str:
    """librdkafka's words, without its counts of milliseconds."""
    return error.str().partition(" (after ")[0].rstrip(".: ")
