"""Whether this machine's clock agrees with the broker's.

The broker tells its time only in the timestamp it gives to a record of a topic with `LogAppendTime`: one record is
appended there, and its delivery report carries that time.
"""

import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Message

from streams import Broken
from streams.kafka import CHECK_BROKERS, make_producer

if TYPE_CHECKING:
    from deploy.settings import Settings

TOPIC = "clock.broker"
MAX_SKEW_S = 1.0
_TIMEOUT_S = 15.0


def check_clock(settings: "Settings") -> None:
    """Raises Broken when the clocks differ by more than a second, or when that can't be found out."""
    before, told, after = _ask(settings)
    skew = max(before - told, told - after, 0.0)
    if skew > MAX_SKEW_S:
        direction = "behind" if told > after else "ahead of"
        raise Broken(
            f"This machine's clock is {skew:.1f} s {direction} the broker's; at most {MAX_SKEW_S:.0f} s is allowed.",
            "Check time synchronisation (NTP) on both.",
        )


def _ask(settings: "Settings") -> tuple[float, float, float]:
    """Our clock before, the broker's in between, ours after; seconds since 1970."""
    # An idempotent one may wait half a second for its id, and nothing is harmed by a time that is told twice.
    producer = make_producer(settings, **{"enable.idempotence": False})
    reports: list[tuple[float, KafkaError | None, int]] = []

    def report(error: KafkaError | None, message: Message) -> None:
        reports.append((time.time(), error, message.timestamp()[1]))

    try:
        # Connected and informed, so that the interval is short.
        known = producer.list_topics(TOPIC, timeout=_TIMEOUT_S).topics[TOPIC].error is None
    except KafkaException as error:
        raise Broken(f"The Kafka cluster does not answer ({error.args[0].str()}).", CHECK_BROKERS) from error
    if not known:
        raise Broken(f"There is no topic {TOPIC}.", "Run `mandate up` or `mandate topics --create`.")
    before = time.time()
    producer.produce(TOPIC, b"", on_delivery=report)
    producer.flush(_TIMEOUT_S)
    if not reports or reports[0][1] is not None:
        why = reports[0][1].str() if reports and reports[0][1] else "no answer"
        raise Broken(f"The broker's time can't be read from {TOPIC} ({why}).", CHECK_BROKERS)
    after, _, told_ms = reports[0]
    return before, told_ms / 1000, after
