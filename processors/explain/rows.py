"""The rows of one partition against the journal: the same entries folded again must give them, byte for byte.

What may differ: a timer row may be too early, never too late (`processors.partition` says why). And rows may run ahead
of the entry up to which the partition is applied, in the middle of a landing or after a crash there: such a row is
compared at its own entry.
"""

import heapq
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple

from processors.authority import Court
from processors.explain.refold import first_difference
from processors.fold import due_at
from processors.law import Law, compile_law
from processors.offline import MemoryRows
from processors.partition import LEAD_PREFIX, NEVER, PARTITION_KEY, POLICIES_KEY, TIMER_PREFIX, Partition
from schemas.jsonio import to_json
from schemas.records import (
    JournalEntry,
    LeadId,
    LeadState,
    PartitionState,
    PolicyHistory,
    PolicyInForce,
    Record,
    TimeUs,
)
from schemas.rows import RowError, decode_row, encode_row

_FLUSH_EVERY = 1_000
NOTHING = -1


class Row(NamedTuple):
    """A row as a table has it. offset: that of its changelog record."""

    value: bytes
    offset: int


class Finding(NamedTuple):
    """Something about one row. offset: the journal entry that the row is of, changelog: its record; None: no row."""

    subject: str
    offset: int | None
    changelog: int | None
    what: str


class Sample:
    """Which leads are looked at: all, or so many, chosen by nothing but the seed."""

    def __init__(self, size: int | None, seed: str = "") -> None:
        self._size, self._seed = size, seed
        self._ranked: list[tuple[int, LeadId]] = []
        self.known: set[LeadId] = set()
        self.chosen: set[LeadId] = set()

    def add(self, lead: LeadId) -> LeadId | None:
        """Takes note of a lead; answers the one that falls out of the sample because of it."""
        if lead in self.known:
            return None
        self.known.add(lead)
        self.chosen.add(lead)
        if self._size is None:
            return None
        rank = int.from_bytes(sha256(f"{self._seed}/{lead}".encode("utf-8", "surrogateescape")).digest()[:8], "big")
        heapq.heappush(self._ranked, (-rank, lead))
        if len(self._ranked) <= self._size:
            return None
        _, out = heapq.heappop(self._ranked)
        self.chosen.discard(out)
        return out


class Table:
    """The rows that matter, as the changelog has them.

    disk_reaches: changelog offset that a worker's disk reaches; `on_disk` is then what it must hold.
    """

    def __init__(self, sample: Sample, disk_reaches: int | None = None) -> None:
        self.sample = sample
        self.rows: dict[bytes, Row] = {}
        self.on_disk: dict[bytes, Row] = {}
        self.newer: set[bytes] = set()
        self._reaches = NOTHING if disk_reaches is None else disk_reaches

    def take(self, key: bytes, value: bytes | None, offset: int) -> None:
        """Takes a changelog record, in order. value None removes the row."""
        lead = lead_of(key)
        if lead is not None:
            out = self.sample.add(lead)
            if out is not None:
                self._forget(out)
            if lead not in self.sample.chosen:
                return
        row = None if value is None else Row(value, offset)
        _put(self.rows, key, row)
        if offset <= self._reaches:
            _put(self.on_disk, key, row)
        else:
            self.newer.add(key)

    @property
    def applied(self) -> int:
        """Journal offset up to which the partition is applied; NOTHING before the first entry. Raises RowError."""
        row = self.rows.get(PARTITION_KEY)
        return decode_row(PartitionState, row.value).applied_offset if row else NOTHING

    def _forget(self, lead: LeadId) -> None:
        for key in keys_of(lead):
            for rows in (self.rows, self.on_disk):
                rows.pop(key, None)
            self.newer.discard(key)

    def off_disk(self, disk: dict[bytes, bytes]) -> Iterator[Finding]:
        """How a disk's rows differ from what the changelog says that they are. disk: rows of the leads in question."""
        for key in sorted(self.on_disk.keys() | disk.keys()):
            told, found = self.on_disk.get(key), disk.get(key)
            if (told.value if told else None) == found or (told is None and key in self.newer):
                continue
            offset = told.offset if told else None
            if told is None or found is None:
                what = "on the disk, not on the changelog" if told is None else "on the changelog, not on the disk"
                yield Finding(_subject(key), _offset_of(key, found or (told.value if told else b"")), offset, what)
            else:
                yield Finding(
                    _subject(key), _offset_of(key, told.value), offset,
                    _first(key, found, told.value, ("the disk has", "the changelog has")),
                )  # fmt: skip


class Verification:
    """Folds the chosen leads of a partition again and compares. Takes every entry from `first` to `until`, in order.

    first: offset of the oldest entry that the journal holds. Where that is not 0, a lead that changed before it can't
    be told by folding: `beyond` has those.
    """

    def __init__(self, number: int, table: Table, court: Court, first: int) -> None:
        self._table = table
        self.first = first
        self.applied = table.applied
        self.differences: list[Finding] = []
        self.beyond: list[Finding] = []
        self.compared = 0
        self._folded: set[LeadId] = set()
        self._rows = MemoryRows()
        self._policies = self._read_policies()
        if first > 0:
            before = tuple(policy for policy in self._policies if policy.offset < first)
            self._rows.rows[POLICIES_KEY] = encode_row(PolicyHistory(policies=before))
        self._partition = Partition(number, self._rows, court)
        self._ahead: dict[int, list[LeadId]] = {}
        for lead in sorted(table.sample.chosen):
            offset = self._row_offset(lead)
            if offset is not None and offset > self.applied:
                self._ahead.setdefault(offset, []).append(lead)
        self.until = max([self.applied, *self._ahead])
        self._next = first
        self._looked_at: set[LeadId] = set()
        self._laws: dict[int, Law] = {}

    def wants(self, lead: LeadId | None) -> bool:
        """Whether entries of a lead are folded. One that the table does not know is: it ought to have a row there."""
        return lead is None or lead in self._table.sample.chosen or lead not in self._table.sample.known

    def take(self, entry: JournalEntry | None, offset: int) -> None:
        """The next entry; None for one that is of no use."""
        for missing in range(self._next, offset + 1 if entry is None else offset):
            self._partition.skip(missing)
        self._next = offset + 1
        if entry is not None:
            if entry.lead_id:
                self._folded.add(entry.lead_id)
            self._partition.apply(entry, offset)
        if offset % _FLUSH_EVERY == 0 or offset == self.applied or offset in self._ahead:
            self._rows.rows.update(self._partition.take_writes())
        if offset == self.applied:
            self._compare_settled()
        for lead in self._ahead.get(offset, ()):
            self._compare(lead)

    def finish(self) -> None:
        """After the last entry: rows of entries that the journal at hand does not hold can't be verified."""
        what = f"the journal holds entries {self.first} to {self._next - 1}"
        for lead in sorted(self._table.sample.chosen - self._looked_at):
            row = self._table.rows.get(keys_of(lead)[0])
            if row is not None:
                self.beyond.append(Finding(lead, self._row_offset(lead), row.offset, what))

    def _compare_settled(self) -> None:
        ahead = {lead for leads in self._ahead.values() for lead in leads}
        known = self._table.sample.known
        for lead in sorted((self._table.sample.chosen | (self._folded - known)) - ahead):
            self._compare(lead)
        expected = self._expected_policies()
        mine = tuple(policy for policy in self._policies if policy.offset <= self.applied)
        if len(mine) < len(self._policies):  # it runs ahead, and keeps only so many
            expected = expected[len(expected) - len(mine) :]
        if mine != expected:
            row = self._table.rows.get(POLICIES_KEY)
            what = first_difference(_plain(mine), _plain(expected)) or "other policies"
            self.differences.append(Finding("policies", self.applied, row.offset if row else None, what))

    def _compare(self, lead: LeadId) -> None:
        self._looked_at.add(lead)
        key, timer = keys_of(lead)
        found, derived = self._table.rows.get(key), self._rows.get(key)
        if found is None and derived is None:
            return
        self.compared += 1
        offset = _offset_of(key, found.value if found else derived or b"")
        place = found.offset if found else None
        if found is None:
            self.differences.append(Finding(lead, offset, None, "no row, the journal gives one"))
        elif derived != found.value:
            if self._began_before(found.value, derived):
                self.beyond.append(Finding(lead, offset, place, f"it changed before entry {self.first}"))
                return
            what = _first(key, found.value, derived, ("recorded", "the journal gives")) if derived else (
                "recorded, the journal gives none"
            )  # fmt: skip
            self.differences.append(Finding(lead, offset, place, what))
        else:
            self._compare_timer(lead, timer, offset)

    def _compare_timer(self, lead: LeadId, timer: bytes, offset: int | None) -> None:
        state = decode_row(LeadState, self._rows.rows[keys_of(lead)[0]])
        due = due_at(state, self._law_at(state.applied_offset))
        row = self._table.rows.get(timer)
        try:
            held: TimeUs = int(row.value) if row else NEVER
        except ValueError:
            held = NEVER
        if due is not None and held > due:
            told = "none" if held == NEVER else str(held)
            what = f"timer: recorded {told}, the lead is due at {due}"
            self.differences.append(Finding(lead, offset, row.offset if row else None, what))

    def _began_before(self, found: bytes, derived: bytes | None) -> bool:
        """Whether a row counts more changes than the journal at hand holds."""
        if self.first == 0:
            return False
        try:
            changes = decode_row(LeadState, found).version
        except RowError:
            return False
        return changes > (decode_row(LeadState, derived).version if derived else 0)

    def _row_offset(self, lead: LeadId) -> int | None:
        key, _ = keys_of(lead)
        row = self._table.rows.get(key)
        return _offset_of(key, row.value) if row else None

    def _read_policies(self) -> tuple[PolicyInForce, ...]:
        row = self._table.rows.get(POLICIES_KEY)
        return decode_row(PolicyHistory, row.value).policies if row else ()

    def _expected_policies(self) -> tuple[PolicyInForce, ...]:
        row = self._rows.get(POLICIES_KEY)
        return decode_row(PolicyHistory, row).policies if row else ()

    def _law_at(self, offset: int) -> Law | None:
        in_force = [policy for policy in self._expected_policies() if policy.offset < offset]
        if not in_force:
            return None
        last = in_force[-1]
        if last.offset not in self._laws:
            self._laws[last.offset] = compile_law(last.activation.bundle, last.digest, last.revision)
        return self._laws[last.offset]


def keys_of(lead: LeadId) -> tuple[bytes, bytes]:
    """Keys of a lead's row and of its timer."""
    name = lead.encode("utf-8", "surrogateescape")
    return LEAD_PREFIX + name, TIMER_PREFIX + name


def lead_of(key: bytes) -> LeadId | None:
    """The lead that a row is about; None for the partition's own."""
    for prefix in (LEAD_PREFIX, TIMER_PREFIX):
        if key.startswith(prefix):
            return LeadId(key[len(prefix) :].decode("utf-8", "surrogateescape"))
    return None


def _put(rows: dict[bytes, Row], key: bytes, row: Row | None) -> None:
    if row is None:
        rows.pop(key, None)
    else:
        rows[key] = row


def _subject(key: bytes) -> str:
    lead = lead_of(key)
    if lead is None:
        return {POLICIES_KEY: "policies", PARTITION_KEY: "the partition's own row"}.get(key, repr(key))
    return f"{lead} (timer)" if key.startswith(TIMER_PREFIX) else lead


def _offset_of(key: bytes, value: bytes) -> int | None:
    """The journal entry that a row is of; None when it says nothing of one."""
    try:
        if key.startswith(LEAD_PREFIX):
            return decode_row(LeadState, value).applied_offset
        return decode_row(PartitionState, value).applied_offset if key == PARTITION_KEY else None
    except RowError:
        return None


def _first(key: bytes, found: bytes, other: bytes, names: tuple[str, str]) -> str:
    """The first field in which two rows of a key differ, in words."""
    own: dict[bytes, type[Record]] = {PARTITION_KEY: PartitionState, POLICIES_KEY: PolicyHistory}
    record = LeadState if key.startswith(LEAD_PREFIX) else own.get(key)
    if record is None:
        return f"{names[0]} {found!r}, {names[1]} {other!r}"
    try:
        plain = to_json(decode_row(record, found)), to_json(decode_row(record, other))
    except RowError as error:
        return str(error)
    what = first_difference(*plain)
    if what is None:
        return "the encoding: the fields are the same, the bytes are not"
    return what.replace(": recorded ", f": {names[0]} ", 1).replace(", the journal gives ", f", {names[1]} ", 1)


def _plain(policies: tuple[PolicyInForce, ...]) -> list[Any]:
    return [{"offset": policy.offset, "revision": policy.revision, "digest": policy.digest} for policy in policies]
