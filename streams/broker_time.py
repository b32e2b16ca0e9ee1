"""Whether this machine's clock agrees with the broker's.

The broker tells its time only in the timestamp it gives to a record of a topic with `LogAppendTime`: one record is
appended there, and its delivery report carries that time.
"""

import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient, NewTopic

from streams import Broken
from streams.kafka import CHECK_BROKERS, CLIENT_DEFAULTS, make_producer

if TYPE_CHECKING:
    from deploy.settings import Settings

TOPIC = "clock.broker"
MAX_SKEW_S = 1.0
_TIMEOUT_S = 15.0
_MINUTE_MS = "60000"
_CONFIG = {"message.timestamp.type": "LogAppendTime", "retention.ms": _MINUTE_MS, "cleanup.policy": "delete"}


def check_clock(settings: "Settings") -> None:
    """Raises Broken when the clocks differ by more than a second, or when that can't be found out."""
    _ensure_topic(settings)
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
    producer = make_producer(settings)
    reports: list[tuple[float, KafkaError | None, int]] = []

    def report(error: KafkaError | None, message: Message) -> None:
        reports.append((time.time(), error, message.timestamp()[1]))

    producer.list_topics(TOPIC, timeout=_TIMEOUT_S)  # connected and informed, so that the interval is short
    before = time.time()
    producer.produce(TOPIC, b"", on_delivery=report)
    producer.flush(_TIMEOUT_S)
    if not reports or reports[0][1] is not None:
        why = reports[0][1].str() if reports and reports[0][1] else "no answer"
        raise Broken(f"The broker's time can't be read from {TOPIC} ({why}).", CHECK_BROKERS)
    after, _, told_ms = reports[0]
    return before, told_ms / 1000, after


def _ensure_topic(settings: "Settings") -> None:
    admin = AdminClient({**settings.client_config(), **CLIENT_DEFAULTS})
    topic = NewTopic(TOPIC, 1, settings.replication_factor, config=_CONFIG)
    try:
        existing = admin.list_topics(timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        raise Broken(f"The Kafka cluster does not answer ({error.args[0].str()}).", CHECK_BROKERS) from error
    if TOPIC in existing:
        return
    try:
        admin.create_topics([topic], operation_timeout=_TIMEOUT_S)[TOPIC].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise Broken(
                f"The topic {TOPIC} (message.timestamp.type=LogAppendTime) can't be made ({error.args[0].str()}).",
                "Create it with one partition, or check MANDATE_KAFKA_BOOTSTRAP and the brokers.",
            ) from error
