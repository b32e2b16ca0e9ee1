"""Whether the lake holds what the topics hold: offset by offset, counted from both after the fact."""

from typing import TYPE_CHECKING, TypedDict

import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Consumer, TopicPartition

from schemas.catalogue import TOPICS
from sinks.consume import Place, place_of, places_of, watermarks
from sinks.lake import AUDITED, load_table, open_catalog
from streams import Broken
from streams.kafka import CHECK_BROKERS, at_end, checked, make_consumer

if TYPE_CHECKING:
    from deploy.settings import Settings

_POLL_S = 0.2
_PATIENCE_POLLS = 150


class PartitionReport(TypedDict):
    """One partition: offsets the topic holds from `low` to before `high`, and the lake's rows of it."""

    low: int
    high: int
    landed: int
    missing: int
    doubled: int


class TopicReport(TypedDict):
    """One topic; undecodable: rows that hold raw bytes."""

    landed: int
    missing: int
    doubled: int
    undecodable: int
    partitions: dict[int, PartitionReport]


class Completeness(TypedDict):
    """The whole lake. complete: nothing missing, nothing doubled."""

    complete: bool
    records: int
    missing: int
    doubled: int
    topics: dict[str, TopicReport]


def completeness(settings: "Settings") -> Completeness:
    """Compares, per topic and partition, the offsets in the lake with those that the topic holds now.

    What a topic no longer holds (retention, compaction) is not missed. A topic that is deleted by age has every
    offset between its watermarks; a compacted one has holes and is read to know what it holds.
    """
    catalog = open_catalog(settings)
    consumer = make_consumer(settings, "mandate-completeness", **{"enable.partition.eof": True})
    try:
        reports: dict[str, TopicReport] = {}
        for topic in AUDITED:
            # Watermarks first: what comes meanwhile may be in the lake already, and is not missed when it is not.
            marks = {place: watermarks(consumer, place) for place in places_of(consumer, (topic,))}
            held = _held_offsets(consumer, marks) if "compact" in TOPICS[topic].cleanup else None
            table = load_table(catalog, topic)
            columns = ("_partition", "_offset", "_error")
            rows = table.scan(selected_fields=columns).to_arrow() if table else _no_rows()
            reports[topic] = _report(rows, marks, held)
    finally:
        consumer.close()
    totals = {name: sum(report[name] for report in reports.values()) for name in ("landed", "missing", "doubled")}
    return {
        "complete": totals["missing"] == 0 and totals["doubled"] == 0,
        "records": totals["landed"],
        "missing": totals["missing"],
        "doubled": totals["doubled"],
        "topics": reports,
    }


def _report(rows: pa.Table, marks: dict[Place, tuple[int, int]], held: dict[Place, list[int]] | None) -> TopicReport:
    partitions: dict[int, PartitionReport] = {}
    for place, (low, high) in marks.items():
        offsets = rows.filter(pc.equal(rows["_partition"], place.partition))["_offset"]
        distinct = pc.unique(offsets)
        if held is None:
            wanted = high - low
            found = pc.sum(pc.and_(pc.greater_equal(distinct, low), pc.less(distinct, high))).as_py() or 0
        else:
            wanted = len(held[place])
            found = pc.sum(pc.is_in(pa.array(held[place], pa.int64()), value_set=distinct)).as_py() or 0
        partitions[place.partition] = {
            "low": low,
            "high": high,
            "landed": len(offsets),
            "missing": wanted - found,
            "doubled": len(offsets) - len(distinct),
        }
    return {
        "landed": len(rows),
        "missing": sum(part["missing"] for part in partitions.values()),
        "doubled": sum(part["doubled"] for part in partitions.values()),
        "undecodable": len(rows) - rows["_error"].null_count,
        "partitions": partitions,
    }


def _held_offsets(consumer: Consumer, marks: dict[Place, tuple[int, int]]) -> dict[Place, list[int]]:
    """Offsets of the records that a compacted topic still holds, below its watermarks."""
    held: dict[Place, list[int]] = {place: [] for place in marks}
    behind = {place for place, (low, high) in marks.items() if low < high}
    consumer.assign([TopicPartition(*place, marks[place][0]) for place in behind])
    silent = 0
    while behind and silent < _PATIENCE_POLLS:
        messages = consumer.consume(5000, _POLL_S)
        silent = 0 if messages else silent + 1
        for message in messages:
            place, offset = place_of(message), message.offset() or 0
            if at_end(message):
                behind.discard(place)
            elif checked(message) is not None and offset < marks[place][1]:
                held[place].append(offset)
    consumer.unassign()
    if behind:
        raise Broken(f"{min(behind).topic} could not be read to its end.", CHECK_BROKERS)
    return held


def _no_rows() -> pa.Table:
    columns = {"_partition": pa.int32(), "_offset": pa.int64(), "_error": pa.string()}
    return pa.schema(columns.items()).empty_table()
