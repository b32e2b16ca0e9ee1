"""Owners of a partition over time: which changelog records came too late, and how what they cover is got back.

A worker that was paused may still write rows after another took its partition over. Each owner therefore begins with a
claim in the changelog; the claim's own offset is the owner's epoch. Every row bears, in a header, the epoch of its
writer and the journal offset up to which it is right. A row of an older epoch behind a claim is late.

A late row is right as of its own offset, for rows follow from the journal alone; but what stood there before it may
have been compacted away because of it. So the row is taken back to the late one and the journal is folded again from
there; whatever compaction did, that ends in the same rows and gives the same outputs. `docs/decisions/owner-epoch.md`.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

from processors.partition import LEAD_PREFIX, PARTITION_KEY, TIMER_PREFIX
from schemas.headers import Headers
from schemas.records import PartitionState
from schemas.rows import decode_row, encode_row

NOTHING = -1
"""In place of a journal offset: nothing is applied. In place of an epoch: written before there were claims."""
CLAIM_PREFIX = b"__mandate\x00claim/"
LATE_PREFIX = b"__mandate\x00late/"
STAMP_HEADER = "mandate-owner"
_STAMP = struct.Struct(">qq")
_BASE = struct.Struct(">q")
_LATE = struct.Struct(">q?")

Write = tuple[bytes, bytes | None]
"""A key and its value; None removes it."""


class Stamp(NamedTuple):
    """Who wrote a row, and the journal offset up to which the row is right."""

    epoch: int
    applied: int

    def to_headers(self) -> Headers:
        return [(STAMP_HEADER, _STAMP.pack(*self))]


class Entry(NamedTuple):
    """A changelog record."""

    offset: int
    key: bytes
    value: bytes | None
    stamp: Stamp


UNSTAMPED = Stamp(NOTHING, NOTHING)


def stamp_of(headers: Iterable[tuple[str, bytes | None]] | None) -> Stamp:
    """The stamp of a changelog record; UNSTAMPED for one without."""
    for name, value in headers or ():
        if name == STAMP_HEADER and value is not None and len(value) == _STAMP.size:
            return Stamp(*_STAMP.unpack(value))
    return UNSTAMPED


def claim_of(nonce: bytes, base: int) -> tuple[bytes, bytes]:
    """A claim as it is written. base: journal offset up to which all rows are right when the owner begins."""
    return CLAIM_PREFIX + nonce, _BASE.pack(base)


class _Claim(NamedTuple):
    epoch: int
    base: int
    key: bytes


class _Late(NamedTuple):
    applied: int
    value: bytes | None


class Ledger:
    """What the changelog of one partition says of its owners, read record by record; kept on the disk beside the rows.

    kept: the disk's rows whose keys begin with CLAIM_PREFIX or LATE_PREFIX.
    """

    def __init__(self, kept: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._claims: dict[bytes, _Claim] = {}
        self._late: dict[bytes, _Late] = {}
        for key, value in kept:
            if key.startswith(CLAIM_PREFIX):
                epoch, base = _STAMP.unpack(value)
                self._claims[key] = _Claim(epoch, base, key)
            else:
                applied, there = _LATE.unpack_from(value)
                self._late[key[len(LATE_PREFIX) :]] = _Late(applied, value[_LATE.size :] if there else None)
        self._newest = max(self._claims.values(), default=_Claim(NOTHING, NOTHING, b""))

    @property
    def epoch(self) -> int:
        """Epoch of the newest owner; NOTHING before the first."""
        return self._newest.epoch

    @property
    def claim(self) -> bytes:
        """Key of the newest owner's claim."""
        return self._newest.key

    @property
    def late_keys(self) -> list[bytes]:
        """Rows whose last record is a late one."""
        return sorted(self._late)

    def read(self, entry: Entry) -> list[Write]:
        """Takes one record, in the order of the changelog; answers what it changes on the disk."""
        if entry.key.startswith(CLAIM_PREFIX):
            return [self._read_claim(entry)]
        if entry.stamp.epoch < self._newest.epoch:
            self._late[entry.key] = _Late(entry.stamp.applied, entry.value)
            head = _LATE.pack(entry.stamp.applied, entry.value is not None)
            return [(LATE_PREFIX + entry.key, head + (entry.value or b""))]
        row: Write = (entry.key, entry.value)
        if self._late and self._late.pop(entry.key, None) is not None:
            return [(LATE_PREFIX + entry.key, None), row]
        return [row]

    def read_all(self, entries: Iterable[Entry]) -> list[Write]:
        """Takes records as `read` does, and quickly where nothing came late."""
        changes: list[Write] = []
        for entry in entries:
            _, key, value, stamp = entry
            if self._late or stamp.epoch < self._newest.epoch or key.startswith(CLAIM_PREFIX):
                changes += self.read(entry)
            else:
                changes.append((key, value))
        return changes

    def _read_claim(self, entry: Entry) -> Write:
        if entry.value is None:
            self._claims.pop(entry.key, None)
            return entry.key, None
        (base,) = _BASE.unpack(entry.value)
        self._claims[entry.key] = self._newest = _Claim(entry.offset, base, entry.key)
        return entry.key, _STAMP.pack(entry.offset, base)

    def start(self, partition_row: bytes | None) -> int:
        """Journal offset up to which every row is right, late ones too; the fold goes on after it.

        partition_row: as the disk has it. Where its own last record is late, how far the newest owner came is not
        known any more: then it counts as where that owner began.
        """
        if PARTITION_KEY in self._late:
            own = self._newest.base
        else:
            own = decode_row(PartitionState, partition_row).applied_offset if partition_row else NOTHING
        return min([own, *(late.applied for late in self._late.values())])

    def amends(self, number: int, partition_row: bytes | None) -> list[Write]:
        """Rows that a new owner writes before anything else, in this order; none when nothing came late.

        Timers first and as early as can be, then how far the rows are right, then the late rows as their own writer's.
        Whatever prefix of these survives, no timer is lost and the fold begins early enough.
        """
        if not self._late:
            return []
        start = self.start(partition_row)
        prefixes = (LEAD_PREFIX, TIMER_PREFIX)
        leads = {key.partition(b"/")[2] for key in self._late if key.startswith(prefixes)}
        row = encode_row(PartitionState(partition=number, applied_offset=start)) if start > NOTHING else None
        writes: list[Write] = [(TIMER_PREFIX + lead, b"0") for lead in sorted(leads)]
        writes.append((PARTITION_KEY, row))
        for key in self.late_keys:
            if key != PARTITION_KEY and not key.startswith(TIMER_PREFIX):
                writes.append((key, self._late[key].value))
        return writes

    def retired(self) -> list[Write]:
        """Removes the claims of earlier owners, which nothing needs once `amends` are written."""
        return [(key, None) for key in sorted(self._claims) if key != self._newest.key]

    def overwritten(self, entries: Iterable[Entry]) -> set[bytes] | None:
        """Keys of records behind our own claim whose last writer is not us; None when another owner claimed since."""
        found: set[bytes] = set()
        for entry in entries:
            if entry.key.startswith(CLAIM_PREFIX):
                if entry.value is not None and entry.offset > self._newest.epoch:
                    return None
            elif entry.stamp.epoch == self._newest.epoch:
                found.discard(entry.key)
            else:
                found.add(entry.key)
        return found
