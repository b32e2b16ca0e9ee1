"""The topic catalogue: every topic, its key, schema, size, retention, who writes it and who reads it.

Topic creation, registration and the docs come from this one list. Names are permanent: changelogs, consumer
offsets and audit tables hang on them.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from schemas import records
from schemas.records import Record

DAY_MS = 86_400_000
FOREVER = -1
# 47 CFR 64.1200(d)(6) and 16 CFR 310.5 (TSR) keep do-not-call and call records five years.
FIVE_YEARS_MS = 5 * 365 * DAY_MS
# A dead letter holds its original, which may be as large as its topic takes, twice its headers, and the reason.
DEAD_LETTER_BYTES = 4 * 1024 * 1024


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One topic.

    cleanup: "compact" keeps the latest record of each key for ever, "compact,delete" until it is older than retention_ms.
    partitions: a number, or "P" for the deployment's partition count; all "P" topics are co-partitioned: the same
        lead has the same partition number in each (murmur2 of the key, as Java clients do).
    value: record of the value; None for raw bytes.
    uncompacted_ms: how long a compacted topic keeps every record; what came after it is then still seen beside it.
    max_bytes: largest record that the broker takes; None: the broker's own limit.
    compatibility: level that the registry enforces for the subject `<name>-value`.
    timestamps: whose clock stamps records: the producer's, or the broker's.
    internal: belongs to Mandate's processes alone.
    """

    name: str
    doc: str
    key: str
    value: type[Record] | None
    partitions: int | Literal["P"] = "P"
    cleanup: Literal["delete", "compact", "compact,delete"] = "delete"
    retention_ms: int = 7 * DAY_MS
    uncompacted_ms: int | None = None
    max_bytes: int | None = None
    compatibility: Literal["BACKWARD", "FULL_TRANSITIVE"] = "FULL_TRANSITIVE"
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    timestamps: Literal["CreateTime", "LogAppendTime"] = "CreateTime"
    internal: bool = False

    @property
    def value_schema(self) -> str | None:
        """Name of the record of the value."""
        return self.value.__name__ if self.value else None

    @property
    def config(self) -> dict[str, str]:
        """Topic settings for the broker."""
        settings: dict[str, str] = {"cleanup.policy": self.cleanup, "message.timestamp.type": self.timestamps}
        if "delete" in self.cleanup:
            settings["retention.ms"] = str(self.retention_ms)
        if self.uncompacted_ms is not None:
            settings["min.compaction.lag.ms"] = str(self.uncompacted_ms)
        if self.max_bytes is not None:
            settings["max.message.bytes"] = str(self.max_bytes)
        return settings


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A Kafka consumer group that Mandate's clients name.

    members: who joins it and commits offsets. users: who only bears its name, because a client wants one; they read
        given partitions, join nothing and commit nothing. No client of Mandate has a transactional id.
    prefix: the name is the beginning of names that the members choose.
    """

    name: str
    members: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    prefix: bool = False


PLATFORM, AGENT, HUMAN, OPERATOR, AUDITOR = "platform", "agent", "human", "operator", "auditor"
INTAKE, CONTROL, CRM_SINK, AUDIT_SINK, DATA = "intake", "control", "crm-sink", "audit-sink", "data-team"

_ALL: tuple[Topic, ...] = (
    # --- inputs
    Topic(name="perception.raw", doc="Provider webhooks, untouched. May hold personal data and capability URLs: restricted.",
          key="provider:call-id", value=records.ProviderWebhook, retention_ms=3 * DAY_MS, writers=(PLATFORM, OPERATOR), readers=(INTAKE,)),
    Topic(name="telephony.events", doc="Canonical call events.", key="lead_id, or provider:call-id",
          value=records.CallEvent, writers=(PLATFORM, OPERATOR), readers=(INTAKE,)),
    Topic(name="transcription.events", doc="Transcript segments.", key="lead_id, or provider:call-id",
          value=records.TranscriptSegment, writers=(PLATFORM, OPERATOR), readers=(INTAKE,)),
    Topic(name="messaging.events", doc="Written messages.", key="lead_id",
          value=records.MessageEvent, writers=(PLATFORM, OPERATOR), readers=(INTAKE,)),
    Topic(name="signal.events", doc="Claims about the buyer, with evidence.", key="lead_id",
          value=records.Signal, writers=(PLATFORM, AGENT, OPERATOR), readers=(INTAKE,)),
    Topic(name="crm.events", doc="What the CRM knows about leads.", key="lead_id",
          value=records.CrmEvent, writers=(PLATFORM, OPERATOR), readers=(INTAKE,)),
    Topic(name="agent.requests", doc="Actions that agents propose.", key="lead_id",
          value=records.AgentRequest, writers=(AGENT, OPERATOR), readers=(INTAKE,)),
    Topic(name="agent.outcomes", doc="What became of permitted actions.", key="lead_id",
          value=records.AgentOutcome, writers=(AGENT, OPERATOR), readers=(INTAKE,)),
    Topic(name="human.interventions", doc="People's acts on leads.", key="lead_id",
          value=records.HumanIntervention, writers=(HUMAN, OPERATOR), readers=(INTAKE,)),
    Topic(name="policy.activations", doc="Policy bundles coming into force.", key="activation_id", partitions=1,
          value=records.PolicyActivation, retention_ms=FIVE_YEARS_MS, writers=(OPERATOR,), readers=(INTAKE, CRM_SINK, OPERATOR, AUDITOR)),
    # --- the single source of truth
    Topic(name="execution.journal", doc="The single source of truth: per lead one total order and one clock.", key="lead_id",
          value=records.JournalEntry, retention_ms=FIVE_YEARS_MS, writers=(INTAKE, CONTROL), readers=(CONTROL, AUDIT_SINK, DATA, AUDITOR)),
    Topic(name="call.directory", doc="Which lead a provider's call belongs to.", key="provider:call-id", cleanup="compact,delete",
          value=records.CallDirectoryEntry, writers=(INTAKE,), readers=(INTAKE,), internal=True),
    # --- outputs
    Topic(name="permission.decisions", doc="Verdicts, with everything they rest on.", key="lead_id",
          value=records.Decision, retention_ms=FIVE_YEARS_MS, writers=(CONTROL,), readers=(AGENT, AUDIT_SINK, DATA, AUDITOR)),
    Topic(name="permission.revocations", doc="Grants that fell, and the feed's heartbeat.", key="scope:subject", cleanup="compact,delete",
          value=records.Revocation, writers=(CONTROL,), readers=(AGENT, INTAKE, CRM_SINK, AUDIT_SINK, AUDITOR)),
    Topic(name="agent.directives", doc="Orders to agents that asked nothing.", key="lead_id",
          value=records.Directive, writers=(CONTROL,), readers=(AGENT, PLATFORM, AUDIT_SINK, DATA, AUDITOR)),
    Topic(name="execution.transitions", doc="Every change of every fact.", key="lead_id",
          value=records.Transition, retention_ms=FIVE_YEARS_MS, writers=(CONTROL,), readers=(AUDIT_SINK, DATA, AUDITOR)),
    Topic(name="execution.state", doc="The public view of each lead.", key="lead_id", cleanup="compact",
          value=records.ExecutionState, writers=(CONTROL,), readers=(AGENT, DATA, AUDITOR)),
    Topic(name="escalation.cases", doc="Cases for people.", key="lead_id",
          value=records.EscalationCase, retention_ms=FIVE_YEARS_MS, writers=(CONTROL,), readers=(HUMAN, AUDIT_SINK, DATA, AUDITOR)),
    Topic(name="crm.updates", doc="CRM writes under a grant.", key="lead_id",
          value=records.CrmUpdate, writers=(CONTROL,), readers=(CRM_SINK, AUDITOR)),
    Topic(name="crm.results", doc="What the CRM sink did.", key="lead_id",
          value=records.CrmResult, retention_ms=FIVE_YEARS_MS, writers=(CRM_SINK,), readers=(AGENT, AUDIT_SINK, DATA, AUDITOR)),
    Topic(name="audit.checkpoints", doc="Commits of the audit sink.", key="table", partitions=1,
          value=records.AuditCheckpoint, retention_ms=FIVE_YEARS_MS, writers=(AUDIT_SINK,), readers=(DATA, AUDITOR)),
    Topic(name="dead.letters", doc="Records that could not be taken, whole.", key="as the original", partitions=1,
          value=records.DeadLetter, retention_ms=30 * DAY_MS, max_bytes=DEAD_LETTER_BYTES, writers=(INTAKE, CONTROL, CRM_SINK), readers=(OPERATOR, AUDIT_SINK, DATA, AUDITOR)),
    # --- internal
    Topic(name="clock.driven", doc="Readings of a driven clock; empty in production.", key="none", partitions=1,
          value=records.ClockReading, retention_ms=DAY_MS, writers=(PLATFORM,), readers=(INTAKE, CONTROL), internal=True),
    Topic(name="clock.broker", doc="Where a process that starts reads the broker's time.", key="none", partitions=1,
          value=None, retention_ms=60_000, timestamps="LogAppendTime", writers=(INTAKE, CONTROL), readers=(INTAKE, CONTROL), internal=True),
    Topic(name="mandate-control-execution-changelog", doc="Changelog of control's RocksDB table.", key="row key", cleanup="compact",
          value=None, uncompacted_ms=600_000, timestamps="LogAppendTime", writers=(CONTROL,), readers=(CONTROL,), internal=True),
)  # fmt: skip

TOPICS: Mapping[str, Topic] = {topic.name: topic for topic in _ALL}
"""Every topic by name."""

TOPIC_OF: Mapping[type[Record], str] = {topic.value: topic.name for topic in _ALL if topic.value}
"""The topic of each record."""

EVENT_INPUTS = tuple(t.name for t in _ALL if INTAKE in t.readers and CONTROL not in t.writers and not t.internal)
"""Topics that intake turns into the journal."""

_OURS = (INTAKE, CONTROL, CRM_SINK, AUDIT_SINK)

GROUPS: tuple[Group, ...] = (
    Group(name="mandate-intake", members=(INTAKE,)),
    Group(name="mandate-control", members=(CONTROL,)),
    Group(name="mandate-control-restore", users=(CONTROL,)),
    Group(name="mandate-control-journal", users=(CONTROL,)),
    Group(name="mandate-crm-sink", users=(CRM_SINK,)),
    Group(name="mandate-audit-sink", users=(AUDIT_SINK,)),
    # Whole topics from their beginning: the directory of calls, a driven clock, and the commands that look.
    Group(name="mandate-follow", users=(*_OURS, OPERATOR, AUDITOR)),
    Group(name="mandate-explain", users=(AUDITOR,)),
    Group(name="mandate-completeness", users=(AUDITOR,)),
    Group(name="mandate-agent", users=(AGENT,)),
    # Programs of others, whose groups are their own.
    Group(name="platform-", members=(PLATFORM,), prefix=True),
    Group(name="human-", members=(HUMAN,), prefix=True),
    Group(name="data-team-", members=(DATA,), prefix=True),
)
"""Every consumer group; names are permanent, offsets hang on them."""
