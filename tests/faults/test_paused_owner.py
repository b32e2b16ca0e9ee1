"""An owner that is stopped, loses its partitions and wakes with its buffers full rolls nothing back.

Once by SIGSTOP, as it comes, and once by writing rows of an older claim again as they lay on the changelog, so that
late rows are certainly there.
"""

import signal
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from confluent_kafka import Message

from deploy import keys
from deploy.commands import state_verify
from deploy.commands.policy_activate import sign
from deploy.settings import Settings
from processors.authority import Court
from processors.offline import MemoryRows
from processors.partition import Partition
from processors.policy import load_bundle
from schemas.codec import Codec
from schemas.records import (
    AgentId,
    AgentRequest,
    Channel,
    CrmEvent,
    CrmEventType,
    Decision,
    JournalEntry,
    LeadId,
    RequestId,
)
from streams import EXIT_BROKEN
from streams.changelog import CHANGELOG
from streams.kafka import make_producer
from streams.owners import stamp_of
from streams.registry import connect
from tests.topology.worker_process import JOURNAL, Journal, WorkerProcess, entry_of, eventually, worker

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.timeout(600)]
DECISIONS = "permission.decisions"
PREFIX = 5
LEADS = 40
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


class Sent:
    """Requests of some leads, in bursts; the journal takes them as fast as it can."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._producer = make_producer(settings)
        self._codec = codec
        self.ids: set[str] = set()

    def burst(self, count: int) -> None:
        for number in range(count):
            now, lead = time.time_ns() // 1000, LeadId(f"lead-{number % LEADS}")
            asked = AgentRequest(
                request_id=RequestId(f"request-{uuid.uuid4()}"), lead_id=lead, agent_id=AgentId("agent-1"),
                role="booking", action="send_message", channel=Channel.SMS, requested_at=now,
            )  # fmt: skip
            entry = entry_of(asked, now // 1000 * 1000, number)
            self._producer.produce(JOURNAL, self._codec.encode(entry), lead, timestamp=entry.at // 1000)
            self.ids.add(asked.request_id)
        assert self._producer.flush(30) == 0


def everything_is_judged(settings: Settings, journal: Journal) -> bool:
    return all(journal.committed(number) == journal.end(JOURNAL, number) for number in range(settings.partitions))


def must_agree_with_the_journal(settings: Settings, journal: Journal, codec: Codec, sent: set[str]) -> int:
    """One decision a request, every copy the bytes of an undisturbed fold; rows as it has them. How many came twice."""
    court = Court.from_keys(
        keys.load_private_key(settings.signing_key_path),
        [keys.load_private_key(settings.approver_key_path).public_key()],
    )
    written, folded, decided = defaultdict[str, list[bytes]](list), dict[str, bytes](), set[str]()
    for number in range(settings.partitions):
        partition = Partition(number, MemoryRows(), court)
        for message in journal.records(JOURNAL, number):
            entry = codec.decode(JournalEntry, message.value())
            for output in partition.apply(entry, message.offset() or 0):
                if isinstance(output.value, Decision):
                    folded[output.id] = codec.encode(output.value)[PREFIX:]
        for message in journal.records(DECISIONS, number):
            written[dict(message.headers() or ())["ce_id"].decode()].append(bytes(message.value() or b"")[PREFIX:])
            decided.add(codec.decode(Decision, message.value()).request_id)
    assert {name: set(copies) for name, copies in written.items()} == {name: {body} for name, body in folded.items()}
    assert decided >= sent
    assert state_verify.run(settings, every=True) == 0
    return sum(len(copies) - 1 for copies in written.values())


@pytest.fixture
def two(own_stack: Settings, tmp_path: Path) -> Iterator[tuple[WorkerProcess, WorkerProcess]]:
    """Two workers that share the partitions."""
    one_dir, two_dir = (own_stack.model_copy(update={"state_dir": tmp_path / name}) for name in ("s1", "s2"))
    with worker(one_dir, tmp_path / "one") as one:
        one.wait_ready(lambda partitions: len(partitions) == own_stack.partitions, BUSY_S)
        with worker(two_dir, tmp_path / "two") as other:
            for each in (one, other):
                each.wait_ready(lambda partitions: 0 < len(partitions) < own_stack.partitions, BUSY_S)
            try:
                yield one, other
            finally:
                if one.process.poll() is None:
                    one.process.send_signal(signal.SIGCONT)


def test_an_owner_stopped_for_longer_than_its_session_rolls_nothing_back_when_it_wakes(
    two: tuple[WorkerProcess, WorkerProcess], own_stack: Settings, tmp_path: Path, journal: Journal, codec: Codec
) -> None:
    sleeper, other = two
    sent = Sent(own_stack, codec)
    sent.burst(1_500)
    sleeper.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    other.wait_ready(lambda partitions: len(partitions) == own_stack.partitions, BUSY_S)
    sent.burst(500)
    time.sleep(2)
    sleeper.process.send_signal(signal.SIGCONT)
    slept = time.monotonic() - began
    assert slept > 10
    # It joins again, or it finds another's claim where its rows should lie; then a supervisor starts it.
    time.sleep(3)
    ended = sleeper.process.poll()
    assert ended in (None, EXIT_BROKEN), sleeper.errors()
    settings = own_stack.model_copy(update={"state_dir": tmp_path / "s1"})
    with worker(settings, tmp_path / "one") if ended is not None else nullcontext():
        sent.burst(300)
        eventually(lambda: everything_is_judged(own_stack, journal), BUSY_S)
    repeated = must_agree_with_the_journal(own_stack, journal, codec, sent.ids)
    print(f"slept {slept:.0f} s, then {'ended' if ended else 'joined again'}; {repeated} decisions came twice")


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
    own_stack: Settings, tmp_path: Path, journal: Journal, codec: Codec
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
    must_agree_with_the_journal(own_stack, journal, codec, set())
