"""Rows that an owner writes late, after another took over, roll nothing back, on a real broker.

They are rows of an older claim, written again as they lay on the changelog: what a worker does that wakes with its
buffers full, at a moment that the test chooses.
"""

import time
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Message

from deploy.commands import state_verify
from deploy.commands.policy_activate import sign
from deploy.settings import Settings
from processors.policy import load_bundle
from schemas.codec import Codec
from schemas.records import (
    CrmEvent,
    CrmEventType,
    LeadId,
)
from streams.changelog import CHANGELOG
from streams.kafka import make_producer
from streams.owners import stamp_of
from streams.registry import connect
from tests.topology.worker_process import Journal, eventually, worker

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.timeout(600)]
BUSY_S = 120
"""How long a step may take where other tests run beside; alone it is some seconds."""


@pytest.fixture(scope="module")
def codec(own_stack: Settings) -> Codec:
    return connect(own_stack)


@pytest.fixture(scope="module")
def journal(own_stack: Settings, codec: Codec) -> Journal:
    made = Journal(own_stack, codec)
    policy = sign(own_stack, load_bundle(own_stack.policy_bundle), revision=1, reason="", approved_by="counsel")
    for number in range(own_stack.partitions):
        made.append(policy, partition=number)
    return made


def rows_of(journal: Journal, number: int, lead: str) -> list[Message]:
    return [message for message in journal.records(CHANGELOG, number) if message.key() == b"l/" + lead.encode()]


def status(lead: LeadId, number: int) -> CrmEvent:
    now = time.time_ns() // 1000
    return CrmEvent(
        event_id=f"{lead}-{number}", lead_id=lead, type=CrmEventType.LEAD_UPSERTED, external_id=f"crm-{number}",
        time_zones=("America/New_York",), received_at=now,
    )  # fmt: skip


def write_again(settings: Settings, message: Message) -> None:
    """What an older owner's client would do when it wakes: the same record once more."""
    producer = make_producer(settings)
    producer.produce(
        CHANGELOG, message.value(), message.key(), message.partition() or 0, headers=message.headers()  # type: ignore[arg-type]
    )  # fmt: skip
    assert producer.flush(10) == 0


def test_a_late_row_is_written_over_by_the_owner_and_undone_by_the_next_one_when_the_owner_died(
    own_stack: Settings, tmp_path: Path, journal: Journal
) -> None:
    lead = LeadId(f"lead-{uuid.uuid4()}")
    settings = own_stack.model_copy(update={"state_dir": tmp_path / "state"})
    with worker(settings, tmp_path / "first") as first:
        first.wait_ready(lambda partitions: len(partitions) == own_stack.partitions, BUSY_S)
        number, _ = journal.append(status(lead, 0))
        old = eventually(lambda: rows_of(journal, number, lead), BUSY_S)[0]
    with worker(settings, tmp_path / "second") as second:
        second.wait_ready(lambda partitions: len(partitions) == own_stack.partitions, BUSY_S)
        journal.append(status(lead, 1))
        newer = eventually(lambda: rows_of(journal, number, lead)[1:], BUSY_S)[0]
        assert stamp_of(newer.headers()).epoch > stamp_of(old.headers()).epoch
        write_again(own_stack, old)
        journal.append(status(LeadId(f"{lead}-other"), 0), partition=number)
        rows = eventually(lambda: rows_of(journal, number, lead)[3:], BUSY_S)
        assert rows[0].value() == newer.value() != old.value()
        assert "rows of an earlier owner came late" in second.errors()
        second.kill()
    write_again(own_stack, old)
    nowhere = own_stack.model_copy(update={"state_dir": tmp_path / "another disk"})
    with worker(nowhere, tmp_path / "third") as third:
        third.wait_ready(lambda partitions: number in partitions, BUSY_S)
        assert "the journal is folded again" in third.errors()
        # Offsets were committed before: only the row itself tells that it is there again.
        eventually(lambda: rows_of(journal, number, lead)[-1].value() == newer.value(), BUSY_S)
    assert state_verify.run(own_stack, every=True) == 0
