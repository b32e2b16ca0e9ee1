"""Records without a value at the end of a compacted partition, and how they come to be compacted away.

The broker never compacts the segment that it writes to. So the last thing written is the mark of an aborted
transaction, in a segment of its own: no reader is given it, and everything before it may be compacted.
"""

import time
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from deploy.settings import Settings

_ROUNDS = 5
_SEGMENT_S = 0.3
"""Longer than the segment's time and than two looks of the cleaner: each record begins a segment."""
_SILENT_POLLS = 50


def write_tail(settings: Settings, topic: str, number: int, count: int) -> None:
    """Some removals of keys that nobody knows; then aborted transactions, by which the cleaner comes again.

    A removal goes at the cleaner's second look, and it looks only where something was written since.
    """
    config: dict[str, Any] = {**settings.client_config(), "transactional.id": "tail", "log_level": 0}
    producer = Producer(config)
    producer.init_transactions(30)
    for round_ in range(_ROUNDS):
        producer.begin_transaction()
        for key in range(count):
            producer.produce(topic, None, f"nobody {key}", number)
        producer.flush(30)
        time.sleep(_SEGMENT_S)
        if round_ == 0:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
        time.sleep(_SEGMENT_S * 2)


def last_offset(settings: Settings, topic: str, number: int) -> int:
    """Offset of the last record that a reader is given; -1 for none."""
    return _read(settings, topic, number, OFFSET_BEGINNING)[0]


def has_no_tail(settings: Settings, topic: str, number: int, last: int) -> bool:
    """Whether a reader is given nothing behind an offset, though the partition goes on there."""
    found, end = _read(settings, topic, number, last + 1)
    return found < 0 and end > last + 2


def _read(settings: Settings, topic: str, number: int, start: int) -> tuple[int, int]:
    """Offset of the last record from an offset on, -1 for none; and the partition's end."""
    config = {"group.id": "tail", "enable.auto.commit": False, "enable.partition.eof": True, "log_level": 0}
    consumer = Consumer({**settings.client_config(), **config})
    place = TopicPartition(topic, number, start)
    try:
        _, end = consumer.get_watermark_offsets(place, timeout=10)
        consumer.assign([place])
        last, silent = -1, 0
        while silent < _SILENT_POLLS:
            messages = consumer.consume(1_000, 0.2)
            silent = 0 if messages else silent + 1
            for message in messages:
                error = message.error()
                if error is None:
                    last = message.offset() or 0
                elif error.code() == KafkaError._PARTITION_EOF:
                    return last, end
        raise RuntimeError(f"{topic} [{number}] can't be read to its end")
    finally:
        consumer.close()
