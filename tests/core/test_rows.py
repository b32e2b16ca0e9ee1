"""Rows against their journal: what control writes is found the same, and nothing else is."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processors.explain.rows import Finding, Row, Sample, Table, Verification, keys_of, lead_of
from processors.offline import MemoryRows
from processors.partition import NEVER, PARTITION_KEY, POLICIES_KEY, Partition
from schemas.records import CallEventType, JournalEntry, LeadId, LeadState, PolicyHistory
from schemas.rows import decode_row, encode_row
from tests.core.story import COURT
from tests.core.test_replay import entries, journal_of

ANN, BOB = LeadId("ann"), LeadId("bob")
MOVES: list[tuple[Any, ...]] = [
    ("call", "ann", "c1", CallEventType.CALL_INITIATED),
    ("ask", "ann", "c1", ("booking", "update_crm")),
    ("tick", 30),
    ("call", "bob", "c2", CallEventType.CALL_INITIATED),
    ("tick", 200),
    ("ask", "bob", "c2", ("booking", "send_message")),
    ("tick", 1),
]
Changelog = list[tuple[bytes, bytes | None]]


def written(journal: Sequence[JournalEntry], size: int = 3, crashes: Sequence[tuple[int, int]] = ()) -> Changelog:
    """The changelog of a worker that lands every `size` entries; crashes: at which landing, after how many rows."""
    rows, log = MemoryRows(), Changelog()
    left = dict(crashes)
    landing, partition = 0, Partition(0, rows, COURT)
    while (start := 0 if partition.applied_offset is None else partition.applied_offset + 1) < len(journal):
        for offset in range(start, min(start + size, len(journal))):
            partition.apply(journal[offset], offset)
        writes = partition.take_writes()
        whole = landing not in left
        writes = writes if whole else writes[: left[landing]]
        log += writes
        rows.rows.update(writes)
        landing += 1
        if not whole:
            partition = Partition(0, rows, COURT)
    return log


def verified(
    journal: Sequence[JournalEntry], log: Changelog, *, first: int = 0, sample: Sample | None = None
) -> Verification:
    table = Table(sample or Sample(None))
    for offset, (key, value) in enumerate(log):
        table.take(key, value, offset)
    done = Verification(0, table, COURT, first)
    for offset in range(first, min(len(journal), done.until + 1)):
        entry = journal[offset]
        done.take(entry if done.wants(entry.lead_id or None) else None, offset)
    done.finish()
    return done


def story() -> list[JournalEntry]:
    return journal_of(MOVES)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(entries(), st.integers(1, 7), st.lists(st.tuples(st.integers(0, 8), st.integers(0, 9)), max_size=3))
def test_what_control_writes_is_what_its_journal_gives_wherever_it_crashed(
    moves: list[tuple[Any, ...]], size: int, crashes: list[tuple[int, int]]
) -> None:
    journal = journal_of(moves)
    done = verified(journal, written(journal, size, crashes))
    assert (done.differences, done.beyond) == ([], [])
    assert done.compared == 2


@pytest.mark.parametrize("size", [2, 4, 20])
def test_rows_that_run_ahead_of_what_is_applied_are_compared_where_they_are(size: int) -> None:
    journal = story()
    log = written(journal, size)
    for end in range(len(log) + 1):  # as a reader may find it in the middle of a landing
        done = verified(journal, log[:end])
        assert (done.differences, done.beyond) == ([], []), end


def test_a_row_that_runs_ahead_and_is_wrong_is_found() -> None:
    journal = story()
    log = written(journal, 4)
    place = max(number for number, (key, _) in enumerate(log) if key == keys_of(BOB)[0])
    state = state_of(log, BOB)
    ahead = [*log[:place], (keys_of(BOB)[0], encode_row(msgspec.structs.replace(state, epoch=7)))]
    done = verified(journal, ahead)
    assert done.applied < state.applied_offset
    assert [(found.subject, found.offset) for found in done.differences] == [(BOB, state.applied_offset)]


def changed(log: Changelog, key: bytes, value: bytes | None) -> Changelog:
    """The changelog with one row changed before its last landing ends."""
    return [*log[:-1], (key, value), log[-1]]


def state_of(log: Changelog, lead: LeadId) -> LeadState:
    return decode_row(LeadState, dict(log)[keys_of(lead)[0]] or b"")


def test_a_changed_field_is_named_with_its_lead_and_entry() -> None:
    journal = story()
    log = written(journal)
    state = state_of(log, ANN)
    wrong = changed(log, keys_of(ANN)[0], encode_row(msgspec.structs.replace(state, epoch=7)))
    (found,) = verified(journal, wrong).differences
    assert found == Finding(ANN, state.applied_offset, len(log) - 1, "epoch: recorded 7, the journal gives 0")


def test_other_bytes_for_the_same_fields_are_a_difference() -> None:
    journal = story()
    log = written(journal)
    plain = msgspec.msgpack.decode((dict(log)[keys_of(BOB)[0]] or b"")[1:])
    turned = b"\x01" + msgspec.msgpack.encode(dict(reversed(plain.items())))
    (found,) = verified(journal, changed(log, keys_of(BOB)[0], turned)).differences
    assert (found.subject, found.what) == (BOB, "the encoding: the fields are the same, the bytes are not")


def test_a_row_that_is_missing_or_can_not_be_read_or_has_no_entries_is_a_difference() -> None:
    journal = story()
    log = written(journal)
    key, timer = keys_of(ANN)
    (gone,) = verified(journal, changed(changed(log, key, None), timer, None)).differences
    assert (gone.subject, gone.what) == (ANN, "no row, the journal gives one")
    (broken,) = verified(journal, changed(log, key, b"\x01\xff")).differences
    assert "can't be read" in broken.what
    stranger = LeadId("nobody")
    row = encode_row(msgspec.structs.replace(state_of(log, ANN), lead_id=stranger))
    (more,) = verified(journal, changed(log, keys_of(stranger)[0], row)).differences
    assert (more.subject, more.what) == (stranger, "recorded, the journal gives none")


def test_a_lead_that_the_table_never_heard_of_is_found_even_by_a_sample() -> None:
    journal = story()
    log = [(key, value) for key, value in written(journal) if key not in keys_of(BOB)]
    (found,) = verified(journal, log, sample=Sample(1)).differences
    assert (found.subject, found.what) == (BOB, "no row, the journal gives one")


def test_a_timer_may_be_early_and_never_late() -> None:
    journal = story()
    log = written(journal)
    key = keys_of(ANN)[1]
    held = int(dict(log)[key] or b"")
    assert held < NEVER
    assert verified(journal, changed(log, key, b"0")).differences == []
    for late in (b"%d" % (held + 10**12), b"%d" % NEVER, b"soon", None):
        (found,) = verified(journal, changed(log, key, late)).differences
        assert found.subject == ANN
        assert found.what.startswith("timer: recorded")


def test_another_policy_than_the_journals_is_a_difference() -> None:
    journal = story()
    log = written(journal)
    history = decode_row(PolicyHistory, dict(log)[POLICIES_KEY] or b"")
    other = PolicyHistory(policies=tuple(msgspec.structs.replace(p, revision=9) for p in history.policies))
    (found,) = verified(journal, changed(log, POLICIES_KEY, encode_row(other))).differences
    assert (found.subject, found.what) == ("policies", "[0].revision: recorded 9, the journal gives 1")


def test_a_lead_that_changed_before_the_journal_begins_can_not_be_verified_and_a_later_one_can() -> None:
    journal = story()
    log = written(journal)
    first = 3  # the policy and what makes ann known are gone; bob's own beginning is not
    done = verified(journal, log, first=first)
    assert done.differences == []
    assert [found.subject for found in done.beyond] == [ANN]
    assert f"before entry {first}" in done.beyond[0].what
    wrong = encode_row(msgspec.structs.replace(state_of(log, BOB), epoch=7))
    (found,) = verified(journal, changed(log, keys_of(BOB)[0], wrong), first=first).differences
    assert found.subject == BOB


def test_a_journal_that_ends_before_the_rows_verifies_nothing() -> None:
    journal = story()
    done = verified(journal[:4], written(journal))
    assert {found.subject for found in done.beyond} == {ANN, BOB}
    assert done.compared == 0


def test_rows_of_which_nothing_tells_how_far_they_are_applied_are_compared_or_named() -> None:
    journal = story()
    log = changed(written(journal), PARTITION_KEY, None)[:-1]
    done = verified(journal, log)
    assert (done.applied, done.differences, done.beyond, done.compared) == (-1, [], [], 2)
    later = verified(journal, log, first=state_of(log, ANN).applied_offset + 1)
    assert ANN in {found.subject for found in later.beyond}


def test_a_sample_is_as_large_as_asked_and_the_same_for_the_same_seed() -> None:
    leads = [LeadId(f"lead-{number}") for number in range(200)]

    def chosen(seed: str, order: list[LeadId]) -> set[LeadId]:
        sample = Sample(20, seed)
        for lead in order:
            sample.add(lead)
            sample.add(lead)
        assert sample.known == set(leads)
        return sample.chosen

    assert len(chosen("a", leads)) == 20
    assert chosen("a", leads) == chosen("a", leads[::-1])
    assert chosen("a", leads) != chosen("b", leads)


# --- a worker's disk


def on_disk(log: Changelog, reaches: int) -> Table:
    table = Table(Sample(None), reaches)
    for offset, (key, value) in enumerate(log):
        table.take(key, value, offset)
    return table


def disk_of(log: Changelog, reaches: int) -> dict[bytes, bytes]:
    return {key: value for key, value in log[: reaches + 1] if value is not None}


@pytest.mark.parametrize("back", [0, 1, 5])
def test_a_disk_that_holds_what_the_changelog_held_at_its_offset_is_the_same(back: int) -> None:
    log = written(story())
    reaches = len(log) - 1 - back
    assert list(on_disk(log, reaches).off_disk(disk_of(log, reaches))) == []


@pytest.mark.parametrize("seed", "abcd")
def test_a_sample_of_a_disk_is_compared_by_its_own_leads_only(seed: str) -> None:
    log = written(story())
    table = Table(Sample(1, seed), len(log) - 1)
    for offset, (key, value) in enumerate(log):
        table.take(key, value, offset)
    (lead,) = table.sample.chosen
    disk = {key: value for key, value in disk_of(log, len(log) - 1).items() if lead_of(key) in (lead, None)}
    assert list(table.off_disk(disk)) == []
    assert [found.subject for found in table.off_disk({**disk, keys_of(lead)[1]: b"1"})] == [f"{lead} (timer)"]


def test_a_disk_with_an_older_a_missing_or_another_row_differs() -> None:
    log = written(story())
    reaches = len(log) - 1
    table, key = on_disk(log, reaches), keys_of(ANN)[0]
    disk = disk_of(log, reaches)
    older = next(value for name, value in log if name == key)
    (found,) = table.off_disk(disk | {key: older or b""})
    assert found.subject == ANN
    assert found.what.startswith("version: the disk has ")
    assert ", the changelog has " in found.what
    (gone,) = table.off_disk({name: value for name, value in disk.items() if name != key})
    assert gone.what == "on the changelog, not on the disk"
    (more,) = table.off_disk(disk | {b"l/zed": b"\x01"})
    assert (more.subject, more.what) == ("zed", "on the disk, not on the changelog")


def test_a_row_whose_older_record_was_compacted_away_is_not_held_against_the_disk() -> None:
    log = written(story())
    key = keys_of(ANN)[0]
    reaches = max(number for number, (name, _) in enumerate(log[:-1]) if name == PARTITION_KEY)
    disk = disk_of(log, reaches)
    assert key in disk
    table = Table(Sample(None), reaches)
    for offset, (name, value) in enumerate([*log, (key, log[-1][1])]):
        if not (name == key and offset <= reaches):
            table.take(name, value, offset)
    assert list(table.off_disk(disk)) == []
    assert table.rows.get(PARTITION_KEY) == Row(log[-1][1] or b"", len(log) - 1)
