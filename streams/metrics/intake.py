"""What an intake counts. Noted a record, counted a commit; what is sent counts when it is handed to the producer."""

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.catalogue import TOPIC_OF
from schemas.headers import DEAD_LETTER_PREFIX, Headers
from schemas.records import DeadLetter, JournalEntry, TimeUs
from streams import metrics

REGISTRY = CollectorRegistry()
STAGE = "intake"
ADMITTED, REFUSED = "admitted", "refused"
_CODE = f"{DEAD_LETTER_PREFIX}exception.class.name"
_OUTCOMES = {TOPIC_OF[JournalEntry]: ADMITTED, TOPIC_OF[DeadLetter]: REFUSED}
_US = 1_000_000

RECORDS = Counter("mandate_intake_records", "Records consumed.", ["topic"], registry=REGISTRY)
OUTCOMES = Counter(
    "mandate_intake_outcomes",
    "Records that went to the journal, or became dead letters.",
    ["outcome"],
    registry=REGISTRY,
)
SENT = Counter("mandate_intake_sent", "Records handed to the producer.", ["topic"], registry=REGISTRY)
WAITING = Gauge("mandate_intake_waiting", "Records that wait for their lead.", registry=REGISTRY)
ADMISSION = Histogram(
    "mandate_intake_admission_seconds",
    "From the timestamp of an input record until what follows from it is handed to the producer.",
    buckets=metrics.AGE_BUCKETS,
    registry=REGISTRY,
)
LAG = Gauge("mandate_intake_lag_records", "Records not consumed yet, as far as known.", ["topic"], registry=REGISTRY)
BEHIND = Gauge(
    "mandate_intake_control_behind_seconds",
    "How far control is behind in a partition of the journal, by its newest heartbeat; requests bear it.",
    ["partition"],
    registry=REGISTRY,
)
DEAD_LETTERS = metrics.dead_letters(REGISTRY)


def show_behind(each: Mapping[int, int]) -> None:
    """Shows the measure of each partition, given in microseconds."""
    for partition, behind_us in each.items():
        BEHIND.labels(partition).set(behind_us / _US)


class Sent(Protocol):
    """What is asked of a record that goes out."""

    @property
    def topic(self) -> str: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def receipt(self) -> object: ...


class Meter:
    """Counts what passes through one intake. One thread."""

    def __init__(self) -> None:
        self._topics: list[str] = []
        self._sent: list[str] = []
        self._outcomes: list[str] = []

    def took(self, topic: str) -> None:
        """A record was consumed and judged, or waits."""
        self._topics.append(topic)

    def sending(self, records: Iterable[Sent], stamped_ms: int | None, now: TimeUs) -> None:
        """What follows from one record, or, with stamped_ms None, from several that waited."""
        met: set[tuple[int, str]] = set()
        for record in records:
            topic = record.topic
            self._sent.append(topic)
            outcome = _OUTCOMES.get(topic)
            # A record may give several entries: its receipt tells it apart.
            if outcome is not None and (mark := (id(record.receipt), outcome)) not in met:
                met.add(mark)
                self._outcomes.append(outcome)
                if outcome is REFUSED:
                    DEAD_LETTERS.labels(STAGE, dict(record.headers)[_CODE].decode()).inc()
        if met and stamped_ms is not None:
            ADMISSION.observe(max(0.0, now / _US - stamped_ms / 1000))

    def count(self, waiting: int) -> None:
        """Shows what was noted since the last call, and how many records wait."""
        WAITING.set(waiting)
        for noted, counter in ((self._topics, RECORDS), (self._sent, SENT), (self._outcomes, OUTCOMES)):
            for label, count in Tally(noted).items():
                counter.labels(label).inc(count)
            noted.clear()
