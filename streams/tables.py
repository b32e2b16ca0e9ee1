"""Control's state: one RocksDB for each journal partition, whole in a changelog topic.

A row is written to the changelog first and to RocksDB once the broker has acknowledged it, in one write with the
changelog offset it reaches. So the disk never holds what the changelog lacks, a crash leaves rows and offset of the
same moment, and a restart reads only what came after.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from faust import Table
from faust.stores.rocksdb import Store
from faust.types import TP
from rocksdict import Rdict, WriteBatch

from streams.metrics import control as metrics
from streams.topology import CONTROL
from streams.transport.outbox import Outbox

assert CONTROL.table is not None
TABLE = CONTROL.table.name
CHANGELOG = CONTROL.table.changelog

OFFSET_KEY = b"__faust\x00offset__"
"""Where Faust's RocksDB store keeps the changelog offset that its rows reach (faust/stores/rocksdb.py)."""


def rocksdb_options() -> dict[str, Any]:
    """RocksDB of one partition: Faust's defaults would take 2 GiB of block cache for each.

    A new dict each time: Faust's store changes the one it is given.
    """
    return {
        "driver": "rocksdict",
        "write_buffer_size": 8 << 20,
        "max_write_buffer_number": 2,
        "target_file_size_base": 16 << 20,
        "block_cache_size": 32 << 20,
        "bloom_filter_size": 10,
        "max_open_files": 256,
    }


class Rows:
    """The rows of one partition, as the fold reads them."""

    def __init__(self, db: Rdict) -> None:
        self._db = db

    def get(self, key: bytes) -> bytes | None:
        """A row; None when there is none."""
        value: bytes | None = self._db.get(key)
        return value

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows of this partition whose key begins so, by key."""
        found = cast("Iterator[tuple[bytes, bytes]]", self._db.items(from_key=prefix))
        for key, value in found:
            if not key.startswith(prefix):
                return
            if key != OFFSET_KEY:
                yield key, value


class ExecutionTable(Table):
    """The table of control. Rows go through `write`, never through Faust's `table[key] = value`.

    That would put a row on disk before the broker has it, send each row by itself with nobody awaiting it, and
    ask for a current event, which a batch does not have.
    """

    def rows(self, partition: int) -> Rows:
        """The rows of a partition that this worker owns."""
        return Rows(self._db(partition))

    async def write(self, outbox: Outbox, partition: int, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Writes rows in their order; returns once the changelog holds them all and the disk too."""
        if not rows:
            return
        group = outbox.open()
        for key, value in rows:
            outbox.send(group, CHANGELOG, value, key=key, partition=partition)
        await group.wait()
        self.put(partition, rows, group.last_offset)
        metrics.ROWS_WRITTEN.inc(len(rows))
        metrics.CHANGELOG_BYTES.inc(sum(len(key) + len(value) for key, value in rows))

    def put(self, partition: int, rows: Sequence[tuple[bytes, bytes]], offset: int) -> None:
        """Rows that the changelog holds, onto the disk, with the changelog offset that they reach."""
        batch = WriteBatch(raw_mode=True)
        for key, value in rows:
            batch.put(key, value)
        batch.put(OFFSET_KEY, str(offset).encode())
        self._db(partition).write(batch)

    def reached(self, partition: int) -> int | None:
        """The changelog offset that the disk reaches; None for an empty one."""
        return self.store.persisted_offset(TP(CHANGELOG, partition))

    @property
    def store(self) -> Store:
        """Where Faust keeps the databases of this worker's partitions."""
        return cast(Store, self.data)

    def _db(self, partition: int) -> Rdict:
        return self.store._db_for_partition(partition)


def table_arguments(partitions: int) -> Mapping[str, Any]:
    """How the table is declared. The name is permanent: its changelog hangs on it."""
    return {
        "name": TABLE,
        "partitions": partitions,
        "key_type": bytes,
        "value_type": bytes,
        "options": rocksdb_options(),
    }
