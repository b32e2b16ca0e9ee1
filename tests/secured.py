"""A real broker with TLS, logins and StandardAuthorizer, on loopback; certificates and passwords made for the test."""

from __future__ import annotations

import datetime
import ipaddress
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from deploy.local import kafka, ports, process
from deploy.local.fetch import fetch_all
from deploy.local.java import java
from deploy.settings import LOOPBACK, Settings, load_settings

ADMIN, NODE = "admin", "node"
SERVICE = "kafka"
READY_WITHIN_S = 90.0
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs certificates."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def made(cls, name: str) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = _certificate(subject, subject, key).add_extension(x509.BasicConstraints(True, None), critical=True)
        return cls(key, built.sign(key, hashes.SHA256()))

    def write(self, path: Path) -> Path:
        """The public certificate, as clients name it."""
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path

    def write_broker(self, path: Path) -> Path:
        """A key and a certificate for the loopback address, in one file, as Kafka reads PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))])
        built = _certificate(subject, self.certificate.subject, key).add_extension(names, critical=False)
        signed = built.sign(self.key, hashes.SHA256())
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + signed.public_bytes(Encoding.PEM)
        )
        return path


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


@dataclass(frozen=True, slots=True)
class Secured:
    """A running broker. `base` is what every user's settings share."""

    base: dict[str, Any]
    passwords: dict[str, str]

    def settings(self, user: str, **changed: Any) -> Settings:
        """The settings of one user."""
        login = {
            "kafka_sasl_username": user,
            "kafka_sasl_password": self.passwords[user],
            "kafka_sasl_mechanism": "PLAIN" if user == ADMIN else "SCRAM-SHA-512",
        }
        return load_settings(**{**self.base, **login, **changed})

    def add_users(self, users: Iterable[str]) -> None:
        """Users with SCRAM passwords; what they may do is not said here."""
        mechanism = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        fresh = {user: secrets.token_urlsafe(12) for user in users}
        wanted = [UserScramCredentialUpsertion(user, mechanism, word.encode()) for user, word in fresh.items()]
        admin = AdminClient(self.settings(ADMIN).client_config())
        for done in admin.alter_user_scram_credentials(wanted).values():
            done.result()
        self.passwords.update(fresh)


@contextmanager
def secured_broker(directory: Path, registry_url: str, **base: Any) -> Iterator[Secured]:
    """A broker that knows two users, both super users: `admin`, and itself."""
    stack = directory / "secured"
    stack.mkdir()
    port, controller = ports.pick_free(2)
    authority = Authority.made("test authority")
    passwords = {ADMIN: secrets.token_urlsafe(12), NODE: secrets.token_urlsafe(12)}
    own = _properties(authority, stack, port, controller, passwords)
    kafka.write_properties(stack, port, controller, own)
    fetched = fetch_all(load_settings())
    _run(kafka.format_command(java(), fetched, stack), stack)
    broker = process.spawn(kafka.command(java(), fetched, stack), stack, SERVICE, {})
    shared = {
        "kafka_bootstrap": f"{LOOPBACK}:{port}",
        "registry_url": registry_url,
        "kafka_security_protocol": "SASL_SSL",
        "kafka_ssl_ca_location": authority.write(stack / "ca.pem"),
        **base,
    }
    secured = Secured(shared, passwords)
    try:
        _await(secured, stack)
        yield secured
    finally:
        process.end(broker, stack, SERVICE, 20.0)


def _properties(
    authority: Authority, stack: Path, port: int, controller: int, passwords: dict[str, str]
) -> dict[str, str]:
    authority.write_broker(stack / "broker.pem")
    listener, own = "listener.name.secured", f'username="{NODE}" password="{passwords[NODE]}"'
    users = " ".join(f'user_{user}="{word}"' for user, word in passwords.items())
    return {
        "listeners": f"SECURED://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller}",
        "advertised.listeners": f"SECURED://{LOOPBACK}:{port}",
        "listener.security.protocol.map": "SECURED:SASL_SSL,CONTROLLER:SASL_SSL",
        "inter.broker.listener.name": "SECURED",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.mechanism.controller.protocol": "PLAIN",
        f"{listener}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        f"{listener}.plain.sasl.jaas.config": f"{PLAIN} required {own} {users};",
        f"{listener}.scram-sha-512.sasl.jaas.config": f"{SCRAM} required;",
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": f"{PLAIN} required {own} {users};",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(stack / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.write(stack / "ca.pem")),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMIN};User:{NODE}",
    }


def _run(command: list[str], stack: Path) -> None:
    formatter = process.spawn(command, stack, "kafka-format", {})
    while process.is_running(formatter):
        time.sleep(0.05)
    process.end(formatter, stack, "kafka-format", 2.0)
    assert kafka.is_formatted(stack), (stack / "kafka-format.log").read_text()


def _await(secured: Secured, stack: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    config = {**secured.settings(ADMIN).client_config(), "log_level": 0, "reconnect.backoff.max.ms": 200}
    admin = AdminClient(config)
    while True:
        try:
            if admin.list_topics(timeout=1.0).brokers:
                return
        except KafkaException:
            assert time.monotonic() < until, (stack / f"{SERVICE}.log").read_text()[-3000:]
