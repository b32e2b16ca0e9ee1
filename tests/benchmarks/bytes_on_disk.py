"""What the broker and the workers of a measurement keep on the disk, in bytes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import TopicPartition
from faust.stores.rocksdb import RocksDBOptions

from deploy.settings import Settings
from deploy.state_rows import read_disk
from processors.partition import LEAD_PREFIX, TIMER_PREFIX
from streams.kafka import make_consumer, partition_count
from streams.tables import TABLE, rocksdb_options


class State(NamedTuple):
    """The tables of stopped workers. disk_bytes: of RocksDB's sorted files, everything in them; the rest is rows."""

    leads: int
    disk_bytes: int
    lead_row_bytes: int
    other_row_bytes: int


class Topics:
    """The topics of a local broker, by its files."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._logs = settings.data_dir / "stack" / "kafka"

    def sizes(self) -> dict[str, int]:
        """Bytes of all records of each topic, as the broker keeps them: batch headers too, indexes not."""
        found: dict[str, int] = {}
        for path in self._logs.glob("*-*/*.log"):
            topic = path.parent.name.rpartition("-")[0]
            found[topic] = found.get(topic, 0) + path.stat().st_size
        return found

    def grown(self, before: Mapping[str, int], events: int) -> dict[str, int]:
        """Bytes that each topic has grown by since, for each of some events."""
        return {
            name: each for name, size in self.sizes().items() if (each := round((size - before.get(name, 0)) / events))
        }

    def records(self, topic: str) -> int:
        """How many records a topic has had."""
        consumer = make_consumer(self._settings, "benchmark-ends")
        try:
            places = [TopicPartition(topic, number) for number in range(partition_count(consumer, topic))]
            return sum(consumer.get_watermark_offsets(place, timeout=15)[1] for place in places)
        finally:
            consumer.close()


def directory_bytes(directory: Path) -> int:
    """Bytes of all files below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def state(settings: Settings) -> State:
    """What workers that have ended left, once their memory tables are written out."""
    leads = disk = lead_rows = others = 0
    for path in sorted((settings.data_dir / "state").rglob(f"{TABLE}-*.db")):
        _flush(path)
        disk += sum(file.stat().st_size for file in path.glob("*.sst"))
        found = read_disk(path.parent, int(path.stem.rpartition("-")[2]))
        assert found is not None
        rows = {key: len(value) for key, value in found.rows.items() if key.startswith(LEAD_PREFIX)}
        leads += len(rows)
        lead_rows += sum(rows.values())
        others += sum(len(value) for key, value in found.rows.items() if key.startswith(TIMER_PREFIX))
    return State(leads, disk, lead_rows, others)


def open_database(path: Path) -> Any:
    """RocksDB of one partition, as a worker opens it."""
    options = {key: value for key, value in rocksdb_options().items() if key != "driver"}
    return RocksDBOptions(**options).open(path)


def _flush(path: Path) -> None:
    database = open_database(path)
    try:
        database.flush()
    finally:
        database.close()
