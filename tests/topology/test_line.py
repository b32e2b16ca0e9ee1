"""Whose turn it is: what somebody waits for comes first, and the journal gives the same bytes all the same."""

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processors.draft import Output
from processors.offline import MemoryRows
from processors.partition import Partition
from schemas.codec import encode
from schemas.records import CallEventType, EntryKind, JournalEntry, LeadId
from streams.judging import ENOUGH, Judging
from streams.kafka import Consumed
from streams.line import Item, Line
from tests.core.story import COURT
from tests.core.test_replay import entries, journal_of

CALL, ASK, TICK = EntryKind.CALL, EntryKind.REQUEST, EntryKind.TICK


def item(kind: EntryKind, lead: str, offset: int) -> Item:
    record = Consumed("execution.journal", 0, offset, None, b"", [], 0)
    made = JournalEntry(
        entry_id=str(offset), lead_id=LeadId(lead), kind=kind, at=offset, source_topic="", source_partition=0,
        source_offset=offset, body=None,
    )  # fmt: skip
    return Item(record, made)


def order(*waiting: tuple[EntryKind, str]) -> list[int]:
    """The places of entries that wait, in the order in which they are judged."""
    line = Line()
    for offset, (kind, lead) in enumerate(waiting):
        line.put(item(kind, lead, offset))
    assert len(line) == len(waiting)
    found = []
    while line:
        one = line.next()
        found.append(one.record.offset)
        if one.entry.kind is TICK:
            line.end()
    return found


def test_what_somebody_waits_for_comes_before_the_flow_of_other_calls() -> None:
    assert order((CALL, "ann"), (CALL, "bob"), (ASK, "eve"), (ASK, "joe"), (CALL, "bob")) == [2, 3, 0, 1, 4]


@pytest.mark.parametrize(
    "kind", [kind for kind in EntryKind if kind not in (CALL, EntryKind.TRANSCRIPT, TICK, EntryKind.POLICY)]
)
def test_every_kind_but_the_flow_of_calls_is_awaited(kind: EntryKind) -> None:
    assert order((CALL, "ann"), (EntryKind.TRANSCRIPT, "ann"), (kind, "bob")) == [2, 0, 1]


def test_nothing_overtakes_an_entry_of_its_own_lead() -> None:
    assert order((CALL, "ann"), (CALL, "bob"), (ASK, "bob"), (CALL, "ann"), (ASK, "ann")) == [1, 2, 0, 3, 4]


@pytest.mark.parametrize("kind", [TICK, EntryKind.POLICY])
def test_nothing_overtakes_a_tick_or_a_policy_and_neither_overtakes_anything(kind: EntryKind) -> None:
    assert order((CALL, "ann"), (kind, ""), (kind, ""), (ASK, "bob"), (kind, ""), (ASK, "eve")) == [0, 1, 2, 3, 4, 5]


def test_a_tick_goes_on_after_what_is_awaited_behind_it_and_before_the_flow() -> None:
    line = Line()
    for offset, (kind, lead) in enumerate(((TICK, ""), (CALL, "ann"), (ASK, "bob"), (CALL, "bob"), (TICK, ""))):
        line.put(item(kind, lead, offset))
    assert [line.next().record.offset for _ in range(4)] == [0, 2, 0, 0]
    line.end()
    assert [line.next().record.offset for _ in range(4)] == [1, 3, 4, 4]
    line.end()
    assert not line


def test_it_is_awaited_as_long_as_something_awaited_may_come_next() -> None:
    line = Line()
    for offset, (kind, lead) in enumerate(((CALL, "ann"), (ASK, "ann"), (TICK, ""), (ASK, "bob"))):
        line.put(item(kind, lead, offset))
    told = []
    while line:
        told.append(line.is_awaited)
        if line.next().entry.kind is TICK:
            line.end()
    assert told == [True, True, False, True]
    with pytest.raises(IndexError):
        line.next()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(entries(), st.lists(st.integers(0, 6), min_size=60, max_size=60))
def test_in_whatever_order_the_line_gives_them_the_journal_gives_the_same_bytes(
    moves: list[tuple[Any, ...]], taken: list[int]
) -> None:
    """After each entry that comes some of those in line are judged, as many as chance says."""
    journal = journal_of(moves)
    rows, want = MemoryRows(), Partition(0, MemoryRows(), COURT)
    partition, line = Partition(0, rows, COURT), Line()
    found: dict[int, list[tuple[str, bytes]]] = {}

    ticking: list[int] = []

    def gives(offset: int, outputs: list[Output]) -> None:
        found.setdefault(offset, []).extend((output.id, encode(output.value)) for output in outputs)

    def judge() -> None:
        one = line.next()
        if one.entry.kind is not TICK:
            if ticking:
                gives(ticking[0], partition.tick_for(one.entry.lead_id))
            gives(one.record.offset, partition.fold(one.entry, one.record.offset))
        elif ticking:
            gives(ticking[0], partition.go_on_ticking())
        else:
            ticking.append(one.record.offset)
            gives(ticking[0], partition.begin_tick(one.entry, one.record.offset))
        if ticking and not partition.is_ticking:
            ticking.clear()
            line.end()

    for offset, entry in enumerate(journal):
        partition.follow(offset)
        line.put(Item(Consumed("", 0, offset, None, b"", [], 0), entry))
        for _ in range(taken[offset % len(taken)]):
            if line:  # one turn may end a tick as well
                judge()
    while line:
        judge()
    for offset, entry in enumerate(journal):
        wanted = [(output.id, encode(output.value)) for output in want.apply(entry, offset)]
        assert sorted(found[offset]) == sorted(wanted), offset
        assert entry.kind is not TICK or found[offset][-1] == wanted[-1], "its heartbeat says that all is told"
    assert dict(partition.take_writes()) == dict(want.take_writes())
    assert partition.applied_offset == want.applied_offset == len(journal) - 1


def test_nothing_lands_while_an_entry_is_counted_and_not_folded() -> None:
    partition = Partition(0, MemoryRows(), COURT)
    journal = journal_of([])
    partition.follow(0)
    partition.follow(1)
    partition.fold(journal[0], 0)
    with pytest.raises(RuntimeError, match="1 entries of partition 0 are counted and not folded"):
        partition.take_changes()
    partition.fold(journal[1], 1)
    assert partition.take_writes()


def test_nothing_lands_while_a_tick_is_folded_for_some_leads_only() -> None:
    partition = Partition(0, MemoryRows(), COURT)
    journal = journal_of([("call", "ann", "c1", CallEventType.CALL_INITIATED), ("tick", 200_000)])
    for offset, entry in enumerate(journal[:-1]):
        partition.apply(entry, offset)
    last = len(journal) - 1
    partition.follow(last)
    assert partition.begin_tick(journal[last], last) == []
    with pytest.raises(RuntimeError, match="counted and not folded"):
        partition.take_changes()
    while partition.is_ticking:
        partition.go_on_ticking()
    assert partition.take_writes()


class Busy:
    """A lane with so many in line and so many pieces to prepare; `done` is what all of them did, in order."""

    def __init__(self, name: str, done: list[str], in_line: int = 0, pieces: int = 0, *, awaited: bool = False) -> None:
        self.name, self.done, self.in_line, self.pieces, self.is_awaited = name, done, in_line, pieces, awaited
        self.due: float | None = None
        self.began_s = 0.0

    @property
    def is_preparing(self) -> bool:
        return self.pieces > 0

    @property
    def is_done(self) -> bool:
        return not self.in_line and not self.pieces and self.due is None

    def prepares_for(self, now: float) -> float:
        return self.began_s

    def lands_in(self, now: float) -> float | None:
        return None if self.due is None else max(0.0, self.due + self.began_s - now)

    def judge(self) -> None:
        self.in_line -= 1
        self.done.append(self.name)

    def begin_landing(self, now: float) -> None:
        self.due, self.pieces = None, 2
        self.done.append(f"{self.name} begins")

    def prepare(self) -> None:
        self.pieces -= 1
        self.done.append(f"{self.name} prepares")


def judging(*lanes: Busy) -> Judging:
    made = Judging()
    for lane in lanes:
        made.add(lane)  # type: ignore[arg-type]
    return made


def test_what_is_awaited_is_judged_before_the_rest_and_a_landing_is_prepared_when_nobody_is_in_line() -> None:
    done: list[str] = []
    ann, bob, eve = Busy("ann", done, 2), Busy("bob", done, 1, awaited=True), Busy("eve", done, 0, 1)
    assert judging(ann, bob, eve).work() == 0.05
    assert done == ["bob", "ann", "ann", "eve prepares"]


def test_a_landing_begins_when_it_is_due_and_nobody_is_in_line_and_then_is_prepared() -> None:
    done: list[str] = []
    ann = Busy("ann", done, 1)
    ann.due = 0.0
    assert judging(ann).work() == 0.05
    assert done == ["ann", "ann begins", "ann prepares", "ann prepares"]


def test_the_thread_may_sleep_until_a_landing_is_due() -> None:
    ann, bob = Busy("ann", []), Busy("bob", [])
    now = time.monotonic()
    ann.due, bob.due = now + 7, now + 2
    assert judging(ann, bob).work() == pytest.approx(2, abs=1)


def test_no_more_is_read_while_a_landing_has_waited_long_for_the_line_or_the_line_is_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ann = Busy("ann", [], 1)
    worker = judging(ann)
    assert worker.has_room()
    ann.in_line = ENOUGH
    assert not worker.has_room()
    ann.in_line, ann.due = 1, 100.0
    for now, has_room in ((100.0, True), (100.1, True), (100.3, False)):
        monkeypatch.setattr("streams.judging.time.monotonic", lambda now=now: now)
        assert worker.has_room() == has_room
    ann.in_line = 0
    assert worker.has_room()


def test_under_a_backlog_a_landing_that_has_waited_long_gets_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1_000_000))
    monkeypatch.setattr("streams.judging.time.monotonic", lambda: next(clock) / 2_000)  # half a millisecond a look
    done: list[str] = []
    ann = Busy("ann", done, 1_000, 100)
    worker = judging(ann)
    assert worker.work() == 0
    assert set(done) == {"ann"}
    ann.began_s = 1.0
    done.clear()
    assert worker.work() == 0
    assert done.count("ann") == pytest.approx(done.count("ann prepares"), abs=1)
