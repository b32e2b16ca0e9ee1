"""What makes the worker end rather than go on, on a real broker that refuses, is paused, or lost records."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from deploy.local import process
from deploy.settings import Settings
from schemas.codec import Codec
from schemas.records import AgentId, AgentRequest, Channel, Decision, LeadId, RequestId
from streams import EXIT_BROKEN, Broken, broker_time
from streams.registry import connect
from streams.transport.outbox import Outbox
from tests.topology.worker_process import JOURNAL, Journal, WorkerProcess, eventually, worker

pytestmark = [pytest.mark.broker, pytest.mark.faults]
DECISIONS = "permission.decisions"


@pytest.fixture(scope="module")
def codec(own_stack: Settings) -> Codec:
    return connect(own_stack)


@pytest.fixture(scope="module")
def journal(own_stack: Settings, codec: Codec) -> Journal:
    return Journal(own_stack, codec)


def request() -> AgentRequest:
    return AgentRequest(
        request_id=RequestId(f"request-{uuid.uuid4()}"),
        lead_id=LeadId(f"lead-{uuid.uuid4()}"),
        agent_id=AgentId("agent-1"),
        role="booking",
        action="send_message",
        channel=Channel.SMS,
        requested_at=time.time_ns() // 1000,
    )


def decided(journal: Journal, codec: Codec, asked: AgentRequest, partition: int) -> bool:
    found = (codec.decode(Decision, m.value()) for m in journal.records(DECISIONS, partition))
    return any(decision.request_id == asked.request_id for decision in found)


@contextmanager
def largest_record(settings: Settings, topic: str, size: int) -> Iterator[None]:
    """A topic that takes no larger record for a while."""
    admin = AdminClient({**settings.client_config()})

    def alter(operation: AlterConfigOpType) -> None:
        entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=operation)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        for future in admin.incremental_alter_configs([resource]).values():
            future.result()

    alter(AlterConfigOpType.SET)
    try:
        yield
    finally:
        alter(AlterConfigOpType.DELETE)


def exit_code(running: WorkerProcess) -> int:
    return running.process.wait(20)


def test_a_broker_that_refuses_an_output_ends_the_worker_before_it_acknowledges_and_the_next_one_answers(
    own_stack: Settings, tmp_path: Path, journal: Journal, codec: Codec
) -> None:
    asked = request()
    settings = own_stack.model_copy(update={"state_dir": tmp_path / "state"})
    with largest_record(own_stack, DECISIONS, 100), worker(settings, tmp_path) as running:
        running.wait_ready(lambda partitions: len(partitions) == own_stack.partitions)
        partition, offset = journal.append(asked)
        assert exit_code(running) == EXIT_BROKEN
        (line,) = [line for line in running.errors().splitlines() if line.startswith("mandate: ")]
        assert DECISIONS in line
        assert "Check" in line
        assert journal.committed(partition) <= offset
    assert not decided(journal, codec, asked, partition)
    with worker(settings, tmp_path / "again") as running:
        eventually(lambda: decided(journal, codec, asked, partition), 40)


def test_a_flush_returns_only_when_the_broker_has_acknowledged_everything(own_stack: Settings) -> None:
    broker = process.find(own_stack.data_dir / "stack", "kafka")
    assert broker is not None

    async def send_while_paused() -> tuple[float, bool]:
        outbox = Outbox(own_stack, asyncio.get_running_loop())
        known = outbox.open()
        outbox.send(known, "dead.letters", b"first", key=None)
        await known.wait()
        broker.suspend()
        try:
            late = outbox.open()
            for number in range(1000):
                outbox.send(late, "dead.letters", b"late", key=str(number))
            began = time.monotonic()
            asyncio.get_running_loop().call_later(1.0, broker.resume)
            await outbox.flush()
            return time.monotonic() - began, late.is_complete
        finally:
            broker.resume()
            outbox.close()

    took, complete = asyncio.run(send_while_paused())
    assert complete
    assert took >= 0.9


@pytest.mark.parametrize("ahead_s", [5.0, -5.0])
def test_a_worker_whose_clock_differs_from_the_brokers_does_not_start(
    own_stack: Settings, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    broker_time.check_clock(own_stack)
    monkeypatch.setattr(broker_time, "time", SimpleNamespace(time=lambda: time.time() + ahead_s))
    with pytest.raises(Broken, match=r"clock is [45]\.\d s (ahead of|behind) the broker's"):
        broker_time.check_clock(own_stack)


def test_entries_removed_before_they_were_judged_end_the_worker(
    own_stack: Settings, tmp_path: Path, journal: Journal, codec: Codec
) -> None:
    # Last in this file: the journal has a hole from here on.
    settings = own_stack.model_copy(update={"state_dir": tmp_path / "state"})
    asked = request()
    with worker(settings, tmp_path) as running:
        running.wait_ready(lambda partitions: len(partitions) == own_stack.partitions)
        partition, _ = journal.append(asked)
        eventually(lambda: decided(journal, codec, asked, partition))
        eventually(lambda: journal.committed(partition) == journal.end(JOURNAL, partition))
        assert running.terminate() == 0
    judged = journal.committed(partition)
    for _ in range(3):
        journal.append(asked, partition=partition)
    admin = AdminClient({**own_stack.client_config()})
    for future in admin.delete_records([TopicPartition(JOURNAL, partition, judged + 2)]).values():
        future.result()
    with worker(settings, tmp_path / "again") as running:
        assert exit_code(running) == EXIT_BROKEN
        assert "entries were removed before they were judged" in running.errors()
    assert journal.committed(partition) == judged
