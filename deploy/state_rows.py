"""Where control's rows lie: on their changelog, and on the disk of a worker, which is only read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.evidence import records_of
from processors.explain.rows import Sample, Table, lead_of
from processors.partition import PARTITION_KEY, POLICIES_KEY

if TYPE_CHECKING:
    from deploy.settings import Settings
    from streams.owners import Entry

GROUP = "mandate-control-restore"
OWN = b"__"
"""Keys that begin so are no rows of the fold: the engine's own notes."""


class DiskError(ValueError):
    """A directory that holds no state of a worker, or that of several. The operator names another."""


class Disk(NamedTuple):
    """Rows of one partition on a worker's disk. reaches: the changelog offset that they reach; None: they are none."""

    rows: dict[bytes, bytes]
    reaches: int | None

    def of(self, sample: Sample) -> dict[bytes, bytes]:
        """Rows of the leads in question, of leads that nobody else knows, and the partition's own."""
        return {key: value for key, value in self.rows.items() if _is_asked_for(key, sample)}


def read_table(settings: Settings, number: int, sample: Sample, disk: Disk | None) -> tuple[Table, int]:
    """The rows of a partition as its changelog has them now, and how many came late."""
    from streams.changelog import CHANGELOG
    from streams.kafka import headers_of
    from streams.owners import Entry, stamp_of

    def entries() -> Iterator[Entry]:
        for message in records_of(settings, CHANGELOG, number, group=GROUP):
            yield Entry(message.offset() or 0, message.key() or b"", message.value(), stamp_of(headers_of(message)))

    return table_of(entries(), sample, disk.reaches if disk else None)


def table_of(entries: Iterable[Entry], sample: Sample, disk_reaches: int | None = None) -> tuple[Table, int]:
    """The rows that changelog records make, and how many have a last record that came late.

    That is one which an earlier owner wrote after another had claimed the partition: no owner uses it
    (`streams.owners`).
    """
    from streams.owners import CLAIM_PREFIX, NOTHING

    table, epoch, late = Table(sample, disk_reaches), NOTHING, set()
    for entry in entries:
        if entry.key.startswith(CLAIM_PREFIX) and entry.value is not None:
            epoch = entry.offset
        if entry.key.startswith(OWN):
            continue
        if entry.stamp.epoch < epoch:
            late.add(entry.key)
        else:
            late.discard(entry.key)
            table.take(entry.key, entry.value, entry.offset)
    return table, len(late)


def read_disk(directory: Path, number: int) -> Disk | None:
    """The rows of a partition below a worker's state directory; None when it has none of it. Raises DiskError."""
    from streams.tables import TABLE

    if not directory.is_dir():
        raise DiskError(f"there is no directory {directory}.")
    found = sorted(path for path in directory.rglob(f"{TABLE}-{number}.db") if path.is_dir())
    if len(found) > 1:
        names = ", ".join(str(path) for path in found)
        raise DiskError(f"{directory} holds several states of partition {number}: name the one below it ({names}).")
    return _read_database(found[0]) if found else None


def _read_database(path: Path) -> Disk:
    from rocksdict import AccessType, Options, Rdict

    from streams.tables import OFFSET_KEY

    options = Options(raw_mode=True)
    with tempfile.TemporaryDirectory() as elsewhere:
        options.set_db_log_dir(elsewhere)  # RocksDB writes a log of its own even where it only reads
        try:
            database = Rdict(str(path), options=options, access_type=AccessType.read_only())
            rows = _rows_of(database)
            database.close()
        except Exception as error:
            raise DiskError(f"{path} can't be read ({error}): repeat it, or stop the worker first.") from error
    reaches = rows.pop(OFFSET_KEY, None)
    return Disk({key: rows[key] for key in rows if not key.startswith(OWN)}, int(reaches) if reaches else None)


def _rows_of(database: Any) -> dict[bytes, bytes]:
    """Every row; raises where `items` would end early at a block that can't be read."""
    rows: dict[bytes, bytes] = {}
    place = database.iter()
    place.seek_to_first()
    while place.valid():
        rows[place.key()] = place.value()
        place.next()
    place.status()
    return rows


def _is_asked_for(key: bytes, sample: Sample) -> bool:
    lead = lead_of(key)
    if lead is None:
        return key in (PARTITION_KEY, POLICIES_KEY)
    return lead in sample.chosen or lead not in sample.known
