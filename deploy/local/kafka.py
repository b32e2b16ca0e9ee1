"""One Kafka broker, its own controller (KRaft), on loopback: small, quick to start, low latency."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.fetch import Fetched
from deploy.settings import LOOPBACK

BROKER, FORMATTER = "kafka", "kafka-format"
# Nearly all that a broker allocates dies at once: a large young generation is seldom collected, and a collection costs
# what lives. With the 40 MB that it would have, each second of 1,000 events has two or three. The collector of one
# thread stops the broker for 10 to 13 ms each time, this one for 3 to 6.
HEAP = ("-Xms512m", "-Xmx512m", "-Xmn256m", "-XX:+UseParallelGC", "-XX:ParallelGCThreads=2")
QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
ANY_TIME_MS = 2**63 - 1
PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # Topics come from the catalogue; a misspelt name is an error.
    "auto.create.topics.enable": "false",
    # A driven clock may run ahead of the broker's.
    "log.message.timestamp.after.max.ms": str(ANY_TIME_MS),
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # One node elects itself at once.
    "controller.quorum.election.timeout.ms": "200",
    "controller.quorum.fetch.timeout.ms": "1000",
    # A worker that was killed is replaced in a second or two, not in ten.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # Two cores, shared with everything else: each hand from thread to thread costs, most where the machine is virtual.
    "num.network.threads": "1",
    "num.io.threads": "1",
    "background.threads": "2",
    # Fetches that were answered hang on quiet partitions until somebody looks: a thousand of them make each collection
    # of the heap twice as long (12 ms become 24 at 1,000 events a second).
    "fetch.purgatory.purge.interval.requests": "100",
    # A clean stop waits for a heartbeat.
    "broker.heartbeat.interval.ms": "200",
    # After a kill the controller waits this long before it takes the same broker again.
    "broker.session.timeout.ms": "3000",
    "log.cleaner.threads": "1",
    "log.cleaner.dedupe.buffer.size": str(8 << 20),
    "log.index.size.max.bytes": str(1 << 20),
    "log.segment.delete.delay.ms": "1000",
}


def is_formatted(directory: Path) -> bool:
    """Whether the broker's data directory has its identity; that file is written last."""
    return (directory / "kafka" / "meta.properties").exists()


def cluster_id() -> str:
    """A random cluster id. None begins with a dash: the storage tool would take it for an option."""
    while (found := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return found


def format_command(java: Path, fetched: Fetched, directory: Path) -> list[str]:
    """The command that gives the broker's data directory its identity."""
    cached = fetched.caches.options(FORMATTER)
    options = _java(java, fetched.kafka_class_path, *cached, "-Xmx64m", "-XX:TieredStopAtLevel=1")
    return [*options, "kafka.tools.StorageTool", "format", "-t", cluster_id(), "-c", _properties(directory)]


def write_properties(directory: Path, port: int, controller_port: int, own: Mapping[str, str] | None = None) -> None:
    """The broker's configuration. own: what is to stand in it beside, or instead of, what stands here.

    The file may hold passwords then: nobody else can read it.
    """
    addressed = {
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "log.dirs": str((directory / "kafka").resolve()),
    }
    lines = [f"{key}={value}\n" for key, value in (PROPERTIES | addressed | dict(own or {})).items()]
    path = Path(_properties(directory))
    path.touch(mode=0o600)
    path.write_text("".join(lines))


def command(java: Path, fetched: Fetched, directory: Path) -> list[str]:
    """The broker's command line."""
    options = _java(java, fetched.kafka_class_path, *fetched.caches.options(BROKER), *HEAP)
    return [*options, "kafka.Kafka", _properties(directory)]


def _properties(directory: Path) -> str:
    return str((directory / "server.properties").resolve())


def _java(java: Path, class_path: Sequence[Path], *options: str) -> list[str]:
    return [str(java), *options, QUIET, "-cp", ":".join(str(path) for path in class_path)]
