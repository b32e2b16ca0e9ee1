"""Three brokers and a registry on loopback: a ground on which a partition's leader can move.

Each has a copy of everything; a record is acknowledged once two hold it. Each broker is a controller too.
"""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from confluent_kafka import ElectionType, KafkaException, TopicPartition
from confluent_kafka.admin import TopicMetadata

from deploy import kafka_admin, keys
from deploy.local import kafka, ports, process, registry
from deploy.local.fetch import fetch_all
from deploy.local.java import java
from deploy.local.progress import Silent
from deploy.local.stack import KAFKA, REGISTRY
from deploy.settings import LOOPBACK, REGISTRY_PATH, Settings, load_settings
from tests.faults.ground import (
    WITHIN_S,
    Ground,
    Service,
    admin_of,
    answers_as_broker,
    answers_as_registry,
    eventually,
    quick,
)
from tests.stacks import OWNER

BROKERS = 3
_REASSIGN_MS = 10_000
_PROPERTIES = {
    "offsets.topic.replication.factor": "3",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    # Three that share two cores may be late.
    "controller.quorum.election.timeout.ms": "1000",
    "controller.quorum.fetch.timeout.ms": "3000",
}


class Cluster(Ground):
    """Ground with three brokers; by the number that topics' metadata give them."""

    def __init__(self, settings: Settings, brokers: Mapping[int, Service], registrar: Service) -> None:
        super().__init__(settings, brokers, registrar, {})
        self._admin = admin_of(settings)

    def leader(self, topic: str, partition: int) -> int:
        """Broker that leads a partition; -1 when none does or nobody answers."""
        with suppress(KafkaException, KeyError):
            return int(self._topic(topic).partitions[partition].leader)
        return -1

    def move(self, topic: str, partition: int) -> bool:
        """Has the next replica lead, by another order of replicas and an election; all brokers go on."""
        before = self.leader(topic, partition)
        replicas = list(self._topic(topic).partitions[partition].replicas)
        at = replicas.index(before) + 1 if before in replicas else 0
        asyncio.run(_reassign(str(self.settings.bootstrap_servers), topic, partition, replicas[at:] + replicas[:at]))
        self._admin.elect_leaders(ElectionType.PREFERRED, [TopicPartition(topic, partition)]).result()
        return eventually(lambda: self.leader(topic, partition) not in (before, -1), 20)

    def moves_from(self, topic: str, partition: int, broker: int) -> bool:
        """Waits until another broker leads."""
        return eventually(lambda: self.leader(topic, partition) not in (broker, -1), 30)

    def is_whole(self) -> bool:
        """Waits until every partition has all of its replicas in sync again."""

        def look() -> bool:
            with suppress(KafkaException):
                topics = self._admin.list_topics(timeout=2.0)
                partitions = [p for topic in topics.topics.values() for p in topic.partitions.values()]
                return len(topics.brokers) == BROKERS and all(len(p.isrs) == len(p.replicas) for p in partitions)
            return False

        return eventually(look, WITHIN_S)

    def _topic(self, topic: str) -> TopicMetadata:
        return self._admin.list_topics(topic, timeout=2.0).topics[topic]


async def _reassign(bootstrap: str, topic: str, partition: int, replicas: Sequence[int]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    await admin.start()
    try:
        wanted: list[Any] = [(topic, [(partition, list(replicas), {})], {})]
        answer = await admin._send_request(AlterPartitionReassignmentsRequest(_REASSIGN_MS, wanted, {}))
        if answer.error_code:
            raise RuntimeError(f"replicas of {topic} [{partition}] were not put in another order: {answer}")
    finally:
        await admin.close()


@contextmanager
def cluster(data_dir: Path) -> Iterator[Cluster]:
    """A throwaway cluster with keys, topics and schemas."""
    *picked, registry_port, management_port = ports.pick_free(2 * BROKERS + 2)
    at = {number + 1: (picked[2 * number], picked[2 * number + 1]) for number in range(BROKERS)}
    settings = load_settings(
        data_dir=data_dir,
        kafka_bootstrap=",".join(f"{LOOPBACK}:{port}" for port, _ in at.values()),
        registry_url=f"http://{LOOPBACK}:{registry_port}{REGISTRY_PATH}",
        replication_factor=BROKERS,
        clock="system",
    )
    fetched, runtime = fetch_all(settings, Silent()), java()
    _format(data_dir, at, partial(kafka.format_command, runtime, fetched))
    brokers = {}
    for number, (port, _) in at.items():
        home, alone = _home(data_dir, number), settings.model_copy(update={"kafka_bootstrap": f"{LOOPBACK}:{port}"})
        command = quick(kafka.command(runtime, fetched, home))
        brokers[number] = Service(home, KAFKA, partial(_with, command, {}), answers_as_broker(alone))
    environment = registry.environment(at[1][0], registry_port, management_port)
    environment["APICURIO_KAFKASQL_BOOTSTRAP_SERVERS"] = str(settings.kafka_bootstrap)
    start_with = partial(_with, registry.command(runtime, fetched), environment)
    made = Cluster(settings, brokers, Service(_home(data_dir, 1), REGISTRY, start_with, answers_as_registry(settings)))
    with ExitStack() as ending:  # each is ended, whatever becomes of the others
        for service in (*brokers.values(), made.registry):
            ending.callback(service.stop)
        made.heal()
        if not made.is_whole():
            raise RuntimeError("the three brokers did not find each other")
        keys.ensure_keys(settings)
        kafka_admin.ensure_topics(settings)
        kafka_admin.register_schemas(settings)
        yield made


def _home(data_dir: Path, number: int) -> Path:
    """A broker's directory: a stack's to who ends the leftovers of killed runs."""
    return (data_dir / f"broker-{number}" / "stack").resolve()


def _with(command: list[str], environment: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    return command, environment


def _format(data_dir: Path, at: Mapping[int, tuple[int, int]], command: Callable[[Path], list[str]]) -> None:
    """Makes the brokers' directories, all of one cluster."""
    voters = ",".join(f"{number}@{LOOPBACK}:{controller}" for number, (_, controller) in at.items())
    shared = kafka.cluster_id()
    for number, (port, controller) in at.items():
        home = _home(data_dir, number)
        home.mkdir(parents=True)
        (home.parent / OWNER).write_text(json.dumps(asdict(process.myself())))
        own = {**_PROPERTIES, "node.id": str(number), "controller.quorum.voters": voters}
        kafka.write_properties(home, port, controller, own)
        with mock.patch.object(kafka, "cluster_id", return_value=shared):
            made = subprocess.run(command(home), check=False, capture_output=True, text=True, timeout=WITHIN_S)
        if not kafka.is_formatted(home):
            raise RuntimeError(f"a broker's directory could not be made: {made.stderr[-500:]}")
