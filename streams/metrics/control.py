"""What a control worker counts.

A lane's `Meter` only notes what was judged; it is counted once a landing, when the broker has acknowledged it. So an
entry costs a few hundred nanoseconds, and the counts are those of the topics.
"""

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily

from processors.draft import Output
from processors.law import Law
from schemas.catalogue import TOPIC_OF
from schemas.records import (
    AgentRequest,
    DeadLetter,
    DeadLetterCode,
    Decision,
    EntryKind,
    JournalEntry,
    Revocation,
    RevocationScope,
    TimeUs,
)
from streams import metrics
from streams.clock import Clock

REGISTRY = CollectorRegistry()
STAGE = "control"
OTHER = "other"
"""Label of a role or an action that the policy in force does not name: an agent may write there what it likes."""
# Only agents' clocks tell when a request was made: one that is wrong must not carry the sum away.
_MAX_REQUEST_AGE_S = 3600.0
_US = 1_000_000

ENTRIES = Counter("mandate_entries", "Journal entries judged, rows written.", ["kind"], registry=REGISTRY)
OUTPUTS = Counter("mandate_outputs", "Records that the broker acknowledged.", ["topic"], registry=REGISTRY)
DECISIONS = Counter("mandate_decisions", "Decisions.", ["verdict", "role", "action"], registry=REGISTRY)
REASONS = Counter(
    "mandate_decision_reasons", "Decisions that name a reason code.", ["verdict", "code"], registry=REGISTRY
)
DECISION_AGE = Histogram(
    "mandate_decision_age_seconds",
    "From the journal time of the entry that caused a decision until the broker has the decision.",
    buckets=metrics.AGE_BUCKETS,
    registry=REGISTRY,
)
REQUEST_AGE = Histogram(
    "mandate_request_age_seconds",
    "From the agent's requested_at until the broker has the decision: the first one, or a later one after a defer.",
    ["answer"],
    buckets=(*metrics.AGE_BUCKETS, 30, 60, 300, 900),
    registry=REGISTRY,
)
GRANTS = Counter("mandate_grants_signed", "Grants that went out with a permit.", registry=REGISTRY)
REVOCATIONS = Counter("mandate_revocations", "Revocations without heartbeats.", ["scope", "code"], registry=REGISTRY)
DEAD_LETTERS = metrics.dead_letters(REGISTRY)
LANDING = Histogram(
    "mandate_landing_seconds",
    "Waiting for the outputs of a landing; then writing its rows, changelog and disk.",
    ["step"],
    buckets=metrics.WORK_BUCKETS,
    registry=REGISTRY,
)
ROWS_WRITTEN = Counter("mandate_rows_written", "Rows on changelog and disk.", registry=REGISTRY)
CHANGELOG_BYTES = Counter("mandate_changelog_bytes", "Keys and values of rows written.", registry=REGISTRY)
TICKS = Counter("mandate_ticks", "Ticks appended to the journal.", registry=REGISTRY)
REBALANCES = Counter("mandate_rebalances", "Assignments of partitions, the first one too.", registry=REGISTRY)
STALL = Histogram(
    "mandate_rebalance_stall_seconds",
    "From giving partitions up until those of the next assignment are judged.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 60),
    registry=REGISTRY,
)
RECOVERY_ROWS = Counter("mandate_recovery_rows", "Rows restored from the changelog.", registry=REGISTRY)
RECOVERY_REMAINING = Gauge(
    "mandate_recovery_remaining_records", "Changelog offsets still to read; rows are fewer.", registry=REGISTRY
)
RECOVERY_SECONDS = Gauge("mandate_recovery_seconds", "Length of the last recovery, or so far.", registry=REGISTRY)
STANDBY_ROWS = Counter("mandate_standby_rows", "Rows copied of partitions that others own.", registry=REGISTRY)
STANDBY_LAG = Gauge(
    "mandate_standby_lag_records",
    "Changelog offsets of a partition that another worker owns and that are not copied here yet.",
    ["partition"],
    registry=REGISTRY,
)
RECOVERY_DONE = Gauge("mandate_recovery_done", "1 once the state is restored.", registry=REGISTRY)


class Measured(Protocol):
    """What a meter asks a fold."""

    @property
    def applied_offset(self) -> int | None: ...
    @property
    def law(self) -> Law | None: ...
    @property
    def leads_at_hand(self) -> int: ...


class Record(Protocol):
    """What a meter asks a record of the journal."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp_ms(self) -> int | None: ...


class Noted:
    """What one landing is about. `oldest`: time of its first entry, None while there is none."""

    __slots__ = ("began", "judged", "kinds", "law", "oldest", "unread")

    def __init__(self) -> None:
        self.oldest: TimeUs | None = None
        self.kinds: list[EntryKind] = []
        self.judged: list[tuple[JournalEntry, list[Output]]] = []
        self.unread: list[DeadLetterCode] = []
        self.law: Law | None = None
        self.began = 0.0


class Meter:
    """Counts what passes through one lane. A scrape, in its thread, only reads attributes.

    What is judged, and the beginning of a landing, is counted in the thread that judges; what lands, on the loop.
    """

    def __init__(self, number: int, fold: Measured, clock: Clock) -> None:
        self.number = number
        self._fold = fold
        self._clock = clock
        applied = fold.applied_offset
        self._next = -1 if applied is None else applied + 1
        self._newest = self._next - 1
        self._open = Noted()
        self._landing = Noted()
        self.revision = 0
        self.leads = 0
        self._look()

    def arrived(self, records: Sequence[Record]) -> None:
        """Entries wait to be judged."""
        if records:
            self._next = records[0].offset if self._next < 0 else self._next
            self._newest = records[-1].offset

    def judged(self, record: Record, entry: JournalEntry, outputs: list[Output]) -> None:
        """An entry was folded."""
        noted = self._open
        if noted.oldest is None:
            noted.oldest = (record.timestamp_ms or 0) * 1000
        noted.kinds.append(entry.kind)
        if outputs:
            noted.judged.append((entry, outputs))

    def unread(self, record: Record, code: DeadLetterCode) -> None:
        """An entry became a dead letter."""
        if self._open.oldest is None:
            self._open.oldest = (record.timestamp_ms or 0) * 1000
        self._open.unread.append(code)

    def land(self) -> Noted:
        """A landing begins: what was judged so far."""
        noted, self._open = self._open, Noted()
        noted.began = time.perf_counter()
        noted.law = self._look()
        self._landing = noted
        return noted

    def acknowledged(self, noted: Noted) -> None:
        """The broker has every output of a landing."""
        began, noted.began = noted.began, time.perf_counter()
        _landing("outputs").observe(noted.began - began)
        now, law = self._clock.now(), noted.law
        for entry, outputs in noted.judged:
            for output in outputs:
                if type(output.value) is Decision:
                    _count_decision(output.value, entry, law, now)
        values = [output.value for _, outputs in noted.judged for output in outputs]
        for kind, count in Tally(map(type, values)).items():
            _output(TOPIC_OF[kind]).inc(count)
        fell = [(v.scope, v.code) for v in values if type(v) is Revocation and v.scope is not RevocationScope.HEARTBEAT]
        for (scope, why), count in Tally(fell).items():
            REVOCATIONS.labels(scope, why).inc(count)
        for code, count in Tally(noted.unread).items():
            _output(TOPIC_OF[DeadLetter]).inc(count)
            DEAD_LETTERS.labels(STAGE, code).inc(count)

    def applied(self, noted: Noted, last: int) -> None:
        """The rows of a landing are written; `last` is its last entry."""
        _landing("rows").observe(time.perf_counter() - noted.began)
        for kind, count in Tally(noted.kinds).items():
            _entries(kind).inc(count)
        if noted.unread:
            _entries(EntryKind.UNKNOWN).inc(len(noted.unread))
        self._next = last + 1
        self._landing = Noted()

    def lag(self, end: int | None) -> int:
        """Entries not applied. end: the journal's, None when it is not known."""
        return max(end or 0, self._newest + 1) - self._next if self._next >= 0 else 0

    def lag_s(self) -> float:
        """Age of the oldest entry that was taken and not applied; 0 when all are."""
        oldest = self._landing.oldest or self._open.oldest
        return 0.0 if oldest is None else max(0.0, (self._clock.now() - oldest) / _US)

    def _look(self) -> Law | None:
        law = self._fold.law
        self.revision = law.revision if law is not None else 0
        self.leads = self._fold.leads_at_hand
        return law


class _Lanes:
    """The gauges of the partitions owned, read when they are asked for."""

    def __init__(self) -> None:
        self.meters: Callable[[], Iterable[Meter]] = tuple
        self.end_of: Callable[[int], int | None] = lambda _: None

    def collect(self) -> Iterator[Metric]:
        lag = GaugeMetricFamily("mandate_journal_lag_records", "Entries not applied yet.", labels=["partition"])
        lag_s = GaugeMetricFamily(
            "mandate_journal_lag_seconds", "Age of the oldest entry taken and not applied.", labels=["partition"]
        )
        revision = GaugeMetricFamily(
            "mandate_policy_revision", "Revision of the policy in force; 0: none.", labels=["partition"]
        )
        leads = GaugeMetricFamily("mandate_leads_cached", "Leads kept decoded.", labels=["partition"])
        meters = list(self.meters())
        for meter in meters:
            place = (str(meter.number),)
            lag.add_metric(place, meter.lag(self.end_of(meter.number)))
            lag_s.add_metric(place, meter.lag_s())
            revision.add_metric(place, meter.revision)
            leads.add_metric(place, meter.leads)
        yield GaugeMetricFamily("mandate_partitions_owned", "Partitions that are judged here.", value=len(meters))
        yield from (lag, lag_s, revision, leads)


_LANES = _Lanes()
REGISTRY.register(_LANES)


def watch(meters: Callable[[], Iterable[Meter]], end_of: Callable[[int], int | None]) -> None:
    """Shows the lanes of a worker. end_of: offset after the newest entry of a partition, as far as known.

    Both are called from the thread of a scrape.
    """
    _LANES.meters, _LANES.end_of = meters, end_of


def _count_decision(decision: Decision, entry: JournalEntry, law: Law | None, now: TimeUs) -> None:
    bundle = law.bundle if law is not None else None
    role = decision.role if bundle is not None and decision.role in bundle.roles else OTHER
    action = decision.action if bundle is not None and decision.action in bundle.actions else OTHER
    _decisions(decision.verdict, role, action).inc()
    for code in {reason.code for criterion in decision.criteria for reason in criterion.reasons}:
        _reasons(decision.verdict, code).inc()
    if decision.grant is not None:
        GRANTS.inc()
    DECISION_AGE.observe(max(0.0, (now - entry.at) / _US))
    asked = type(entry.body) is AgentRequest and entry.body.request_id == decision.request_id
    age_s = (now - decision.requested_at) / _US
    _request_age("first" if asked else "later").observe(min(max(0.0, age_s), _MAX_REQUEST_AGE_S))


# Children are kept: finding one by its labels costs more than counting. Their number is bounded by the labels.
@cache
def _entries(kind: EntryKind) -> Counter:
    return ENTRIES.labels(kind)


@cache
def _output(topic: str) -> Counter:
    return OUTPUTS.labels(topic)


@lru_cache(maxsize=4096)
def _decisions(verdict: str, role: str, action: str) -> Counter:
    return DECISIONS.labels(verdict, role, action)


@cache
def _reasons(verdict: str, code: str) -> Counter:
    return REASONS.labels(verdict, code)


@cache
def _request_age(answer: str) -> Histogram:
    return REQUEST_AGE.labels(answer)


@cache
def _landing(step: str) -> Histogram:
    return LANDING.labels(step)
