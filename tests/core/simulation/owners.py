"""Owners of a partition: the log of what they produced, and how they die and come back.

The log is what the broker holds: an output once produced stays. Rows are what the changelog holds. An owner produces,
then writes rows, then acknowledges, as control does; it may die between any two writes.
"""

from processors.offline import MemoryRows
from processors.partition import PARTITION_KEY, Gap, Partition
from schemas.codec import encode
from schemas.records import JournalEntry, PartitionState
from schemas.rows import decode_row
from tests.core.story import COURT


class Broken(AssertionError):  # noqa: N818 - what it says of an invariant
    """An invariant does not hold."""


class Log:
    """Every output of one journal partition by its id, whoever produced it."""

    def __init__(self) -> None:
        self.bytes: dict[str, bytes] = {}
        self.of_offset: dict[int, dict[str, bytes]] = {}

    def first(self, offset: int, outputs: dict[str, bytes]) -> None:
        """What the undisturbed owner produced at an offset: the measure of all others."""
        for output_id, value in outputs.items():
            if self.bytes.setdefault(output_id, value) != value:
                raise Broken(f"same_journal_same_bytes: output {output_id} has two contents")
        self.of_offset[offset] = outputs

    def again(self, offset: int, outputs: dict[str, bytes], who: str) -> None:
        """What another owner produced: nothing that the first did not, and the same bytes."""
        expected = self.of_offset[offset]
        for output_id, value in outputs.items():
            if expected.get(output_id) != value:
                what = "other bytes" if output_id in expected else "an output of its own"
                raise Broken(f"same_journal_same_bytes: {who} gave {what} at offset {offset}: {output_id}")


class Owner:
    """One process that owns a partition for a while."""

    def __init__(
        self, journal: list[JournalEntry], log: Log, name: str, rows: dict[bytes, bytes] | None = None
    ) -> None:
        self.journal, self.log, self.name = journal, log, name
        self.rows = MemoryRows()
        self.rows.rows = dict(rows or {})
        self.partition = Partition(0, self.rows, COURT)
        self.acknowledged = 0
        self.produced: set[str] = set()

    def fork(self, name: str) -> "Owner":
        """A second owner, who starts from the rows as they stand and the acknowledged offset."""
        other = Owner(self.journal, self.log, name, self.rows.rows)
        other.acknowledged = self.acknowledged
        other.produced = set(self.produced)
        return other

    def fold(self, until: int) -> None:
        """Produces for the entries up to an offset; neither writes nor acknowledges."""
        for offset in range(self.acknowledged, until):
            outputs = {o.id: encode(o.value) for o in self.partition.apply(self.journal[offset], offset)}
            self.log.again(offset, outputs, self.name)
            self.produced.update(outputs)

    def batch(self, until: int) -> None:
        """A whole batch: outputs, then rows, then offsets."""
        if until <= self.acknowledged:
            return
        self.fold(until)
        self.rows.rows.update(self.partition.take_writes())
        self.acknowledged = until

    def crash(self, until: int, kept: int) -> None:
        """A batch that dies with only the first writes done and nothing acknowledged; then the process starts anew."""
        before = dict(self.rows.rows)
        self.fold(until)
        writes = self.partition.take_writes()
        self.rows.rows = before | dict(writes[:kept])
        self.partition = Partition(0, self.rows, COURT)

    def must_agree(self, rows: dict[bytes, bytes]) -> None:
        """All was produced that had to be, and the rows are those of the undisturbed owner."""
        missing = set(self.log.bytes) - self.produced
        if missing:
            raise Broken(f"same_journal_same_bytes: {self.name} never produced {sorted(missing)[:3]}")
        for key in sorted({*rows, *self.rows.rows}):
            if not key.startswith(b"t/") and rows.get(key) != self.rows.rows.get(key):
                raise Broken(f"same_journal_same_bytes: {self.name} has another row {key!r}")


def late_writes_are_noticed(stale: Owner, new: Owner) -> None:
    """A stale owner's whole late batch over newer rows: whoever restarts on them is stopped by the gap."""
    rows = new.rows.rows | stale.rows.rows
    applied = decode_row(PartitionState, rows[PARTITION_KEY]).applied_offset if PARTITION_KEY in rows else -1
    if new.acknowledged >= len(new.journal) or applied + 1 >= new.acknowledged or applied < 0:
        return
    again = Owner(new.journal, new.log, "who restarts on stale rows", rows)
    try:
        again.partition.apply(new.journal[new.acknowledged], new.acknowledged)
    except Gap:
        return
    raise Broken("same_journal_same_bytes: rows that a stale owner wrote over newer ones were taken for good")
