"""Typed records of the contract. Written by `python -m schemas.generate` from `avro/*.avsc`: do not edit.

Times are integer microseconds since 1970 (`TimeUs`, in Avro `timestamp-micros`); None is Avro null.
"""

from enum import StrEnum
from typing import NewType

import msgspec

LeadId = NewType("LeadId", str)
ConversationId = NewType("ConversationId", str)
RequestId = NewType("RequestId", str)
DecisionId = NewType("DecisionId", str)
GrantId = NewType("GrantId", str)
AgentId = NewType("AgentId", str)
TimeUs = int


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What every record of the contract is: an immutable value."""



class ActiveGrant(Record, frozen=True, kw_only=True, gc=False):
    """A grant in force, as the public view shows it."""

    grant_id: GrantId
    agent_id: AgentId
    role: str
    action: str
    expires_at: TimeUs


class OutcomeResult(StrEnum):
    """What became of the effect that a grant allowed."""

    UNKNOWN = "UNKNOWN"
    DONE = "DONE"
    FAILED = "FAILED"
    ABANDONED = "ABANDONED"
    CANCELLED = "CANCELLED"
    DECLINED = "DECLINED"


class AgentSignature(Record, frozen=True, kw_only=True, gc=False):
    """An agent's signature over one of its records, all fields but this one (`schemas.signing`)."""

    kid: str
    signature: bytes


class AgentOutcome(Record, frozen=True, kw_only=True, gc=False):
    """What became of a permitted action (topic agent.outcomes)."""

    outcome_id: str
    lead_id: LeadId
    conversation_id: ConversationId | None = None
    agent_id: AgentId
    request_id: RequestId
    grant_id: GrantId
    result: OutcomeResult
    fulfilled: tuple[str, ...] = ()
    detail: str | None = None
    occurred_at: TimeUs
    signature: AgentSignature | None = None


class Channel(StrEnum):
    """The channel a conversation, request or consent is about."""

    UNKNOWN = "UNKNOWN"
    VOICE = "VOICE"
    SMS = "SMS"
    EMAIL = "EMAIL"
    CHAT = "CHAT"
    BACKEND = "BACKEND"


class AgentRequest(Record, frozen=True, kw_only=True, gc=False):
    """An agent proposes one action (topic agent.requests)."""

    request_id: RequestId
    lead_id: LeadId
    conversation_id: ConversationId | None = None
    agent_id: AgentId
    role: str
    action: str
    channel: Channel
    parameters: dict[str, bool | int | str] = msgspec.field(default_factory=dict)
    crm_fields: dict[str, str] = msgspec.field(default_factory=dict)
    tool: str | None = None
    requested_at: TimeUs
    deadline: TimeUs | None = None
    text: str | None = None
    prompt_scope: str | None = None
    max_tokens: int | None = None
    signature: AgentSignature | None = None


class AnsweredBy(StrEnum):
    """Who or what answered, as far as the provider could tell."""

    UNKNOWN = "UNKNOWN"
    HUMAN = "HUMAN"
    MACHINE = "MACHINE"
    FAX = "FAX"


class Attempt(Record, frozen=True, kw_only=True, gc=False):
    """One attempt to reach the lead."""

    conversation_id: ConversationId
    channel: Channel
    at: TimeUs
    outcome: str


class AuditCheckpoint(Record, frozen=True, kw_only=True, gc=False):
    """One commit of the audit sink (topic audit.checkpoints)."""

    checkpoint_id: str
    table: str
    snapshot_id: int
    topic: str
    partition: int
    first_offset: int
    next_offset: int
    records: int
    at: TimeUs


class CallDirectoryEntry(Record, frozen=True, kw_only=True, gc=False):
    """Which lead a provider's call belongs to (topic call.directory, compacted)."""

    provider: str
    call_id: str
    lead_id: LeadId
    conversation_id: ConversationId
    seen_at: TimeUs


class CallEndCause(StrEnum):
    """Why a call ended."""

    UNKNOWN = "UNKNOWN"
    COMPLETED = "COMPLETED"
    BUSY = "BUSY"
    NO_ANSWER = "NO_ANSWER"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    VOICEMAIL = "VOICEMAIL"


class CallEventType(StrEnum):
    """What happened on a call, in the vocabulary that all providers are mapped to."""

    UNKNOWN = "UNKNOWN"
    CALL_INITIATED = "CALL_INITIATED"
    CALL_RINGING = "CALL_RINGING"
    CALL_ANSWERED = "CALL_ANSWERED"
    MACHINE_DETECTED = "MACHINE_DETECTED"
    SPEECH_STARTED = "SPEECH_STARTED"
    SPEECH_STOPPED = "SPEECH_STOPPED"
    BARGE_IN = "BARGE_IN"
    SILENCE = "SILENCE"
    DTMF = "DTMF"
    HOLD = "HOLD"
    UNHOLD = "UNHOLD"
    TRANSFER_STARTED = "TRANSFER_STARTED"
    TRANSFER_COMPLETED = "TRANSFER_COMPLETED"
    TRANSFER_FAILED = "TRANSFER_FAILED"
    CALL_TIMEOUT = "CALL_TIMEOUT"
    CALL_DROPPED = "CALL_DROPPED"
    CALL_ENDED = "CALL_ENDED"
    AGENT_DISENGAGED = "AGENT_DISENGAGED"
    BUYER_DISENGAGED = "BUYER_DISENGAGED"


class Speaker(StrEnum):
    """Who is speaking or spoke."""

    UNKNOWN = "UNKNOWN"
    LEAD = "LEAD"
    AGENT = "AGENT"
    HUMAN = "HUMAN"


class ConfidenceKind(StrEnum):
    """What a confidence figure measures; figures of different kinds are never compared."""

    NONE = "NONE"
    ASR = "ASR"
    STABILITY = "STABILITY"
    END_OF_TURN = "END_OF_TURN"
    VAD = "VAD"
    AMD = "AMD"
    DETECTOR = "DETECTOR"


class CallEvent(Record, frozen=True, kw_only=True, gc=False):
    """Something that happened on a call (topic telephony.events)."""

    event_id: str
    lead_id: LeadId | None = None
    conversation_id: ConversationId | None = None
    provider: str
    provider_event_id: str | None = None
    provider_type: str = ""
    call_id: str
    leg_id: str | None = None
    type: CallEventType
    speaker: Speaker = Speaker.UNKNOWN
    answered_by: AnsweredBy | None = None
    cause: CallEndCause | None = None
    agent_id: AgentId | None = None
    digits: str | None = None
    duration_ms: int | None = None
    sequence: int | None = None
    sequence_scope: str | None = None
    confidence: float | None = None
    confidence_kind: ConfidenceKind = ConfidenceKind.NONE
    detail: str | None = None
    occurred_at: TimeUs | None = None
    received_at: TimeUs


class CaseStatus(StrEnum):
    """Life of an escalation case."""

    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"
    EXPIRED = "EXPIRED"


class ClockReading(Record, frozen=True, kw_only=True, gc=False):
    """A reading of a driven clock, for replays, tests and the demo (topic clock.driven)."""

    at: TimeUs


class ConsentType(StrEnum):
    """How strong a consent is: prior express, or prior express written (47 CFR 64.1200(f)(9))."""

    NONE = "NONE"
    EXPRESS = "EXPRESS"
    EXPRESS_WRITTEN = "EXPRESS_WRITTEN"


class Consent(Record, frozen=True, kw_only=True, gc=False):
    """A consent as the CRM holds it."""

    channel: Channel
    purpose: str = "sales"
    type: ConsentType
    proof: str | None = None
    given_at: TimeUs | None = None


class Conversation(Record, frozen=True, kw_only=True, gc=False):
    """One contact with a lead on one channel: its timing. Phase, speaker and the rest are facts."""

    conversation_id: ConversationId
    channel: Channel
    provider: str
    agent_id: AgentId | None = None
    started_at: TimeUs
    answered_at: TimeUs | None = None
    ended_at: TimeUs | None = None
    last_activity_at: TimeUs
    barge_ins: int
    sequences: dict[str, int] = msgspec.field(default_factory=dict)
    legs: tuple[str, ...] = ()
    turn: int = 0


class CriterionName(StrEnum):
    """The three criteria that are judged at once."""

    STATE = "STATE"
    ROLE = "ROLE"
    GOVERNANCE = "GOVERNANCE"


class Verdict(StrEnum):
    """The answer to a request. Readers treat an unknown symbol as BLOCK."""

    BLOCK = "BLOCK"
    DEFER = "DEFER"
    PERMIT = "PERMIT"


class ReasonCode(StrEnum):
    """Why a criterion did not hold, or why a grant fell. The list is in docs/reason-codes.md."""

    UNKNOWN = "UNKNOWN"
    NO_POLICY = "NO_POLICY"
    POLICY_UNVERIFIED = "POLICY_UNVERIFIED"
    UNKNOWN_ACTION = "UNKNOWN_ACTION"
    UNKNOWN_ROLE = "UNKNOWN_ROLE"
    ACTION_OUTSIDE_ROLE = "ACTION_OUTSIDE_ROLE"
    CHANNEL_NOT_ALLOWED = "CHANNEL_NOT_ALLOWED"
    CRM_FIELD_OUTSIDE_ROLE = "CRM_FIELD_OUTSIDE_ROLE"
    TOOL_OUTSIDE_ROLE = "TOOL_OUTSIDE_ROLE"
    DISCOUNT_ABOVE_AUTHORITY = "DISCOUNT_ABOVE_AUTHORITY"
    PRICE_ABOVE_AUTHORITY = "PRICE_ABOVE_AUTHORITY"
    PARAMETER_INVALID = "PARAMETER_INVALID"
    MISSING_FACT = "MISSING_FACT"
    INTERIM_ONLY = "INTERIM_ONLY"
    LOW_CONFIDENCE = "LOW_CONFIDENCE"
    STAGE_NOT_REACHED = "STAGE_NOT_REACHED"
    INTENT_NOT_CONFIRMED = "INTENT_NOT_CONFIRMED"
    ALREADY_CONFIRMED = "ALREADY_CONFIRMED"
    OBJECTION_OPEN = "OBJECTION_OPEN"
    CALL_NOT_LIVE = "CALL_NOT_LIVE"
    CALL_IN_PROGRESS = "CALL_IN_PROGRESS"
    NOT_HUMAN_ANSWERED = "NOT_HUMAN_ANSWERED"
    LEAD_SPEAKING = "LEAD_SPEAKING"
    DO_NOT_CONTACT = "DO_NOT_CONTACT"
    NO_CONSENT = "NO_CONSENT"
    OUTSIDE_CALLING_HOURS = "OUTSIDE_CALLING_HOURS"
    ATTEMPT_LIMIT = "ATTEMPT_LIMIT"
    MIN_GAP = "MIN_GAP"
    COOL_OFF = "COOL_OFF"
    FLOOR_HELD = "FLOOR_HELD"
    EFFECT_PENDING = "EFFECT_PENDING"
    EFFECT_REFUSED = "EFFECT_REFUSED"
    CASE_OPEN = "CASE_OPEN"
    PAUSED_BY_HUMAN = "PAUSED_BY_HUMAN"
    OBLIGATION_UNFULFILLED = "OBLIGATION_UNFULFILLED"
    DEFER_EXPIRED = "DEFER_EXPIRED"
    TOO_LATE = "TOO_LATE"
    REQUEST_CONFLICT = "REQUEST_CONFLICT"
    RULE_ERROR = "RULE_ERROR"
    FACT_CHANGED = "FACT_CHANGED"
    EVIDENCE_CHANGED = "EVIDENCE_CHANGED"
    OPT_OUT = "OPT_OUT"
    STOPPED_BY_HUMAN = "STOPPED_BY_HUMAN"
    CONVERSATION_ENDED = "CONVERSATION_ENDED"
    POLICY_CHANGED = "POLICY_CHANGED"
    GRANT_EXPIRED = "GRANT_EXPIRED"
    GRANT_INVALID = "GRANT_INVALID"
    GRANT_REUSED = "GRANT_REUSED"
    GRANT_REVOKED = "GRANT_REVOKED"
    REVOCATION_FEED_STALE = "REVOCATION_FEED_STALE"
    NO_ANSWER_IN_TIME = "NO_ANSWER_IN_TIME"
    CONDITION_NOT_MET = "CONDITION_NOT_MET"
    PROMPT_OUT_OF_SCOPE = "PROMPT_OUT_OF_SCOPE"
    TOKEN_LIMIT = "TOKEN_LIMIT"
    WORDING_NOT_ALLOWED = "WORDING_NOT_ALLOWED"
    SPEECH_MODE = "SPEECH_MODE"
    EXECUTION_LOCKED = "EXECUTION_LOCKED"
    AGENT_SPEAKING = "AGENT_SPEAKING"
    STALE_FACT = "STALE_FACT"
    LATE_EVIDENCE = "LATE_EVIDENCE"
    CONFLICTING_FACTS = "CONFLICTING_FACTS"
    EVENTS_MISSING = "EVENTS_MISSING"
    RETRIES_EXHAUSTED = "RETRIES_EXHAUSTED"
    CUT_OFF = "CUT_OFF"
    OVERRIDE_WITHDRAWN = "OVERRIDE_WITHDRAWN"
    REQUEST_CANCELLED = "REQUEST_CANCELLED"
    TOO_MANY_OPEN = "TOO_MANY_OPEN"
    FLOOR_PASSED = "FLOOR_PASSED"
    STOP_PHRASE = "STOP_PHRASE"
    IDENTITY_UNPROVEN = "IDENTITY_UNPROVEN"


class FactRef(Record, frozen=True, kw_only=True, gc=False):
    """A fact as a judgement read it."""

    name: str
    value: str
    version: int
    offset: int
    final: bool


class Reason(Record, frozen=True, kw_only=True, gc=False):
    """One rule's finding."""

    code: ReasonCode
    rule_id: str
    message: str
    facts: tuple[FactRef, ...] = ()
    until: TimeUs | None = None


class Criterion(Record, frozen=True, kw_only=True, gc=False):
    """One of the three criteria, judged on its own."""

    name: CriterionName
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()


class CrmEventType(StrEnum):
    """What the CRM says about a lead."""

    UNKNOWN = "UNKNOWN"
    LEAD_UPSERTED = "LEAD_UPSERTED"
    CONSENT_RECORDED = "CONSENT_RECORDED"
    CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN"
    DO_NOT_CONTACT_SET = "DO_NOT_CONTACT_SET"
    DO_NOT_CONTACT_LIFTED = "DO_NOT_CONTACT_LIFTED"
    STATUS_CHANGED = "STATUS_CHANGED"


class CrmEvent(Record, frozen=True, kw_only=True, gc=False):
    """What the CRM knows about a lead (topic crm.events)."""

    event_id: str
    lead_id: LeadId
    type: CrmEventType
    external_id: str | None = None
    time_zones: tuple[str, ...] = ()
    jurisdictions: tuple[str, ...] = ()
    consent: Consent | None = None
    status: str | None = None
    source: str = ""
    occurred_at: TimeUs | None = None
    received_at: TimeUs
    time_zone_basis: str = ""
    jurisdiction_basis: str = ""
    scope: str = ""
    until: TimeUs | None = None


class CrmWriteResult(StrEnum):
    """What the CRM sink did with an update."""

    REFUSED = "REFUSED"
    APPLIED = "APPLIED"
    SUPERSEDED = "SUPERSEDED"
    FAILED = "FAILED"


class CrmResult(Record, frozen=True, kw_only=True, gc=False):
    """What the CRM sink did with an update (topic crm.results)."""

    update_id: str
    lead_id: LeadId
    external_id: str
    result: CrmWriteResult
    code: ReasonCode | None = None
    message: str
    at: TimeUs


class CrmUpdate(Record, frozen=True, kw_only=True, gc=False):
    """A write to the CRM under a grant (topic crm.updates)."""

    update_id: str
    lead_id: LeadId
    external_id: str
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    parameters: dict[str, bool | int | str] = msgspec.field(default_factory=dict)
    tool: str | None = None
    role: str
    agent_id: AgentId
    decision_id: DecisionId
    grant: str
    effective_offset: int
    at: TimeUs


class DeadLetterCode(StrEnum):
    """Why a record could not be taken."""

    UNKNOWN = "UNKNOWN"
    NOT_AVRO = "NOT_AVRO"
    UNKNOWN_SCHEMA = "UNKNOWN_SCHEMA"
    WRONG_SCHEMA = "WRONG_SCHEMA"
    BAD_VALUE = "BAD_VALUE"
    BAD_PAYLOAD = "BAD_PAYLOAD"
    UNKNOWN_PROVIDER = "UNKNOWN_PROVIDER"
    UNRESOLVED_LEAD = "UNRESOLVED_LEAD"
    KEY_MISMATCH = "KEY_MISMATCH"
    TOO_LARGE = "TOO_LARGE"


class DeadLetter(Record, frozen=True, kw_only=True, gc=False):
    """A record that could not be taken, whole (topic dead.letters)."""

    dead_letter_id: str
    topic: str
    partition: int
    offset: int
    key: bytes | None = None
    value: bytes | None = None
    headers: dict[str, bytes] = msgspec.field(default_factory=dict)
    code: DeadLetterCode
    error: str
    stage: str
    at: TimeUs


class DeferEnd(StrEnum):
    """What a defer becomes at its deadline; never a permit."""

    BLOCK = "BLOCK"
    ESCALATE = "ESCALATE"


class DeferTerms(Record, frozen=True, kw_only=True, gc=False):
    """What a defer waits for, and until when."""

    defer_id: str
    resume_when: tuple[str, ...] = ()
    not_before: TimeUs | None = None
    deadline: TimeUs
    on_deadline: DeferEnd


class SpeechMode(StrEnum):
    """What agents may say in a conversation right now, widest first. Readers treat an unknown symbol as SILENT."""

    OPEN = "OPEN"
    NO_COMMITMENT = "NO_COMMITMENT"
    NEUTRAL_HOLDING = "NEUTRAL_HOLDING"
    TRANSFER_ONLY = "TRANSFER_ONLY"
    SILENT = "SILENT"


class Position(Record, frozen=True, kw_only=True, gc=False):
    """A place in the journal."""

    partition: int
    offset: int


class OverrideUse(Record, frozen=True, kw_only=True, gc=False):
    """What an override changed in a decision: before and after."""

    override_id: str
    author: str
    author_role: str
    reason: str
    before: Verdict
    lifted: tuple[Reason, ...] = ()


class Decision(Record, frozen=True, kw_only=True, gc=False):
    """The answer to a request, with everything it rests on (topic permission.decisions)."""

    decision_id: DecisionId
    request_id: RequestId
    lead_id: LeadId
    conversation_id: ConversationId | None = None
    agent_id: AgentId
    role: str
    action: str
    channel: Channel
    verdict: Verdict
    criteria: tuple[Criterion, ...] = ()
    defer: DeferTerms | None = None
    grant: str | None = None
    grant_id: GrantId | None = None
    expires_at: TimeUs | None = None
    single_use: bool = False
    obligations: tuple[str, ...] = ()
    speech_mode: SpeechMode
    policy_version: str
    policy_digest: str
    read_set: tuple[FactRef, ...] = ()
    position: Position
    requested_at: TimeUs
    at: TimeUs
    traceparent: str | None = None
    override: OverrideUse | None = None
    max_tokens: int | None = None
    prompt_scope: tuple[str, ...] = ()


class Deferral(Record, frozen=True, kw_only=True, gc=False):
    """A request that waits."""

    defer_id: str
    request: AgentRequest
    resume_when: tuple[str, ...] = ()
    not_before: TimeUs | None = None
    deadline: TimeUs
    on_deadline: DeferEnd
    deferred_at: TimeUs
    traceparent: str | None = None
    proven_under: int = 0


class DirectiveType(StrEnum):
    """An order to agents that asked nothing. Readers treat an unknown symbol as STOP."""

    PAUSE = "PAUSE"
    HOLD = "HOLD"
    RELEASE = "RELEASE"
    STOP = "STOP"
    SPEECH_MODE = "SPEECH_MODE"


class Directive(Record, frozen=True, kw_only=True, gc=False):
    """An order to agents that asked nothing (topic agent.directives)."""

    directive_id: str
    lead_id: LeadId
    conversation_id: ConversationId | None = None
    agent_id: AgentId | None = None
    type: DirectiveType
    speech_mode: SpeechMode | None = None
    code: ReasonCode
    message: str
    position: Position
    at: TimeUs
    max_tokens: int | None = None


class EntryKind(StrEnum):
    """Which record a journal entry carries in its body."""

    UNKNOWN = "UNKNOWN"
    CALL = "CALL"
    TRANSCRIPT = "TRANSCRIPT"
    MESSAGE = "MESSAGE"
    SIGNAL = "SIGNAL"
    CRM = "CRM"
    REQUEST = "REQUEST"
    OUTCOME = "OUTCOME"
    INTERVENTION = "INTERVENTION"
    POLICY = "POLICY"
    TICK = "TICK"


class EscalationCase(Record, frozen=True, kw_only=True, gc=False):
    """A case for a person (topic escalation.cases)."""

    case_id: str
    lead_id: LeadId
    conversation_id: ConversationId | None = None
    cause: str
    status: CaseStatus
    suspended: tuple[str, ...] = ()
    message: str
    opened_at: TimeUs
    deadline: TimeUs
    author: str | None = None
    position: Position
    at: TimeUs


class ExecutionState(Record, frozen=True, kw_only=True, gc=False):
    """The public view of a lead (topic execution.state, compacted)."""

    lead_id: LeadId
    stage: str
    speech_mode: SpeechMode
    facts: dict[str, str] = msgspec.field(default_factory=dict)
    grants: tuple[ActiveGrant, ...] = ()
    open_cases: tuple[str, ...] = ()
    floor_agent: AgentId | None = None
    version: int
    position: Position
    at: TimeUs


class Fact(Record, frozen=True, kw_only=True, gc=False):
    """A value in the shared state."""

    value: str
    version: int
    offset: int
    at: TimeUs
    final: bool
    confidence: float | None = None
    evidence: tuple[str, ...] = ()
    until: TimeUs | None = None


class Floor(Record, frozen=True, kw_only=True, gc=False):
    """Which agent has the lead now."""

    agent_id: AgentId
    role: str
    until: TimeUs


class InterventionType(StrEnum):
    """What a person did about a lead."""

    UNKNOWN = "UNKNOWN"
    CASE_ACKNOWLEDGED = "CASE_ACKNOWLEDGED"
    CASE_RESOLVED = "CASE_RESOLVED"
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    STOP = "STOP"
    OVERRIDE = "OVERRIDE"
    OVERRIDE_WITHDRAWN = "OVERRIDE_WITHDRAWN"
    REFUSE = "REFUSE"
    REFUSAL_LIFTED = "REFUSAL_LIFTED"


class PolicySignature(Record, frozen=True, kw_only=True, gc=False):
    """One approver's signature over a policy digest."""

    key_id: str
    signature: bytes


class HumanIntervention(Record, frozen=True, kw_only=True, gc=False):
    """A person's act on a lead (topic human.interventions)."""

    intervention_id: str
    lead_id: LeadId
    type: InterventionType
    author: str
    author_role: str
    reason: str
    case_id: str | None = None
    occurred_at: TimeUs
    request_id: RequestId | None = None
    override_id: str | None = None
    effects: tuple[str, ...] = ()
    since: TimeUs | None = None
    until: TimeUs | None = None
    signature: PolicySignature | None = None


class SegmentStatus(StrEnum):
    """Life of one transcript segment: interim text, final text, a correction of final text, or its withdrawal."""

    UNKNOWN = "UNKNOWN"
    INTERIM = "INTERIM"
    FINAL = "FINAL"
    CORRECTED = "CORRECTED"
    WITHDRAWN = "WITHDRAWN"


class Track(StrEnum):
    """Which side of the call audio a segment was transcribed from."""

    UNKNOWN = "UNKNOWN"
    INBOUND = "INBOUND"
    OUTBOUND = "OUTBOUND"


class TranscriptSegment(Record, frozen=True, kw_only=True, gc=False):
    """A stretch of transcript, or a change to one (topic transcription.events)."""

    event_id: str
    lead_id: LeadId | None = None
    conversation_id: ConversationId | None = None
    provider: str
    provider_event_id: str | None = None
    provider_type: str = ""
    call_id: str
    segment_id: str
    status: SegmentStatus
    text: str
    speaker: Speaker
    track: Track = Track.UNKNOWN
    language: str | None = None
    sequence: int | None = None
    sequence_scope: str | None = None
    confidence: float | None = None
    confidence_kind: ConfidenceKind = ConfidenceKind.NONE
    occurred_at: TimeUs | None = None
    received_at: TimeUs


class MessageEventType(StrEnum):
    """What happened to a written message."""

    UNKNOWN = "UNKNOWN"
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    RECEIVED = "RECEIVED"


class MessageEvent(Record, frozen=True, kw_only=True, gc=False):
    """Something that happened to a written message (topic messaging.events)."""

    event_id: str
    lead_id: LeadId
    conversation_id: ConversationId
    provider: str
    provider_event_id: str | None = None
    provider_type: str = ""
    message_id: str
    channel: Channel
    type: MessageEventType
    text: str = ""
    agent_id: AgentId | None = None
    occurred_at: TimeUs | None = None
    received_at: TimeUs


class SignalType(StrEnum):
    """A claim about the buyer."""

    UNKNOWN = "UNKNOWN"
    LANGUAGE_COMMITMENT = "LANGUAGE_COMMITMENT"
    TIMING_ACCEPTANCE = "TIMING_ACCEPTANCE"
    SCOPE_CONFIRMED = "SCOPE_CONFIRMED"
    READINESS = "READINESS"
    OBJECTION_RAISED = "OBJECTION_RAISED"
    OBJECTION_RESOLVED = "OBJECTION_RESOLVED"
    CONSENT_GIVEN = "CONSENT_GIVEN"
    CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN"
    OPT_OUT = "OPT_OUT"
    NOT_NOW = "NOT_NOW"
    ASKS_FOR_HUMAN = "ASKS_FOR_HUMAN"
    DISENGAGEMENT = "DISENGAGEMENT"
    DECLINED = "DECLINED"
    RISK = "RISK"


class Signal(Record, frozen=True, kw_only=True, gc=False):
    """A claim about the buyer with its evidence (topic signal.events)."""

    event_id: str
    lead_id: LeadId
    conversation_id: ConversationId | None = None
    type: SignalType
    subject: str = ""
    confidence: float
    detector: str
    evidence: tuple[str, ...] = ()
    occurred_at: TimeUs | None = None
    received_at: TimeUs
    denies: bool = False


class PolicyActivation(Record, frozen=True, kw_only=True, gc=False):
    """A policy bundle comes into force (topic policy.activations)."""

    activation_id: str
    version: str
    revision: int
    digest: str
    bundle: str
    signatures: tuple[PolicySignature, ...] = ()
    approved_by: str
    reason: str


class Tick(Record, frozen=True, kw_only=True, gc=False):
    """Time passes (written by control into the partitions that it owns)."""

    tick_id: str
    at: TimeUs


class JournalEntry(Record, frozen=True, kw_only=True, gc=False):
    """One entry of the single source of truth (topic execution.journal)."""

    entry_id: str
    lead_id: LeadId
    kind: EntryKind
    at: TimeUs
    source_topic: str
    source_partition: int
    source_offset: int
    traceparent: str | None = None
    behind_us: int = 0
    body: CallEvent | TranscriptSegment | MessageEvent | Signal | CrmEvent | AgentRequest | AgentOutcome | HumanIntervention | PolicyActivation | Tick


class Judged(Record, frozen=True, kw_only=True, gc=False):
    """A request that was answered."""

    request_id: RequestId
    digest: int
    verdict: Verdict
    action: str = ""
    at: TimeUs = 0


class Segment(Record, frozen=True, kw_only=True, gc=False):
    """A transcript segment that something may rest on."""

    segment_id: str
    conversation_id: ConversationId
    status: SegmentStatus
    text: str
    confidence: float | None = None
    speaker: Speaker
    offset: int
    at: TimeUs


class PermissionStatus(StrEnum):
    """Where a grant stands. A used, expired or revoked one is kept for a stated time, so that a late outcome finds it."""

    GRANTED = "GRANTED"
    USED = "USED"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"


class Permission(Record, frozen=True, kw_only=True, gc=False):
    """A grant in force."""

    grant_id: GrantId
    request_id: RequestId
    agent_id: AgentId
    role: str
    action: str
    effect: str
    channel: Channel
    conversation_id: ConversationId | None = None
    single_use: bool
    issued_at: TimeUs
    expires_at: TimeUs
    obligations: tuple[str, ...] = ()
    read_set: tuple[FactRef, ...] = ()
    status: PermissionStatus
    reported: bool = False
    policy: str = ""


class Refusal(Record, frozen=True, kw_only=True, gc=False):
    """A no that is remembered by its effect."""

    effect: str
    by: str
    code: ReasonCode
    until: TimeUs | None = None
    lifted_by: tuple[str, ...] = ()
    count: int
    offset: int
    at: TimeUs
    since: TimeUs | None = None
    reason: str = ""


class OpenCase(Record, frozen=True, kw_only=True, gc=False):
    """An escalation that is not resolved."""

    case_id: str
    cause: str
    status: CaseStatus
    conversation_id: ConversationId | None = None
    suspended: tuple[str, ...] = ()
    opened_at: TimeUs
    deadline: TimeUs
    message: str


class SignalNote(Record, frozen=True, kw_only=True, gc=False):
    """A signal as the lead's row remembers it; the newest ones only."""

    type: SignalType
    subject: str = ""
    denies: bool = False
    confidence: float
    detector: str
    evidence: tuple[str, ...] = ()
    conversation_id: ConversationId | None = None
    offset: int
    at: TimeUs


class OverrideStatus(StrEnum):
    """What became of a person's override."""

    PENDING = "PENDING"
    USED = "USED"
    EXPIRED = "EXPIRED"
    WITHDRAWN = "WITHDRAWN"


class Override(Record, frozen=True, kw_only=True, gc=False):
    """A person's decision to let one refused request pass."""

    override_id: str
    digest: int
    action: str
    by: str
    role: str
    reason: str
    until: TimeUs
    status: OverrideStatus
    offset: int
    at: TimeUs


class LeadState(Record, frozen=True, kw_only=True, gc=False):
    """Everything control knows about a lead: one row."""

    lead_id: LeadId
    version: int
    applied_offset: int
    now: TimeUs
    epoch: int
    facts: dict[str, Fact] = msgspec.field(default_factory=dict)
    conversations: tuple[Conversation, ...] = ()
    segments: tuple[Segment, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    permissions: tuple[Permission, ...] = ()
    deferrals: tuple[Deferral, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    cases: tuple[OpenCase, ...] = ()
    floor: Floor | None = None
    judged: tuple[Judged, ...] = ()
    seen: tuple[int, ...] = ()
    signals: tuple[SignalNote, ...] = ()
    overrides: tuple[Override, ...] = ()
    revision: int = 0


class PartitionState(Record, frozen=True, kw_only=True, gc=False):
    """What control keeps for a journal partition as a whole: one row."""

    partition: int
    applied_offset: int


class PolicyInForce(Record, frozen=True, kw_only=True, gc=False):
    """One activation that a partition has seen."""

    offset: int
    revision: int
    digest: str
    activation: PolicyActivation


class PolicyHistory(Record, frozen=True, kw_only=True, gc=False):
    """Activations that a journal partition has seen: one row, written when it changes."""

    policies: tuple[PolicyInForce, ...] = ()


class ProviderWebhook(Record, frozen=True, kw_only=True, gc=False):
    """A provider's webhook exactly as it came (topic perception.raw)."""

    raw_id: str
    provider: str
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: bytes
    received_at: TimeUs


class RevocationScope(StrEnum):
    """What a revocation cuts off. HEARTBEAT revokes nothing: it proves that the feed is alive."""

    GRANT = "GRANT"
    LEAD = "LEAD"
    AGENT = "AGENT"
    ROLE = "ROLE"
    POLICY = "POLICY"
    HEARTBEAT = "HEARTBEAT"


class Revocation(Record, frozen=True, kw_only=True, gc=False):
    """A grant, or all grants before a cut-off, are void (topic permission.revocations, compacted)."""

    revocation_id: str
    scope: RevocationScope
    subject: str
    lead_id: LeadId
    epoch: int
    code: ReasonCode
    message: str
    facts: tuple[FactRef, ...] = ()
    position: Position
    at: TimeUs


class Transition(Record, frozen=True, kw_only=True, gc=False):
    """One change of one fact (topic execution.transitions)."""

    transition_id: str
    lead_id: LeadId
    fact: str
    old_value: str
    new_value: str
    version: int
    final: bool
    cause_kind: EntryKind
    cause_id: str
    position: Position
    at: TimeUs
