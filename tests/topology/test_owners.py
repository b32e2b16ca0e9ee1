"""An owner that was paused and wakes rolls nothing back: what it writes late is recognised and undone.

The changelog is a model with compaction; the disks, the fold and the takeover are the worker's own.
"""

import asyncio
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.records import (
    CallEventType,
    EntryKind,
    JournalEntry,
    LeadId,
    LeadState,
    PartitionState,
    SegmentStatus,
    SignalType,
)
from schemas.rows import decode_row
from streams import Broken
from streams.owners import CLAIM_PREFIX, UNSTAMPED, Entry, Ledger, Stamp, claim_of, stamp_of
from tests.core.story import activation, default_bundle
from tests.core.test_replay import ACTIONS, LEADS, fold, journal_of, rich_journal
from tests.topology.changelog_model import NUMBER, Changelog, Owner, owner

JOURNAL: list[JournalEntry] = rich_journal()
ROWS = fold(JOURNAL)[1]
END = len(JOURNAL)
LEAD = next(key for key in ROWS if key.startswith(b"l/"))


def applied_of(rows: dict[bytes, bytes]) -> tuple[int, int]:
    """Offsets that the lead and the partition are at."""
    return decode_row(LeadState, rows[LEAD]).applied_offset, decode_row(PartitionState, rows[b"p"]).applied_offset


def facts(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Rows without the index of timers, which may be early."""
    return {key: value for key, value in rows.items() if not key.startswith(b"t/")}


def must_equal_an_undisturbed_fold(
    last: Owner, outputs: list[tuple[str, bytes]], journal: list[JournalEntry] = JOURNAL
) -> None:
    expected, rows = fold(journal)
    assert facts(last.rows()) == facts(rows)
    for key, due in rows.items():
        if key.startswith(b"t/"):
            assert int(last.rows()[key]) <= int(due)
    assert set(outputs) == set(expected), "an output is missing, or was given in two versions"


async def late_row(log: Changelog, tmp_path: Path) -> list[tuple[str, bytes]]:
    """What the model exists for: the new owner's row at 12, then the old one's at 10, and the new owner dies."""
    with owner(log, JOURNAL, tmp_path / "old") as old, owner(log, JOURNAL, tmp_path / "new") as new:
        await old.take_over()
        await old.land(8)
        await old.pause_in_a_landing(3)
        await new.take_over()
        await new.land(5)
        assert applied_of(new.rows()) == (12, 12)
        assert "was taken over by another worker" in await old.wake()
        lead = [decode_row(LeadState, e.value or b"").applied_offset for e in log.entries if e.key == LEAD]
        assert lead[-2:] == [12, 10]
        return old.outputs + new.outputs


@pytest.mark.parametrize("compacted", [False, True], ids=["as written", "compacted"])
def test_a_late_row_over_a_newer_one_is_undone_by_the_next_owner_from_the_journal(
    tmp_path: Path, compacted: bool
) -> None:
    async def run() -> None:
        log = Changelog()
        outputs = await late_row(log, tmp_path)
        if compacted:
            log.compact()
            assert [e.stamp.applied for e in log.entries if e.key == LEAD] == [10]
        with owner(log, JOURNAL, tmp_path / "third") as third:
            await third.take_over()
            # The lead's row is the late one; the journal is folded again from where the owner that died had begun.
            assert applied_of(third.rows()) == (10, 7)
            await third.land(END)
            must_equal_an_undisturbed_fold(third, outputs + third.outputs)

    asyncio.run(run())


@pytest.mark.parametrize("compacted", [False, True], ids=["as written", "compacted"])
def test_a_takeover_that_dies_at_any_of_its_records_is_done_again_by_the_next_owner(
    tmp_path: Path, compacted: bool
) -> None:
    async def run(kept: int) -> bool:
        """Whether the dying takeover had more to write than was kept of it."""
        log, root = Changelog(), tmp_path / str(kept)
        outputs = await late_row(log, root)
        with owner(log, JOURNAL, root / "dies") as dies:
            dies.buffer.held = True
            taking = asyncio.create_task(dies.take_over())
            for _ in range(kept):
                while not dies.buffer.waiting and not taking.done():
                    await asyncio.sleep(0.001)
                dies.buffer.deliver(1)
            died_early = not taking.done()
            taking.cancel()
            await asyncio.wait((taking,))
        if compacted:
            log.compact()
        with owner(log, JOURNAL, root / "next") as after:
            await after.take_over()
            await after.land(END)
            must_equal_an_undisturbed_fold(after, outputs + after.outputs)
        return died_early

    kept = 0
    while asyncio.run(run(kept)):
        kept += 1
    assert kept >= 4  # claim, timer, partition, lead, and the claims of before


def test_the_owner_that_sees_a_late_row_writes_its_own_over_it_and_nothing_is_folded_again(tmp_path: Path) -> None:
    async def run() -> None:
        log = Changelog()
        with owner(log, JOURNAL, tmp_path / "old") as old, owner(log, JOURNAL, tmp_path / "new") as new:
            await old.take_over()
            await old.land(8)
            await old.pause_in_a_landing(3)
            await new.take_over()
            await new.land(5)
            assert await old.wake()
            await new.land(1)
            at = applied_of(new.rows())[0]
        log.compact()
        with owner(log, JOURNAL, tmp_path / "third") as third:
            await third.take_over()
            assert applied_of(third.rows()) == (at, 13)
            await third.land(END)
            must_equal_an_undisturbed_fold(third, old.outputs + new.outputs + third.outputs)

    asyncio.run(run())


def test_a_timer_that_fired_before_the_late_row_came_fires_again_at_the_same_entry(tmp_path: Path) -> None:
    async def run() -> None:
        log = Changelog()
        with owner(log, JOURNAL, tmp_path / "old") as old, owner(log, JOURNAL, tmp_path / "new") as new:
            await old.take_over()
            await old.land(25)
            await old.pause_in_a_landing(1)
            await new.take_over()
            await new.land(3)
            assert await old.wake(1) == ""
            outputs = old.outputs + new.outputs
        with owner(log, JOURNAL, tmp_path / "third") as third:
            await third.take_over()
            await third.land(END)
            must_equal_an_undisturbed_fold(third, outputs + third.outputs)

    asyncio.run(run())


def test_a_paused_owner_puts_nothing_on_its_disk_and_goes_on_from_what_the_other_wrote(tmp_path: Path) -> None:
    async def run() -> None:
        log = Changelog()
        await late_row(log, tmp_path)
        with owner(log, JOURNAL, tmp_path / "old") as again:
            assert applied_of(again.rows()) == (7, 7)
            await again.take_over()
            await again.land(END)
            assert facts(again.rows()) == facts(ROWS)

    asyncio.run(run())


@pytest.mark.parametrize("seed", range(25))
def test_whatever_pauses_deaths_lost_disks_and_compactions_come_the_last_owner_has_the_rows_and_all_was_said(
    tmp_path: Path, seed: int
) -> None:
    asyncio.run(Chance(seed, tmp_path).run())


class Chance:
    """Owners that come and go by chance; at the end one of them folds the rest in peace."""

    def __init__(self, seed: int, root: Path) -> None:
        self._random = random.Random(seed)
        self._root = root
        self._journal = journal_by_chance(self._random)
        self._log = Changelog()
        self._paused: list[Owner] = []
        self._outputs: list[tuple[str, bytes]] = []
        self._disks = 0

    async def run(self) -> None:
        for _ in range(self._random.randrange(3, 8)):
            await self._life()
            await self._meanwhile(wakes=0.6)
            if self._random.random() < 0.3:
                await self._copy()
        for sleeper in self._paused:
            await self._wake(sleeper)
        last = self._owner()
        await last.take_over()
        await last.land(len(self._journal))
        must_equal_an_undisturbed_fold(last, self._outputs + last.outputs, self._journal)
        last.die()

    def _owner(self) -> Owner:
        """On a disk of its own, or on one that another left."""
        held = {sleeper.directory for sleeper in self._paused}
        free = [path for number in range(self._disks) if (path := self._root / f"{number}") not in held]
        if free and self._random.random() < 0.4:
            return Owner(self._log, self._journal, self._random.choice(free))
        self._disks += 1
        return Owner(self._log, self._journal, self._root / f"{self._disks - 1}")

    async def _life(self) -> None:
        now = self._owner()
        if not await _or_taken(now.take_over()):
            now.die()
            return
        for _ in range(self._random.randrange(4)):
            await self._meanwhile(wakes=0.2)
            if not await _or_taken(now.land(self._random.randrange(1, 6))):
                break
        else:
            await now.pause_in_a_landing(self._random.randrange(1, 9))
        self._outputs += now.outputs
        if now.landing is None or now.landing.done():
            now.die()
        else:
            self._paused.append(now)

    async def _copy(self) -> None:
        """A worker that owns nothing keeps a copy for a while, on a disk that a later owner may have."""
        copying = self._owner()
        await copying.copy()
        copying.die()

    async def _meanwhile(self, wakes: float) -> None:
        while self._paused and self._random.random() < wakes:
            await self._wake(self._paused.pop(self._random.randrange(len(self._paused))))
        if self._random.random() < 0.3:
            self._log.compact(self._random.randrange(self._log.end + 1))

    async def _wake(self, sleeper: Owner) -> None:
        """All of its buffers gets through, or the first of it; the process then ends."""
        some = self._random.randrange(len(sleeper.buffer.waiting) + 1)
        await sleeper.wake(None if self._random.random() < 0.3 else some)
        sleeper.die()


def journal_by_chance(chance: random.Random) -> list[JournalEntry]:
    """Two leads in which calls, signals and requests happen, ticks, and other policies at some places."""
    types = [CallEventType.CALL_INITIATED, CallEventType.CALL_ANSWERED, CallEventType.CALL_ENDED]
    moves: list[tuple[Any, ...]] = []
    for _ in range(50):
        lead, conversation = chance.choice(LEADS), chance.choice(("c1", "c2"))
        moves.append(
            chance.choice(
                [
                    ("call", lead, conversation, chance.choice(types)),
                    ("says", lead, conversation, 0, SegmentStatus.FINAL, "yes that works"),
                    ("signal", lead, conversation, SignalType.LANGUAGE_COMMITMENT, 0, 0.95),
                    ("ask", lead, conversation, chance.choice(ACTIONS)),
                    ("tick", chance.choice((1, 30, 200, 4000))),
                ]
            )
        )
    journal = journal_of(moves)
    for revision, place in enumerate(sorted(chance.sample(range(10, 50), 2)), start=2):
        changed = default_bundle().model_copy(update={"version": str(revision)})
        entry = {"kind": EntryKind.POLICY, "lead_id": LeadId(""), "body": activation(changed, revision=revision)}
        journal[place] = msgspec.structs.replace(journal[place], **entry)
    return journal


async def _or_taken(doing: Coroutine[Any, Any, None]) -> bool:
    try:
        await doing
    except Broken:
        return False
    return True


def test_a_stamp_survives_its_header_and_a_record_without_one_counts_as_older_than_all() -> None:
    stamp = Stamp(epoch=12, applied=2**40)
    assert stamp_of(stamp.to_headers()) == stamp
    assert stamp_of(None) == stamp_of([("mandate-owner", b"short"), ("other", b"x")]) == UNSTAMPED


def test_rows_from_before_there_were_claims_are_taken_as_they_are_and_late_behind_a_claim() -> None:
    ledger = Ledger()
    assert ledger.read(Entry(0, b"l/a", b"row", UNSTAMPED)) == [(b"l/a", b"row")]
    key, value = claim_of(b"1", base=7)
    ledger.read(Entry(1, key, value, UNSTAMPED))
    (kept,) = ledger.read(Entry(2, b"l/a", b"old", UNSTAMPED))
    assert kept[0] != b"l/a"
    assert ledger.late_keys == [b"l/a"]
    assert ledger.start(None) == -1


def test_what_a_ledger_learned_is_on_the_disk_for_the_next_process() -> None:
    ledger, disk = Ledger(), dict[bytes, bytes | None]()
    key, value = claim_of(b"1", base=7)
    for entry in (
        Entry(4, key, value, UNSTAMPED),
        Entry(5, b"l/a", b"late", Stamp(2, 9)),
        Entry(6, b"l/b", None, Stamp(2, 8)),
        Entry(7, b"l/c", b"late", Stamp(2, 3)),
        Entry(8, b"l/c", b"ours", Stamp(4, 7)),
    ):
        disk.update(ledger.read(entry))
    kept = [(k, v) for k, v in disk.items() if v is not None and k.startswith(b"__")]
    again = Ledger(kept)
    assert (again.epoch, again.claim, again.late_keys) == (4, key, [b"l/a", b"l/b"])
    assert again.amends(NUMBER, None) == ledger.amends(NUMBER, None)
    assert disk[b"l/c"] == b"ours"


def test_a_claim_that_came_after_ours_is_seen_whatever_else_lies_between() -> None:
    ledger = Ledger()
    ledger.read(Entry(4, *claim_of(b"1", base=7), UNSTAMPED))
    late, ours = Entry(5, b"l/a", b"late", Stamp(2, 3)), Entry(6, b"l/a", b"ours", Stamp(4, 7))
    assert ledger.overwritten([late, ours]) == set()
    assert ledger.overwritten([ours, late]) == {b"l/a"}
    assert ledger.overwritten([late, Entry(7, CLAIM_PREFIX + b"2", None, UNSTAMPED)]) == {b"l/a"}
    assert ledger.overwritten([late, Entry(7, *claim_of(b"2", base=7), UNSTAMPED)]) is None
