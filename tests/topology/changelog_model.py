"""A changelog partition in memory, with what a broker does to it: late records, compaction. Disks and rows are real.

Owners are made of the worker's own parts: `Takeover`, `ExecutionTable` on RocksDB, `processors.partition.Partition`.
"""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import faust

from processors.partition import Partition
from schemas.codec import encode
from schemas.headers import Headers
from schemas.records import JournalEntry
from streams import Broken
from streams.owners import Entry, stamp_of
from streams.standby import Standby
from streams.tables import ExecutionTable, table_arguments
from streams.takeover import Takeover
from tests.core.story import COURT

NUMBER = 0
_names = itertools.count()


class Changelog:
    """One partition. Offsets are never given twice; compaction leaves gaps."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.end = 0
        self.given = 0
        """Records that readers were given."""
        self.fails = 0
        """How many reads from now on fail, as when the cluster is not there."""

    def append(self, key: bytes, value: bytes | None, headers: Headers | None) -> int:
        self.entries.append(Entry(self.end, key, value, stamp_of(headers)))
        self.end += 1
        return self.end - 1

    def compact(self, before: int | None = None) -> None:
        """Leaves the newest record of each key, as the cleaner does below an offset; claims are removed for good."""
        clean = [entry for entry in self.entries if entry.offset < (self.end if before is None else before)]
        newest = {entry.key: entry.offset for entry in clean}
        rest = self.entries[len(clean) :]
        self.entries = [entry for entry in clean if newest[entry.key] == entry.offset] + rest

    def reader(self, _settings: Any = None, _patient: bool = False) -> "LogReader":
        return LogReader(self)


class LogReader:
    """What `streams.changelog.Reader` does, on a `Changelog`. Gives a few records at a time."""

    def __init__(self, log: Changelog) -> None:
        self._log = log
        self._next = 0

    def end(self, number: int) -> int:
        return self._log.end

    def seen_end(self, number: int) -> int:
        return self._log.end

    def begin(self, starts: dict[int, int]) -> None:
        self._next = starts[NUMBER]

    def read(self) -> tuple[dict[int, list[Entry]], set[int]]:
        if self._log.fails:
            self._log.fails -= 1
            raise Broken("The changelog can't be read.", "")
        found = [entry for entry in self._log.entries if entry.offset >= self._next][:7]
        self._log.given += len(found)
        if found:
            self._next = found[-1].offset + 1
        at_end = not found or found[-1] is self._log.entries[-1]
        return ({NUMBER: found} if found else {}), ({NUMBER} if at_end else set())

    def close(self) -> None:
        return


class Group:
    """Records awaited together."""

    def __init__(self) -> None:
        self.last_offset = -1
        self.done = asyncio.Event()
        self.handed = self.arrived = 0

    async def wait(self) -> None:
        if self.handed:
            await self.done.wait()


class Buffer:
    """An owner's producer. While it is held, records lie in it, in order, as in a client whose process is stopped."""

    def __init__(self, log: Changelog) -> None:
        self._log = log
        self.held = False
        self.waiting: list[tuple[Group, bytes, bytes | None, Headers | None]] = []

    def open(self) -> Group:
        return Group()

    def send(
        self,
        group: Group,
        topic: str,
        value: bytes | None,
        *,
        key: bytes,
        partition: int,
        headers: Headers | None = None,
    ) -> None:
        group.handed += 1
        self.waiting.append((group, key, value, headers))
        if not self.held:
            self.deliver()

    def deliver(self, count: int | None = None) -> None:
        """Some of what waits, or all of it, reaches the broker."""
        now, self.waiting = self.waiting[:count], [] if count is None else self.waiting[count:]
        for group, key, value, headers in now:
            group.last_offset = self._log.append(key, value, headers)
            group.arrived += 1
            if group.arrived == group.handed:
                group.done.set()


class Settings:
    """What Faust's app asks of ours: nothing."""


class Owner:
    """One worker's life with the partition, from taking it over until `die`."""

    def __init__(self, log: Changelog, journal: Sequence[JournalEntry], directory: Path) -> None:
        app: Any = faust.App(
            f"owner-{next(_names)}", store="rocksdb://", datadir=directory, broker="kafka://", topic_allow_declare=False
        )
        app.settings = Settings()
        self._journal = journal
        self.log = log
        self.directory = directory
        self.buffer = Buffer(log)
        self.outbox = cast(Any, self.buffer)
        self.table = ExecutionTable(app, changelog_id="log", reader=cast(Any, log.reader), **table_arguments(1))
        self.outputs: list[tuple[str, bytes]] = []
        self.landing: asyncio.Task[None] | None = None
        self.partition: Partition

    @property
    def applied(self) -> int:
        return -1 if self.partition.applied_offset is None else self.partition.applied_offset

    async def take_over(self) -> None:
        assert await Takeover(self.table, self.outbox, [NUMBER]).run()
        self.partition = Partition(NUMBER, self.table.rows(NUMBER), COURT)

    async def copy(self) -> int:
        """Keeps a copy up to the present end, as who does not own the partition; how many records it read."""
        standby = Standby(self.table, [NUMBER])
        end = self.log.entries[-1].offset + 1 if self.log.entries else 0
        standby.start()
        try:
            async with asyncio.timeout(20):
                while standby.next.get(NUMBER, -1) < end:
                    await asyncio.sleep(0.001)
        finally:
            await standby.stop()
        return standby.rows

    async def land(self, entries: int) -> None:
        """Judges some entries and writes their rows; what was put out stays out."""
        for _ in range(entries):
            offset = self.applied + 1
            if offset < len(self._journal):
                given = self.partition.apply(self._journal[offset], offset)
                self.outputs += [(output.id, encode(output.value)) for output in given]
        await self.table.write(self.outbox, NUMBER, self.partition.take_writes(), self.applied)

    async def pause_in_a_landing(self, entries: int) -> None:
        """Judges some entries; their rows stay in the buffers, and the process stops."""
        self.buffer.held = True
        self.landing = asyncio.create_task(self.land(entries))
        await asyncio.sleep(0)

    async def wake(self, count: int | None = None) -> str:
        """What was in its buffers reaches the broker; what the process then ends with, empty for nothing."""
        assert self.landing is not None
        self.buffer.held = False
        self.buffer.deliver(count)
        if count is not None:
            self.landing.cancel()
        try:
            await self.landing
        except Broken as broken:
            return str(broken)
        except asyncio.CancelledError:
            pass
        return ""

    def rows(self) -> dict[bytes, bytes]:
        """What the disk holds, without what is the engine's own."""
        return {key: value for key, value in self.table.rows(NUMBER).scan(b"") if not key.startswith(b"__")}

    def die(self) -> None:
        """Lets go of the disk, as a process that ends."""
        for db in self.table.store._dbs.values():
            with suppress(Exception):  # one that is damaged says so again
                db.close()
        self.table.store._dbs.clear()


@contextmanager
def owner(log: Changelog, journal: Sequence[JournalEntry], directory: Path) -> Iterator[Owner]:
    """An owner that lets go of its disk in any case."""
    made = Owner(log, journal, directory)
    try:
        yield made
    finally:
        made.die()
