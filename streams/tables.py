"""Control's state: one RocksDB for each journal partition, whole in a changelog topic.

A row is written to the changelog first and to RocksDB once the broker has acknowledged it, in one write with the
changelog offset it reaches. So the disk never holds what the changelog lacks, and a restart reads only what came after.

RocksDB keeps no log of its own: the changelog is that log. What a crash or damaged files leave is therefore the rows
and the offset of one earlier moment, never some rows without others; `docs/decisions/no-log-of-its-own.md`.

Only its owner writes to a partition of the changelog, so what it wrote lies there without a gap. A gap is a record of
somebody else: of an earlier owner, which is written over, or of a later one, which ends this process.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

from faust import Table
from faust.stores.rocksdb import Store
from faust.types import StoreT
from rocksdict import Rdict, WriteBatch

from processors.partition import PARTITION_KEY
from schemas.rows import RowError
from streams import Broken
from streams.changelog import CHANGELOG, Reader, read_span
from streams.disk import UNLOGGED, TrustedStore, is_damage, mark, scan
from streams.metrics import control as metrics
from streams.owners import CLAIM_PREFIX, LATE_PREFIX, Entry, Ledger, Stamp, Write
from streams.topology import CONTROL
from streams.transport.outbox import Outbox

if TYPE_CHECKING:
    from deploy.settings import Settings

log = logging.getLogger("mandate.control")
assert CONTROL.table is not None
TABLE = CONTROL.table.name

MakeReader = Callable[["Settings", bool], Reader]
OFFSET_KEY = Store.offset_key
"""Where Faust's RocksDB store keeps the changelog offset that its rows reach."""
WHO_ELSE = "Look for who else has the right to: nobody but control's workers may."
TRIES = 100


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
    """The rows of one partition, as the fold reads them. A row that can't be read ends the process.

    unreadable: called with what RocksDB says; it does not return.
    """

    def __init__(self, db: Rdict, unreadable: Callable[[Exception], NoReturn]) -> None:
        self._db = db
        self._unreadable = unreadable

    def get(self, key: bytes) -> bytes | None:
        """A row; None when there is none."""
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:
            self._unreadable(error)
        return value

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows of this partition whose key begins so, by key."""
        try:
            yield from scan(self._db, prefix)
        except Exception as error:
            self._unreadable(error)


class ExecutionTable(Table):
    """The table of control. Rows go through `write`, never through Faust's `table[key] = value`.

    That would put a row on disk before the broker has it, send each row by itself with nobody awaiting it, and
    ask for a current event, which a batch does not have.

    changelog_id: what the changelog topic was given when it was created.
    """

    app: Any

    def __init__(self, *args: Any, changelog_id: str, reader: MakeReader = Reader, **options: Any):
        super().__init__(*args, **options)
        self._changelog_id = changelog_id
        self._reader = reader
        self._ledgers: dict[int, Ledger] = {}
        self._unkept: set[int] = set()

    def reader(self, *, patient: bool = False) -> Reader:
        """What reads the changelog; close it."""
        return self._reader(self.app.settings, patient)

    def rows(self, partition: int) -> Rows:
        """The rows of a partition that this worker owns."""

        def unreadable(error: Exception) -> NoReturn:
            raise self.distrust(partition, error) from error

        return Rows(self._db(partition), unreadable)

    @contextmanager
    def _trusting(self, partition: int) -> Iterator[Rdict]:
        """The database of a partition. Damage that shows while it is used is marked, or the next start would use it."""
        database = self._db(partition)
        try:
            yield database
        except Exception as error:
            raise self.distrust(partition, error) from error

    async def write(self, outbox: Outbox, partition: int, rows: Sequence[Write], applied: int) -> None:
        """Writes rows in their order; returns once the changelog holds them all and RocksDB too.

        applied: journal offset up to which they are right. Raises Broken when another worker owns the partition by now.
        """
        if not rows:
            return
        ledger = self._ledgers[partition]
        expected = self._reached(partition) + len(rows)
        stamp = Stamp(ledger.epoch, applied)
        last = await self._send(outbox, partition, rows, stamp)
        if last != expected:
            last = await self._write_again(outbox, partition, dict(rows), stamp, last)
        changes: Iterable[Write] = rows
        if ledger.late_keys:
            changes = [change for key, value in rows for change in ledger.read(Entry(last, key, value, stamp))]
        self._put(partition, changes, last)
        metrics.ROWS_WRITTEN.inc(len(rows))
        metrics.CHANGELOG_BYTES.inc(sum(len(key) + len(value or b"") for key, value in rows))

    async def claim(self, outbox: Outbox, partition: int, claim: tuple[bytes, bytes]) -> int:
        """Writes the claim of a new owner; its offset, which is the owner's epoch. `restore` must read it next."""
        return await self._send(outbox, partition, [claim], None)

    def restore(self, partition: int, entries: Sequence[Entry]) -> None:
        """Puts changelog records on the disk, in their order; late ones apart from the rows."""
        ledger = self.ledger(partition)
        self._put(partition, ledger.read_all(entries), entries[-1].offset)

    def keep(self, partition: int) -> None:
        """Makes what was written last: the next start need not read it again. Takes some 10 ms."""
        if partition in self._unkept:
            self._unkept.discard(partition)
            with self._trusting(partition) as database:
                database.flush()

    def ledger(self, partition: int) -> Ledger:
        """Who owned a partition, as far as the disk knows."""
        if partition not in self._ledgers:
            with self._trusting(partition) as database:
                self._ledgers[partition] = Ledger([*scan(database, CLAIM_PREFIX), *scan(database, LATE_PREFIX)])
        return self._ledgers[partition]

    def forget(self, partitions: Iterable[int]) -> None:
        """Reads anew, when next asked, what the disk knows of owners: partitions may have been elsewhere since."""
        for number in partitions:
            self._ledgers.pop(number, None)

    def let_go(self, partitions: Iterable[int]) -> None:
        """Closes the databases of partitions that are not owned."""
        for number in partitions:
            self._ledgers.pop(number, None)
            self.keep(number)
            self.store.close_partition(number)

    def partition_row(self, partition: int) -> bytes | None:
        """The row that says how far a partition is folded."""
        return self.rows(partition).get(PARTITION_KEY)

    def reached(self, partition: int) -> int | None:
        """The changelog offset that the disk reaches; None for an empty one."""
        with self._trusting(partition) as database:
            found = database.get(OFFSET_KEY)
            return None if found is None else int(found)

    def trusted_start(self, partition: int, end: int) -> int:
        """The changelog offset to read next; a directory that reaches beyond the changelog's end is set aside."""
        reached = self._reached(partition)
        if reached < end:
            return reached + 1
        why = f"The state of partition {partition} reaches changelog offset {reached}, but {CHANGELOG} ends at {end}."
        self.set_aside(partition, why)
        return 0

    def set_aside(self, partition: int, why: str) -> None:
        """Renames the directory of a partition; an empty one takes its place."""
        self._ledgers.pop(partition, None)
        self._unkept.discard(partition)
        self.store.close_and_set_aside(partition, why)

    def distrust(self, partition: int, error: Exception) -> Broken:
        """What to end the process with when a row can't be read; the next start sets the directory aside."""
        path = self.store.partition_path(partition)
        if isinstance(error, RowError) or is_damage(error):
            mark(path, str(error))
            remedy = "Start again: the directory is set aside and the state restored from the changelog."
        else:
            remedy = "Check the disk and the limits of this process."
        return Broken(f"The state of partition {partition} in {path} can't be used ({error}).", remedy)

    @property
    def store(self) -> TrustedStore:
        """Where the databases of this worker's partitions are kept."""
        return cast(TrustedStore, self.data)

    def _new_store_by_url(self, url: Any) -> StoreT:
        store = TrustedStore(
            url,
            self.app,
            self,
            table_name=self.name,
            key_type=self.key_type,
            key_serializer=self.key_serializer,
            value_serializer=self.value_serializer,
            value_type=self.value_type,
            loop=self.loop,
            options=self.options,
        )
        store.identity = lambda partition: f"{self._changelog_id} {partition}".encode()
        return store

    async def _send(self, outbox: Outbox, partition: int, rows: Iterable[Write], stamp: Stamp | None) -> int:
        """Offset of the last of these on the changelog, which has acknowledged all of them."""
        headers = stamp.to_headers() if stamp else None
        group = outbox.open()
        for key, value in rows:
            outbox.send(group, CHANGELOG, value, key=key, partition=partition, headers=headers)
        await group.wait()
        return group.last_offset

    async def _write_again(
        self, outbox: Outbox, partition: int, mine: Mapping[bytes, bytes | None], stamp: Stamp, last: int
    ) -> int:
        """Somebody else wrote between our rows: writes our rows over theirs, until there is nothing in between."""
        ledger, reached, rows = self._ledgers[partition], self._reached(partition), self.rows(partition)
        for _ in range(TRIES):
            between = await asyncio.to_thread(read_span, self.reader(), partition, reached + 1, last)
            keys = ledger.overwritten(between)
            if keys is None:
                raise Broken(
                    f"Partition {partition} was taken over by another worker while this one was paused or cut off.",
                    "Start it again: it joins anew. Nothing is lost and no row is rolled back.",
                )
            if not keys:
                return last
            log.warning(
                "partition %d: %d rows of an earlier owner came late; ours are written again", partition, len(keys)
            )
            again = [(key, mine[key] if key in mine else rows.get(key)) for key in sorted(keys)]
            expected = last + len(again)
            last = await self._send(outbox, partition, again, stamp)
            if last == expected:
                return last
        raise Broken(
            f"{CHANGELOG} [{partition}] is written to by somebody else.", "Look for who else has the right to."
        )

    def _put(self, partition: int, changes: Iterable[Write], offset: int) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in changes:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(OFFSET_KEY, str(offset).encode())
        self._unkept.add(partition)
        with self._trusting(partition) as database:
            database.write(batch, UNLOGGED)

    def _reached(self, partition: int) -> int:
        reached = self.reached(partition)
        return -1 if reached is None else reached

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
