"""`mandate tail`: records of topics as JSON lines, decoded."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TextIO

from deploy.settings import Settings
from schemas.catalogue import TOPICS
from schemas.codec import Codec, CodecError
from schemas.jsonio import bytes_to_json, iso, to_json
from schemas.records import RevocationScope
from streams.kafka import Consumed, consumed, follow
from streams.registry import connect
from streams.topology import OUTPUTS

UNKNOWN_TOPIC = 2

Line = dict[str, object]


def run(
    settings: Settings,
    *,
    topics: Sequence[str] = (),
    lead: str | None = None,
    from_start: bool = False,
    limit: int | None = None,
    until_idle: float | None = None,
    out: TextIO | None = None,
) -> int:
    """Print one JSON line a record: topic, partition, offset, at, key, value.

    topics: none given means every output, without the heartbeats of permission.revocations. lead: only records with
    this `lead_id`. limit: stop after so many records.
    until_idle: stop after so many seconds without a record, once everything that was there is read: 0 is
    the only end of a journal that ticks. None: never.
    A value that can't be read prints as {"error": ..., "bytes": ...} and the tail goes on.
    """
    unknown = [topic for topic in topics if topic not in TOPICS]
    if unknown:
        print(f"mandate: there is no topic {unknown[0]}; `mandate topics` lists them.", file=sys.stderr)
        return UNKNOWN_TOPIC
    shown = _lines(settings, topics, from_start, _Idle(until_idle))
    wanted = (line for line in shown if lead is None or _is_about(line, lead))
    for line in islice(wanted, limit):
        print(json.dumps(line, ensure_ascii=False), file=out or sys.stdout, flush=True)
    return 0


def _lines(settings: Settings, topics: Sequence[str], from_start: bool, idle: _Idle) -> Iterator[Line]:
    codec = connect(settings)
    chosen = topics or OUTPUTS
    for message in follow(settings, chosen, from_start=from_start, stop=idle.is_over, ready=idle.start):
        idle.start_again()
        line = line_of(codec, consumed(message))
        if topics or not _is_heartbeat(line):
            yield line


def line_of(codec: Codec, record: Consumed) -> Line:
    """A consumed record as the values of its line."""
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "at": None if record.timestamp_ms is None else iso(record.timestamp_ms * 1000),
        "key": None if record.key is None else bytes_to_json(record.key),
        "value": _value_of(codec, record),
    }


def _value_of(codec: Codec, record: Consumed) -> object:
    if record.value is None:
        return None
    expected = TOPICS[record.topic].value
    if expected is None:
        return bytes_to_json(record.value)
    try:
        return to_json(codec.decode(expected, record.value))
    except CodecError as error:
        return {"error": str(error), "bytes": bytes_to_json(record.value)}


def _is_about(line: Line, lead: str) -> bool:
    value = line["value"]
    return line["key"] == lead or (isinstance(value, dict) and value.get("lead_id") == lead)


def _is_heartbeat(line: Line) -> bool:
    value = line["value"]
    return isinstance(value, dict) and value.get("scope") == RevocationScope.HEARTBEAT


class _Idle:
    """Whether nothing has come for a while since everything that was there was read."""

    def __init__(self, after_s: float | None) -> None:
        self._after_s = after_s
        self._since: float | None = None

    def start(self) -> None:
        self._since = time.monotonic()

    def start_again(self) -> None:
        if self._since is not None:
            self._since = time.monotonic()

    def is_over(self) -> bool:
        if self._after_s is None or self._since is None:
            return False
        return time.monotonic() - self._since >= self._after_s
