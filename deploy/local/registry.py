"""One schema registry on loopback that keeps its schemas in the local broker."""

from __future__ import annotations

from pathlib import Path

from deploy.local.fetch import Fetched
from deploy.settings import LOOPBACK

REGISTRY = "registry"

# The first tier of the compiler alone and a serial collector start it in a third of the time.
OPTIONS = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def command(java: Path, fetched: Fetched) -> list[str]:
    """The registry's command line."""
    cached = fetched.caches.options(REGISTRY)
    return [str(java), *cached, *OPTIONS, "-jar", str(fetched.registry_home / "quarkus-run.jar")]


def environment(kafka_port: int, port: int, management_port: int) -> dict[str, str]:
    """The registry's configuration."""
    return {
        "APICURIO_STORAGE_KIND": "kafkasql",
        "APICURIO_KAFKASQL_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{kafka_port}",
        # It reads its topics until a poll comes back empty, twice; with the default that is ten seconds of waiting.
        "APICURIO_KAFKASQL_CONSUMER_POLL_TIMEOUT": "500",
        # It is started beside the broker and asks until the broker answers.
        "APICURIO_STORAGE_CONNECTION_RETRY_INITIAL_DELAY_MS": "200",
        "APICURIO_STORAGE_CONNECTION_RETRY_BACKOFF_MULTIPLIER": "1.2",
        "APICURIO_STORAGE_CONNECTION_RETRY_MAX_ATTEMPTS": "60",
        "QUARKUS_HTTP_HOST": LOOPBACK,
        "QUARKUS_HTTP_PORT": str(port),
        "QUARKUS_MANAGEMENT_HOST": LOOPBACK,
        "QUARKUS_MANAGEMENT_PORT": str(management_port),
        "QUARKUS_LOG_LEVEL": "WARN",
        "QUARKUS_BANNER_ENABLED": "false",
    }
