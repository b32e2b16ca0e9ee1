"""Reading changelog records as they lie, with librdkafka and without a group."""

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from streams import Broken
from streams.kafka import CHECK_BROKERS, at_end, checked, headers_of, make_consumer
from streams.owners import UNSTAMPED, Entry, stamp_of
from streams.topology import CONTROL

if TYPE_CHECKING:
    from deploy.settings import Settings

assert CONTROL.table is not None
CHANGELOG = CONTROL.table.changelog
_ROWS_A_READ = 5_000
# A read waits so long even when the end was seen: the client returns early only for as many as it was asked for.
_READ_S = 0.03
_ROWS_A_PATIENT_READ = 500
_METADATA_S = 15.0
_SPAN_EMPTY_READS = 150
_FAST: Mapping[str, Any] = {
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 10,
    "queued.max.messages.kbytes": 16_384,
}
_PATIENT: Mapping[str, Any] = {
    "enable.partition.eof": True,
    "fetch.min.bytes": 64 << 10,
    "fetch.wait.max.ms": 200,
    "queued.max.messages.kbytes": 1_024,
}


class Reader:
    """Some partitions of the changelog, from given offsets on. `close` it.

    patient: for who follows beside other work: a little at a time, a fetch for much of it.
    """

    def __init__(self, settings: "Settings", patient: bool = False) -> None:
        self._rows_a_read = _ROWS_A_PATIENT_READ if patient else _ROWS_A_READ
        options = _PATIENT if patient else _FAST
        self._consumer: Consumer = make_consumer(settings, "mandate-control-restore", **options)
        self._headers: list[tuple[str, bytes | None]] = []
        self._stamp = UNSTAMPED

    def end(self, number: int) -> int:
        """Offset after the last record."""
        try:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(CHANGELOG, number), timeout=_METADATA_S)
        except KafkaException as error:
            raise Broken(f"{CHANGELOG} can't be read ({error.args[0].str()}).", CHECK_BROKERS) from error
        return int(high)

    def seen_end(self, number: int) -> int:
        """Offset after the last record as the last fetch told; 0 before the first."""
        known = self._consumer.get_watermark_offsets(TopicPartition(CHANGELOG, number), cached=True)
        return max(0, int(known[1])) if known else 0

    def begin(self, starts: Mapping[int, int]) -> None:
        """Says from where each partition is read."""
        self._consumer.assign([TopicPartition(CHANGELOG, n, start or OFFSET_BEGINNING) for n, start in starts.items()])

    def read(self) -> tuple[dict[int, list[Entry]], set[int]]:
        """What came, by partition, and the partitions whose end was seen."""
        found: dict[int, list[Entry]] = defaultdict(list)
        ended = set()
        for message in self._consumer.consume(self._rows_a_read, _READ_S):
            if message.error() is None:
                found[cast(int, message.partition())].append(self._entry(message))
            elif at_end(message):
                ended.add(cast(int, message.partition()))
            else:
                checked(message)
        return found, ended

    def _entry(self, message: Message) -> Entry:
        headers = headers_of(message)
        if headers != self._headers:  # rows of one landing bear the same stamp
            self._headers, self._stamp = headers, stamp_of(headers)
        return Entry(cast(int, message.offset()), message.key() or b"", message.value(), self._stamp)

    def close(self) -> None:
        self._consumer.close()


def read_span(reader: Reader, number: int, first: int, last: int) -> list[Entry]:
    """Records of a partition from one offset to another, both included; closes the reader."""
    found: list[Entry] = []
    try:
        reader.begin({number: first})
        for _ in range(_SPAN_EMPTY_READS):
            while entries := reader.read()[0].get(number):
                found += entries
                if found[-1].offset >= last:
                    return [entry for entry in found if entry.offset <= last]
        raise Broken(f"{CHANGELOG} [{number}] could not be read up to offset {last}.", CHECK_BROKERS)
    finally:
        reader.close()
