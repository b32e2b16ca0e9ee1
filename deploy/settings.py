"""Every setting of Mandate in one typed model: environment over file over default.

Environment variables are the field's name in capitals after `MANDATE_`; the file is TOML with the same names
in lower case, `./mandate.toml` or what `MANDATE_CONFIG` names (empty: no file).
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

PREFIX = "MANDATE_"
CONFIG_VARIABLE = "MANDATE_CONFIG"
DEFAULT_CONFIG = Path("mandate.toml")
LOOPBACK = "127.0.0.1"
DEFAULT_KAFKA_PORT = 19092
DEFAULT_REGISTRY_PORT = 18081
REGISTRY_PATH = "/apis/ccompat/v7"
PACKAGED_POLICY = Path(__file__).resolve().parent / "policy" / "default"

# A password may hold an @ that nobody escaped: up to the last one before the path.
_PASSWORD_IN_URL = re.compile(r"(//[^/?#\s]*?:)[^/?#\s]*(?=@)|([?&]\w*password=)[^&\s]*", re.IGNORECASE)

Port = Annotated[int, Field(ge=0, le=65535)]


class SettingsError(Exception):
    """A setting is wrong. The operator corrects the variable or the line of the file that the message names."""

    exit_code: ClassVar[int] = 2


def _data_dir(values: dict[str, Any]) -> Path:
    found = values.get("data_dir")
    return found if isinstance(found, Path) else Path("var")


def _lake_dir(values: dict[str, Any]) -> Path:
    found = values.get("lake_dir")
    return found if isinstance(found, Path) else _data_dir(values) / "lake"


class Settings(BaseSettings):
    """The whole configuration. Make it with `load_settings`, which words what is wrong; derived defaults follow
    `data_dir` only there, not in `model_copy`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    # -- Kafka and the schema registry ---------------------------------------------------------------------
    kafka_bootstrap: str | None = Field(
        None, description="host:port[,host:port] of a Kafka cluster; unset: the local stack on loopback."
    )
    registry_url: str | None = Field(
        None,
        repr=False,
        description="URL of the schema registry's Confluent API, without a login; set together with kafka_bootstrap.",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the cluster."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="SASL mechanism, with a SASL_ protocol; PLAIN when unset."
    )
    kafka_sasl_username: str | None = Field(None, description="SASL user name.")
    kafka_sasl_password: SecretStr | None = Field(None, description="SASL password.")
    kafka_ssl_ca_location: Path | None = Field(
        None,
        description="PEM file of the authorities that signed the brokers' certificates; unset: the system's.",
    )
    kafka_ssl_certificate_location: Path | None = Field(
        None, description="PEM file of our certificate, for mutual TLS."
    )
    kafka_ssl_key_location: Path | None = Field(None, description="PEM file of our private key, for mutual TLS.")
    registry_username: str | None = Field(None, description="User name for the registry's basic authentication.")
    registry_password: SecretStr | None = Field(None, description="Password for the registry's basic authentication.")
    registry_ssl_ca_location: Path | None = Field(
        None, description="PEM file of the authorities that signed the registry's certificate."
    )

    # -- Where things are kept -----------------------------------------------------------------------------
    data_dir: Path = Field(Path("var"), description="Root of everything Mandate writes on this machine.")
    state_dir: Path | None = Field(
        None, description="A worker's RocksDB directory; unset: each worker derives its own under data_dir."
    )
    crm_url: str = Field(
        default_factory=lambda values: f"sqlite:///{_data_dir(values) / 'crm.sqlite'}",
        repr=False,
        description="SQLAlchemy URL of the CRM store; default: SQLite under data_dir.",
    )
    lake_dir: Path = Field(
        default_factory=lambda values: _data_dir(values) / "lake",
        description="Warehouse directory of the audit lake; default: data_dir/lake.",
    )
    lake_catalog_url: str = Field(
        default_factory=lambda values: f"sqlite:///{_lake_dir(values) / 'catalog.sqlite'}",
        repr=False,
        description="SQLAlchemy URL of the Iceberg catalogue; default: SQLite in lake_dir.",
    )
    policy_bundle: Path = Field(
        PACKAGED_POLICY,
        description="The policy bundle to activate; default: the one that comes with Mandate.",
    )
    signing_key_path: Path = Field(
        default_factory=lambda values: _data_dir(values) / "keys" / "signing.pem",
        description="Ed25519 private key (PKCS8 PEM) that signs grants; made when missing.",
    )
    signing_key: SecretStr | None = Field(
        None, description="The signing key itself, as PEM text, where it does not come as a file; wins over the path."
    )
    jwks_path: Path = Field(
        default_factory=lambda values: _data_dir(values) / "keys" / "jwks.json",
        description="JWKS of the public keys that grants are verified with; enforcers need this file alone.",
    )
    approver_key_path: Path = Field(
        default_factory=lambda values: _data_dir(values) / "keys" / "approver.pem",
        description="Ed25519 private key (PKCS8 PEM) that approves policy bundles; for `mandate policy activate` only.",
    )
    approver_key: SecretStr | None = Field(
        None, description="The approver key itself, as PEM text, where it does not come as a file; wins over the path."
    )
    approvers_path: Path = Field(
        default_factory=lambda values: _data_dir(values) / "keys" / "approvers.json",
        description="JWKS of the public keys that approve policies; workers and the CRM sink need it.",
    )
    cache_dir: Path = Field(
        default_factory=lambda: Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mandate",
        description="Per-user cache of the fetched jars and Java's of them; default: $XDG_CACHE_HOME/mandate.",
    )
    maven_url: str | None = Field(
        None, repr=False, description="A Maven mirror to fetch the jars from; unset: the Maven client's own default."
    )

    # -- Behaviour -----------------------------------------------------------------------------------------
    clock: Literal["system", "driven"] = Field(
        "system", description="The journal's clock: the system's, or one that a replay, test or demo drives."
    )
    partitions: int = Field(4, ge=1, le=1024, description="Partitions of every topic keyed by lead.")
    replication_factor: int = Field(1, ge=1, le=7, description="Copies of each partition; 3 in production.")
    unresolved_wait_s: float = Field(
        10, gt=0, le=3600, description="Seconds an event without a lead waits before it is a dead letter."
    )
    dead_letter_limit: int = Field(
        1_000,
        ge=0,
        le=1_000_000,
        description="Dead letters of one input partition in a minute, past which intake ends; 0: no limit.",
    )
    session_timeout_s: float = Field(
        10,
        ge=2,
        le=60,
        description="Seconds after which a worker that gives no sign loses its partitions; brokers take 6 and more.",
    )
    standby_replicas: int = Field(
        1, ge=0, le=6, description="Other workers that keep a copy of a partition's rows; fewer where there are fewer."
    )
    tick_interval_s: float = Field(1, gt=0, le=60, description="Seconds between clock ticks in the journal.")
    revocation_lease_s: float = Field(
        5, gt=0, le=300, description="Seconds a revocation feed may lag before an enforcer refuses."
    )

    # -- Metrics -------------------------------------------------------------------------------------------
    metrics_port: Port = Field(
        0, description="TCP port on which this process serves its Prometheus metrics; 0: it serves none."
    )
    metrics_host: str = Field(LOOPBACK, description="Address on which metrics are served; they are not encrypted.")

    # -- Tracing -------------------------------------------------------------------------------------------
    tracing: bool = Field(
        False,
        description="Spans for OpenTelemetry; where they go say its own OTEL_* variables. Needs mandate[tracing].",
    )

    # -- Local stack ---------------------------------------------------------------------------------------
    kafka_port: Port | None = Field(
        None, description=f"Loopback port of the local broker; unset: {DEFAULT_KAFKA_PORT}; 0: a free one."
    )
    registry_port: Port | None = Field(
        None,
        description=f"Loopback port of the local registry; unset: {DEFAULT_REGISTRY_PORT}; 0: a free one.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = TomlConfigSettingsSource(settings_cls, toml_file=_config_file())
        return init_settings, env_settings, file

    @field_validator(
        "kafka_ssl_ca_location",
        "kafka_ssl_certificate_location",
        "kafka_ssl_key_location",
        "registry_ssl_ca_location",
    )
    @classmethod
    def _is_a_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"there is no file {value}")
        return value

    @field_validator("registry_url")
    @classmethod
    def _without_login(cls, value: str | None) -> str | None:
        if value is not None and "@" in value:  # errors name the URL
            raise ValueError("put the login into registry_username and registry_password, not into the URL")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if (self.kafka_bootstrap is None) != (self.registry_url is None):
            raise ValueError(
                "kafka_bootstrap and registry_url belong together: set both (your cluster) or neither (local stack)"
            )
        if self.is_local and self.kafka_security_protocol != "PLAINTEXT":
            raise ValueError("kafka_security_protocol needs kafka_bootstrap: the local stack is loopback only")
        has_login = self.kafka_sasl_username is not None and self.kafka_sasl_password is not None
        if self.kafka_security_protocol.startswith("SASL_") and not has_login:
            raise ValueError(f"{self.kafka_security_protocol} needs kafka_sasl_username and kafka_sasl_password")
        if (self.kafka_ssl_certificate_location is None) != (self.kafka_ssl_key_location is None):
            raise ValueError("kafka_ssl_certificate_location and kafka_ssl_key_location belong together")
        if (self.registry_username is None) != (self.registry_password is None):
            raise ValueError("registry_username and registry_password belong together")
        return self

    @property
    def is_local(self) -> bool:
        """Whether Mandate runs its own broker and registry on loopback."""
        return self.kafka_bootstrap is None

    @property
    def bootstrap_servers(self) -> str:
        """The brokers' addresses, the local stack's when none is configured."""
        return self.kafka_bootstrap or f"{LOOPBACK}:{self._local_port('kafka', self.kafka_port)}"

    @property
    def schema_registry_url(self) -> str:
        """The registry's address, the local stack's when none is configured."""
        if self.registry_url is not None:
            return self.registry_url
        return f"http://{LOOPBACK}:{self._local_port('registry', self.registry_port)}{REGISTRY_PATH}"

    def client_config(self) -> dict[str, str | int]:
        """Address and security for any confluent-kafka client; the caller adds its own keys."""
        config: dict[str, str | int] = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.kafka_security_protocol,
        }
        if self.kafka_security_protocol.startswith("SASL_"):
            config["sasl.mechanism"] = self.kafka_sasl_mechanism or "PLAIN"
            config["sasl.username"] = self.kafka_sasl_username or ""
            config["sasl.password"] = _reveal(self.kafka_sasl_password)
        if self.kafka_security_protocol.endswith("SSL"):
            for key, path in (
                ("ssl.ca.location", self.kafka_ssl_ca_location),
                ("ssl.certificate.location", self.kafka_ssl_certificate_location),
                ("ssl.key.location", self.kafka_ssl_key_location),
            ):
                if path is not None:
                    config[key] = str(path)
        return config

    def registry_config(self) -> dict[str, str]:
        """Configuration for `confluent_kafka.schema_registry.SchemaRegistryClient`."""
        config = {"url": self.schema_registry_url}
        if self.registry_username is not None:
            config["basic.auth.user.info"] = f"{self.registry_username}:{_reveal(self.registry_password)}"
        if self.registry_ssl_ca_location is not None:
            config["ssl.ca.location"] = str(self.registry_ssl_ca_location)
        return config

    def to_env(self) -> dict[str, str]:
        """These settings as environment variables, for a process that we start (secrets included)."""
        found = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is not None:
                found[PREFIX + name.upper()] = _reveal(value) if isinstance(value, SecretStr) else str(value)
        return found

    def _local_port(self, service: Literal["kafka", "registry"], port: int | None) -> int:
        if port is None:
            return DEFAULT_KAFKA_PORT if service == "kafka" else DEFAULT_REGISTRY_PORT
        if port:
            return port
        try:
            ports = json.loads((self.data_dir / "stack" / "stack.json").read_text())
            return int(ports[f"{service}_port"])
        except (OSError, ValueError, KeyError):
            raise SettingsError(
                f"{PREFIX}{service.upper()}_PORT is 0 (a free port) and no local stack runs in {self.data_dir}:"
                " start one with `mandate up`"
            ) from None


def load_settings(**overrides: Any) -> Settings:
    """The settings in force; `overrides` win over the environment. Raises SettingsError in one sentence."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_worded(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{_config_file()} is not valid TOML: {error}") from None


def _config_file() -> Path | None:
    named = os.environ.get(CONFIG_VARIABLE)
    if named is None:
        return DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None
    if not named:
        return None
    if not Path(named).is_file():
        raise SettingsError(f"{CONFIG_VARIABLE} names {named}, which is not a file")
    return Path(named)


def _worded(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    reason = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return f"Wrong settings: {reason}."
    name = str(first["loc"][0])
    variable = PREFIX + name.upper()
    if first["type"] == "extra_forbidden":
        return f"There is no setting {name} (in {_config_file() or 'the call'}); `mandate settings` lists them."
    where = variable if variable in os.environ else f"{name} (in {_config_file() or 'the call'})"
    shown = "" if _is_secret(name) else f", not {first['input']!r}"
    return f"Wrong value for {where}: {reason[:1].lower()}{reason[1:]}{shown}."


def _is_secret(name: str) -> bool:
    """Whether a value must not be repeated: passwords and keys, and URLs, which may hold a password."""
    field = Settings.model_fields.get(name)
    return field is None or "SecretStr" in str(field.annotation) or name.endswith("_url")


def shown(value: Any) -> str:
    """A setting's value as people may see it: secrets are starred, in URLs too."""
    if value is None:
        return ""
    return _PASSWORD_IN_URL.sub(lambda found: f"{found[1] or found[2]}***", str(value))


def _reveal(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""
