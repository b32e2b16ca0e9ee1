"""What is committed, and what never is: the sequences in which Faust's own consumer loses entries, driven one by one.

Control with its lanes, the transport's consumer and Faust's commit and revoke are the real ones. Behind them stand a
broker and a changelog that acknowledge when the test says so.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Message
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from faust.transport.consumer import Consumer as FaustConsumer
from faust.types import TP

from processors.authority import Court
from processors.offline import MemoryRows
from processors.partition import Partition
from schemas.catalogue import TOPIC_OF
from schemas.records import CrmEvent, CrmEventType, Decision, LeadId, Record, Transition
from streams import EXIT_BROKEN, Broken
from streams.app import ControlApp
from streams.clock import SystemClock
from streams.control import JOURNAL, Control
from streams.faust_tables import TableManager
from streams.kafka import Consumed
from streams.lane import GATHER_S, PROMPT
from streams.tables import ExecutionTable
from streams.ticks import tick_entry
from streams.transport.consumer import Consumer
from streams.transport.outbox import Deliveries, Outbox, Outboxes
from tests.agents.records import request
from tests.topology.admitting import CODEC
from tests.topology.worker_process import entry_of

ROOT = Path(__file__).parents[2]
PLACE = TP(JOURNAL, 0)
FIRST = 2585
CHANGED = CrmEvent(
    event_id="changed",
    lead_id=LeadId("lead-1"),
    type=CrmEventType.STATUS_CHANGED,
    status="working",
    received_at=FIRST * 1000,
)
DELIVERED = cast(Message, SimpleNamespace(offset=lambda: 1))


class Broker:
    """The thread behind Faust's consumer: which offsets were committed. `answer` may wait, or refuse with False."""

    def __init__(self) -> None:
        self.committed: list[int] = []
        self.answer: Callable[[], Awaitable[bool]] = self._take

    def assignment(self) -> set[TP]:
        return {PLACE}

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        taken = await self.answer()
        if taken:
            self.committed.append(offsets[PLACE])
        return taken

    async def _take(self) -> bool:
        return True


class Sent:
    """An outbox whose records are delivered when the test says so, in any order. takes_s: how long a send takes."""

    def __init__(self) -> None:
        self.waiting: list[Deliveries] = []
        self.topics: list[str] = []
        self.takes_s = 0.0

    def open(self) -> Deliveries:
        return Deliveries(asyncio.get_running_loop(), Deliveries.wake)

    def send(self, group: Deliveries, topic: str, value: bytes | None, **_: Any) -> None:
        group.hand(1)
        self.waiting.append(group)
        self.topics.append(topic)
        time.sleep(self.takes_s)

    def deliver(self) -> None:
        """The broker acknowledges everything that was sent so far."""
        waiting, self.waiting = self.waiting, []
        for group in waiting:
            group.report(None, DELIVERED)


class Table:
    """A changelog that takes rows when the test says so; a last applied entry in it already."""

    def __init__(self) -> None:
        self.writable = asyncio.Event()
        self.written: list[int] = []
        self.memory = MemoryRows()
        before = Partition(0, self.memory, COURT)
        before.skip(FIRST - 1)
        self.memory.rows.update(before.take_writes())

    def rows(self, partition: int) -> MemoryRows:
        return self.memory

    async def write(self, outbox: Outbox, partition: int, rows: Iterable[tuple[bytes, bytes]], applied: int) -> None:
        await self.writable.wait()
        self.memory.rows.update(rows)
        self.written.append(partition)


KEY = Ed25519PrivateKey.from_private_bytes(b"a key of these tests, no secret!")
COURT = Court.from_keys(KEY, [KEY.public_key()])


class Engine:
    """One worker's control, consumer and commit, on a broker and a changelog of the test's own."""

    def __init__(self) -> None:
        self.app = ControlApp("t", broker="aiokafka://127.0.0.1:1", store="memory://", TableManager=TableManager)
        self.consumer = cast(Consumer, self.app.consumer)
        self.broker, self.sent, self.table = Broker(), Sent(), Table()
        self.consumer._thread = cast(Any, self.broker)
        self.control = Control(
            cast(ExecutionTable, self.table),
            CODEC,
            SystemClock(),
            lambda number, rows: Partition(number, rows, COURT),
            lambda number, offset: self.consumer.acknowledge(TP(JOURNAL, number), offset),
        )
        self.control.outboxes = cast(Outboxes, (self.sent, self.sent))
        self.consumer.reader = self.control

    async def take(self, *offsets: int, body: Record | None = None) -> None:
        """Entries are judged. Faust, for its part, is told that all but the first are done with."""
        self.judge(entries(*offsets, body=body))
        self.consumer._acked[PLACE] = list(offsets[1:])
        await settle()

    def judge(self, records: list[Consumed]) -> None:
        """What the thread does that reads the journal."""
        lane = self.control.lane(0)
        assert lane is not None
        lane.take(records)

    async def open(self) -> None:
        """Takes the partition over, and has done what that thread does further."""
        assert await self.control.open([0]) == {0: FIRST}
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            await asyncio.sleep(min(self.control.work(), 0.01))

    async def revoke(self) -> None:
        """A rebalance takes the partition, by Faust's own path."""
        await self.consumer.on_partitions_revoked({PLACE})


def entries(*offsets: int, body: Record | None = None) -> list[Consumed]:
    """Ticks at these offsets: each gives one output and one row. Or entries with this body."""
    made = [entry_of(body, offset * 1000, offset) if body else tick_entry(0, offset * 1000) for offset in offsets]
    values = [CODEC.encode(entry) for entry in made]
    return [
        Consumed(JOURNAL, 0, offset, None, value, [], offset) for offset, value in zip(offsets, values, strict=True)
    ]


async def settle() -> None:
    """Gives every task its turn, longer than a landing gathers."""
    await asyncio.sleep(2 * GATHER_S)


def engine(drive: Callable[[Engine], Coroutine[Any, Any, None]]) -> None:
    """Runs a test on an engine that owns the partition."""

    async def run() -> None:
        made = Engine()
        await made.open()
        await asyncio.wait_for(drive(made), 20)
        made.reading.cancel()

    asyncio.run(run())


# --- a head in flight


@pytest.mark.parametrize("committed", [FIRST, None])
def test_nothing_is_committed_past_an_entry_whose_outputs_are_in_flight(committed: int | None) -> None:
    async def drive(engine: Engine) -> None:
        engine.consumer._committed_offset[PLACE] = committed
        engine.table.writable.set()
        await engine.take(*range(FIRST, FIRST + 5))
        # What this test is about: of the same facts Faust concludes that everything is done with.
        assert FaustConsumer._new_offset(engine.consumer, PLACE) == FIRST + 5
        assert await engine.consumer.commit() is False
        assert engine.broker.committed == []
        engine.sent.deliver()
        await settle()
        assert await engine.consumer.commit() is True
        assert engine.broker.committed == [FIRST + 5]

    engine(drive)


def test_nothing_is_committed_while_the_rows_of_delivered_outputs_are_not_on_the_changelog() -> None:
    async def drive(engine: Engine) -> None:
        await engine.take(FIRST)
        engine.sent.deliver()
        await settle()
        assert await engine.consumer.commit() is False
        assert engine.table.written == []
        engine.table.writable.set()
        await settle()
        assert await engine.consumer.commit() is True
        assert engine.broker.committed == [FIRST + 1]

    engine(drive)


def test_later_entries_whose_outputs_are_delivered_do_not_carry_an_earlier_one_with_them() -> None:
    async def drive(engine: Engine) -> None:
        engine.table.writable.set()
        await engine.take(FIRST)
        head, engine.sent.waiting = engine.sent.waiting, []
        await engine.take(FIRST + 1, FIRST + 2)
        engine.sent.deliver()
        await settle()
        assert await engine.consumer.commit() is False
        engine.sent.waiting = head
        engine.sent.deliver()
        await settle()
        assert await engine.consumer.commit() is True
        assert engine.broker.committed == [FIRST + 3]

    engine(drive)


# --- a revoke


def test_a_revoke_waits_for_what_is_in_hand_and_commits_it() -> None:
    async def drive(engine: Engine) -> None:
        await engine.take(FIRST, FIRST + 1)
        revoking = asyncio.create_task(engine.revoke())
        await settle()
        assert not revoking.done()
        assert engine.broker.committed == []
        engine.sent.deliver()
        engine.table.writable.set()
        await revoking
        assert engine.broker.committed == [FIRST + 2]

    engine(drive)


def test_a_revoke_commits_what_was_acknowledged_and_not_yet_committed() -> None:
    async def drive(engine: Engine) -> None:
        engine.table.writable.set()
        await engine.take(FIRST)
        engine.sent.deliver()
        await settle()
        await engine.revoke()
        assert engine.broker.committed == [FIRST + 1]

    engine(drive)


def test_a_commit_under_way_does_not_stand_for_the_last_one_of_a_revoke() -> None:
    async def drive(engine: Engine) -> None:
        engine.table.writable.set()
        await engine.take(FIRST)
        engine.sent.deliver()
        await settle()
        slow = asyncio.Event()

        async def answer() -> bool:
            await slow.wait()
            return True

        engine.broker.answer = answer
        under_way = asyncio.create_task(engine.consumer.commit())
        await engine.take(FIRST + 1)
        engine.sent.deliver()
        revoking = asyncio.create_task(engine.revoke())
        await settle()
        slow.set()
        await under_way
        await revoking
        assert engine.broker.committed == [FIRST + 1, FIRST + 2]

    engine(drive)


def test_a_revoke_waits_until_everything_in_line_is_judged_and_commits_it() -> None:
    async def drive(engine: Engine) -> None:
        engine.table.writable.set()
        engine.sent.takes_s = 0.001
        engine.judge(entries(*range(FIRST, FIRST + 200)))
        assert not engine.sent.topics  # nobody had a turn yet
        revoking = asyncio.create_task(engine.revoke())
        while engine.control.partitions:
            await asyncio.sleep(0)
        while not revoking.done():
            engine.sent.deliver()
            await asyncio.sleep(0.01)
        assert len(engine.sent.topics) == 200
        assert engine.broker.committed == [FIRST + 200]
        assert await engine.control.open([0]) == {0: FIRST + 200}

    engine(drive)


def test_what_an_earlier_assignment_acknowledged_is_not_committed_under_the_next() -> None:
    async def drive(engine: Engine) -> None:
        engine.table.writable.set()
        await engine.take(FIRST)
        engine.sent.deliver()
        await settle()

        async def refuse() -> bool:
            return False

        engine.broker.answer = refuse  # the group has gone on already
        await engine.revoke()
        engine.broker.answer = engine.broker._take
        assert await engine.control.open([0]) == {0: FIRST + 1}
        assert await engine.consumer.commit() is False
        assert engine.broker.committed == []

    engine(drive)


# --- a commit that fails, a flush that takes its time


def test_a_commit_that_the_broker_refused_is_made_again() -> None:
    async def drive(engine: Engine) -> None:
        answers = [False, True]

        async def answer() -> bool:
            return answers.pop(0)

        engine.broker.answer = answer
        engine.consumer.acknowledge(PLACE, FIRST + 1)
        assert await engine.consumer.commit() is False
        assert engine.broker.committed == []
        assert await engine.consumer.commit() is True
        assert engine.broker.committed == [FIRST + 1]
        assert await engine.consumer.commit() is False

    engine(drive)


@pytest.mark.parametrize("slow", ["prompt", "gathering"])
def test_a_commit_waits_until_both_producers_have_delivered_everything(slow: str) -> None:
    async def drive(engine: Engine) -> None:
        delivered, at_once = asyncio.Event(), asyncio.Event()
        at_once.set()
        engine.app.producer._outboxes = Outboxes(
            **{
                name: cast(Outbox, SimpleNamespace(flush=(delivered if name == slow else at_once).wait))
                for name in Outboxes._fields
            }
        )
        engine.consumer.acknowledge(PLACE, FIRST + 1)
        committing = asyncio.create_task(engine.consumer.commit())
        await asyncio.sleep(0.3)  # Faust's flush would have given up after 0.1 s
        assert engine.broker.committed == []
        delivered.set()
        assert await committing is True
        assert engine.broker.committed == [FIRST + 1]

    engine(drive)


class Nowhere:
    """Settings of a cluster that does not answer; a record is given up after `give_up_s`."""

    def __init__(self, give_up_s: float = 30) -> None:
        self._config: dict[str, str | int] = {
            "bootstrap.servers": "127.0.0.1:1",
            "delivery.timeout.ms": round(give_up_s * 1000),
        }

    def client_config(self) -> dict[str, str | int]:
        return self._config


# --- what somebody waits for


def test_a_verdict_is_sent_while_an_earlier_landing_waits_and_everything_else_with_its_own_landing() -> None:
    async def drive(engine: Engine) -> None:
        engine.table.writable.set()
        await engine.take(FIRST)
        engine.sent.topics.clear()
        await engine.take(FIRST + 1, body=CHANGED)
        await engine.take(FIRST + 2, body=request())
        assert engine.sent.topics == [TOPIC_OF[Decision]]
        engine.sent.deliver()
        await settle()
        later = set(engine.sent.topics[1:])
        assert TOPIC_OF[Transition] in later
        assert not later & {TOPIC_OF[record] for record in PROMPT}
        assert await engine.consumer.commit() is True
        assert engine.broker.committed == [FIRST + 1]
        engine.sent.deliver()
        await settle()
        assert await engine.consumer.commit() is True
        assert engine.broker.committed == [FIRST + 1, FIRST + 3]

    engine(drive)


def test_what_comes_when_a_lane_is_closed_is_dropped() -> None:
    async def drive(engine: Engine) -> None:
        await engine.take(FIRST, FIRST + 1)
        lane = engine.control.lane(0)
        assert lane is not None
        lane.close()
        lane.take(entries(FIRST + 2))
        engine.sent.deliver()
        engine.table.writable.set()
        await settle()
        assert await engine.consumer.commit() is True
        assert engine.broker.committed == [FIRST + 2]

    engine(drive)


# In processes of their own: an outbox that is left with an undelivered record ends the process in the end.
WAIT = """
import asyncio, os
from streams.transport.outbox import Outbox
from tests.topology.test_commit import JOURNAL, Nowhere

async def main():
    outbox = Outbox(Nowhere(), asyncio.get_running_loop())
    group = outbox.open()
    outbox.send(group, JOURNAL, b"", key=None, partition=0)
    for wait in (outbox.flush, group.wait):
        try:
            await asyncio.wait_for(wait(), 0.5)
        except TimeoutError:
            print("waits", flush=True)
    os._exit(0)

asyncio.run(main())
"""


def test_a_flush_does_not_return_while_a_record_is_undelivered() -> None:
    done = subprocess.run([sys.executable, "-c", WAIT], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("waits\nwaits\n", 0), done.stderr


END = """
import asyncio
from typing import cast
from tests.topology.test_commit import FIRST, PLACE, Engine, Nowhere
from streams.transport.outbox import open_outboxes

async def main():
    engine = Engine()
    engine.table.writable.set()
    engine.control.outboxes = open_outboxes(Nowhere(give_up_s=1), asyncio.get_running_loop())
    engine.consumer.acknowledge = lambda place, offset: print("acknowledged", flush=True)
    await engine.open()
    await engine.take(FIRST)
    await asyncio.sleep(40)
    print("went on", flush=True)

asyncio.run(main())
"""


def test_a_record_that_is_not_delivered_ends_the_process_before_its_entry_is_acknowledged() -> None:
    ended = subprocess.run([sys.executable, "-c", END], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == EXIT_BROKEN
    assert ended.stdout == ""
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("mandate: ") and "did not take" in line]
    assert "permission.revocations did not take a record" in line


def test_faust_sends_nothing_that_nobody_awaits() -> None:
    async def drive(engine: Engine) -> None:
        with pytest.raises(Broken, match="without waiting"):
            engine.app.producer.send_soon(cast(Any, None))

    engine(drive)
