"""What the sinks count: after the commit of the store, so that it agrees with what the store holds."""

import math
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.records import CrmResult, DeadLetterCode, TimeUs
from streams import metrics

CRM, AUDIT = CollectorRegistry(), CollectorRegistry()
REPEATED = "REPEATED"
"""Result of an update that was dealt with before."""
_LAG = ("mandate_sink_lag_records", "Records not read yet, as far as known.", ["topic"])
_US = 1_000_000

CRM_UPDATES = Counter("mandate_crm_updates", "Updates dealt with.", ["result"], registry=CRM)
CRM_REFUSALS = Counter("mandate_crm_refusals", "Updates refused.", ["code"], registry=CRM)
CRM_COMMIT = Histogram(
    "mandate_crm_commit_seconds",
    "One transaction: judging a batch and writing it.",
    buckets=metrics.WORK_BUCKETS,
    registry=CRM,
)
CRM_WAITING = Gauge(
    "mandate_crm_waiting_updates", "Updates read that wait for the revocation feed, with those behind.", registry=CRM
)
CRM_FEED_AGE = Gauge(
    "mandate_crm_feed_age_seconds",
    "Age of the oldest partition's newest heartbeat; +Inf: nothing is known of one.",
    registry=CRM,
)
CRM_LAG = Gauge(*_LAG, registry=CRM)
CRM_DEAD_LETTERS = metrics.dead_letters(CRM)

AUDIT_RECORDS = Counter("mandate_audit_records", "Records landed.", ["topic"], registry=AUDIT)
AUDIT_UNDECODED = Counter(
    "mandate_audit_undecoded", "Records landed as bytes, with the reason.", ["topic"], registry=AUDIT
)
AUDIT_COMMIT = Histogram(
    "mandate_audit_commit_seconds", "One commit of a table.", ["topic"], buckets=metrics.WORK_BUCKETS, registry=AUDIT
)
AUDIT_PENDING = Gauge("mandate_audit_pending_records", "Records read and not committed.", registry=AUDIT)
AUDIT_LAG = Gauge(*_LAG, registry=AUDIT)


def crm_settled(stage: str, outcomes: Iterable[CrmResult | DeadLetterCode | None], seconds: float) -> None:
    """One transaction is committed. None among the outcomes: dealt with before."""
    CRM_COMMIT.observe(seconds)
    for outcome in outcomes:
        if isinstance(outcome, DeadLetterCode):
            CRM_DEAD_LETTERS.labels(stage, outcome).inc()
            continue
        CRM_UPDATES.labels(REPEATED if outcome is None else outcome.result).inc()
        if outcome is not None and outcome.code is not None:
            CRM_REFUSALS.labels(outcome.code).inc()


def crm_feed(known: Iterable[TimeUs | None], now: TimeUs) -> None:
    """How far each partition of the revocation feed is known."""
    ages = [math.inf if at is None else (now - at) / _US for at in known]
    CRM_FEED_AGE.set(max(0.0, *ages))


def audit_landed(topic: str, rows: Sequence[Mapping[str, object]], seconds: float) -> None:
    """One commit of a table is done."""
    AUDIT_COMMIT.labels(topic).observe(seconds)
    AUDIT_RECORDS.labels(topic).inc(len(rows))
    AUDIT_UNDECODED.labels(topic).inc(sum("_error" in row for row in rows))
