"""A story of one lead, told entry by entry to the real fold: what tests of the core are written in."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from processors.authority import Court
from processors.draft import Output
from processors.offline import MemoryRows
from processors.partition import LEAD_PREFIX, Partition
from processors.policy import Bundle, load_bundle
from schemas.codec import KIND_OF
from schemas.jsonio import parse_time
from schemas.records import (
    AgentOutcome,
    AgentRequest,
    AnsweredBy,
    CallEndCause,
    CallEvent,
    CallEventType,
    Channel,
    Consent,
    ConsentType,
    CrmEvent,
    CrmEventType,
    Decision,
    HumanIntervention,
    InterventionType,
    JournalEntry,
    LeadState,
    OutcomeResult,
    PolicyActivation,
    PolicySignature,
    Record,
    SegmentStatus,
    Signal,
    SignalType,
    Speaker,
    Tick,
    TranscriptSegment,
    Verdict,
)
from schemas.rows import decode_row

KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
COURT = Court.from_keys(KEY, [KEY.public_key()])
NOON_NEW_YORK = "2026-11-18T17:00:00Z"
SECOND = 1_000_000
DISCLOSURE = "Hello, I'm an AI assistant, and this call is recorded."
R = TypeVar("R", bound=Record)


@cache
def default_bundle() -> Bundle:
    """The bundle that ships."""
    return load_bundle(Path(__file__).parents[2] / "deploy" / "policy" / "default")


def activation(bundle: Bundle | None = None, *, revision: int = 1, signer: Court = COURT) -> PolicyActivation:
    """An approved activation of a bundle."""
    bundle = bundle or default_bundle()
    digest = bundle.digest()
    signature = PolicySignature(key_id=signer.signer.kid, signature=signer.signer.approve(digest, revision))
    return PolicyActivation(
        activation_id=f"activation-{revision}", version=bundle.version, revision=revision, digest=digest,
        bundle=bundle.canonical_json(), signatures=(signature,), approved_by="counsel", reason="test",
    )  # fmt: skip


class Story:
    """One lead's journal, one second between entries unless told otherwise."""

    def __init__(self, at: str = NOON_NEW_YORK, *, policy: bool = True, known: bool = True) -> None:
        self.rows = MemoryRows()
        self.partition = Partition(0, self.rows, COURT)
        self.journal: list[JournalEntry] = []
        self.outputs: list[Output] = []
        self.lead = "lead-1"
        self.now = parse_time(at)
        self._count = 0
        if policy:
            self.tell(activation())
        if known:
            self.known()

    # --- telling
    def tell(self, body: Record, *, after_s: float = 1, lead: str | None = None) -> list[Record]:
        """Appends one entry and folds it; what came out, in order."""
        self.now += int(after_s * SECOND)
        offset = len(self.journal)
        entry = JournalEntry(
            entry_id=f"entry-{offset}", lead_id=getattr(body, "lead_id", None) or "", kind=KIND_OF[type(body)],
            at=self.now, source_topic="", source_partition=0, source_offset=offset, body=body,
        )  # fmt: skip
        self.journal.append(entry)
        outputs = self.partition.apply(entry, offset)
        self.rows.rows.update(self.partition.take_writes())
        self.outputs += outputs
        return [output.value for output in outputs]

    def wait(self, seconds: float) -> list[Record]:
        """Time passes, and a tick says so."""
        self._count += 1
        return self.tell(Tick(tick_id=f"tick-{self._count}", at=self.now), after_s=seconds)

    def id(self, kind: str) -> str:
        """A fresh id."""
        self._count += 1
        return f"{kind}-{self._count}"

    # --- the lead
    def known(
        self,
        *zones: str,
        jurisdictions: tuple[str, ...] = ("US",),
        consent: ConsentType | None = ConsentType.EXPRESS_WRITTEN,
    ) -> None:
        """The CRM knows the lead."""
        self.crm(
            CrmEventType.LEAD_UPSERTED,
            external_id="crm-1",
            time_zones=zones or ("America/New_York",),
            jurisdictions=jurisdictions,
        )
        if consent:
            for channel in (Channel.VOICE, Channel.SMS):
                self.crm(CrmEventType.CONSENT_RECORDED, consent=Consent(channel=channel, type=consent))

    def crm(self, kind: CrmEventType, **fields: Any) -> list[Record]:
        return self.tell(
            CrmEvent(event_id=self.id("crm"), lead_id=self.lead, type=kind, received_at=self.now, **fields)
        )

    def call(self, kind: str, conversation: str = "c1", **fields: Any) -> list[Record]:
        after = fields.pop("after_s", 1)
        fields.setdefault("event_id", self.id("call"))
        event = CallEvent(
            lead_id=self.lead, conversation_id=conversation, provider="twilio", call_id=conversation,
            type=CallEventType(kind), received_at=self.now, **fields,
        )  # fmt: skip
        return self.tell(event, after_s=after)

    def answered_call(self, conversation: str = "c1") -> None:
        """A call that a person answered, spoke in, and was told about the AI."""
        permit = self.ask("booking", "initiate_contact", conversation=None)
        self.call("CALL_INITIATED", conversation)
        self.call("CALL_ANSWERED", conversation)
        self.call("MACHINE_DETECTED", conversation, answered_by=AnsweredBy.HUMAN)
        self.says(DISCLOSURE, speaker=Speaker.AGENT, conversation=conversation)
        self.report(permit, conversation=conversation, fulfilled=("disclose_ai", "announce_recording"))
        self.says("hello", conversation=conversation)
        self.call("AGENT_DISENGAGED", conversation)

    def says(self, text: str, segment: str | None = None, *, status: str = "FINAL", confidence: float | None = 0.95,
             speaker: Speaker = Speaker.LEAD, conversation: str = "c1") -> str:  # fmt: skip
        """Somebody says something; the segment's id."""
        segment = segment or self.id("segment")
        self.tell(
            TranscriptSegment(
                event_id=self.id("transcript"), lead_id=self.lead, conversation_id=conversation, provider="twilio",
                call_id=conversation, segment_id=segment, status=SegmentStatus(status), text=text, speaker=speaker,
                confidence=confidence, received_at=self.now,
            )
        )  # fmt: skip
        return segment

    def signal(
        self, kind: str, *evidence: str, confidence: float = 0.95, subject: str = "", conversation: str = "c1"
    ) -> list[Record]:
        return self.tell(
            Signal(
                event_id=self.id("signal"), lead_id=self.lead, conversation_id=conversation, type=SignalType(kind),
                subject=subject, confidence=confidence, detector="test/1", evidence=evidence, received_at=self.now,
            )
        )  # fmt: skip

    def confirm(self, *kinds: str) -> dict[str, str]:
        """Confirms intents, each by a sentence of its own; the segment of each."""
        said = {kind: self.says(f"words for {kind.lower()}") for kind in kinds}
        for kind, segment in said.items():
            self.signal(kind, segment)
        return said

    def ready_to_close(self) -> dict[str, str]:
        """A lead in an answered call that has reached the closing stage."""
        self.answered_call()
        return self.confirm("TIMING_ACCEPTANCE", "SCOPE_CONFIRMED", "READINESS", "LANGUAGE_COMMITMENT")

    def human(self, kind: str, **fields: Any) -> list[Record]:
        return self.tell(
            HumanIntervention(
                intervention_id=self.id("human"), lead_id=self.lead, type=InterventionType(kind), author="ann",
                author_role="supervisor", reason="because", occurred_at=self.now, **fields,
            )
        )  # fmt: skip

    # --- agents
    def ask(self, role: str, action: str, *, conversation: str | None = "c1", agent: str | None = None,
            channel: Channel = Channel.VOICE, request_id: str | None = None, **fields: Any) -> Decision:  # fmt: skip
        """An agent proposes an action; the decision on it."""
        request = AgentRequest(
            request_id=request_id or self.id("request"), lead_id=self.lead, conversation_id=conversation,
            agent_id=agent or f"{role}-agent", role=role, action=action, channel=channel,
            requested_at=fields.pop("requested_at", self.now + SECOND), **fields,
        )  # fmt: skip
        found = [v for v in self.tell(request) if isinstance(v, Decision) and v.request_id == request.request_id]
        assert len(found) == 1, f"{len(found)} decisions on {request.request_id}"
        return found[0]

    def report(
        self,
        decision: Decision,
        result: str = "DONE",
        *,
        fulfilled: tuple[str, ...] = (),
        conversation: str | None = "c1",
    ) -> list[Record]:
        assert decision.verdict is Verdict.PERMIT, decision
        return self.tell(
            AgentOutcome(
                outcome_id=self.id("outcome"), lead_id=self.lead, conversation_id=conversation,
                agent_id=decision.agent_id, request_id=decision.request_id, grant_id=decision.grant_id or "",
                result=OutcomeResult(result), fulfilled=fulfilled, occurred_at=self.now,
            )
        )  # fmt: skip

    def hang_up(self, conversation: str = "c1") -> list[Record]:
        return self.call("CALL_ENDED", conversation, cause=CallEndCause.COMPLETED)

    # --- looking
    def state(self) -> LeadState:
        """The lead's row as written."""
        return decode_row(LeadState, self.rows.rows[LEAD_PREFIX + self.lead.encode()])

    def fact(self, name: str) -> str:
        """Value of a fact; empty when it is not set."""
        fact = self.state().facts.get(name)
        return fact.value if fact else ""

    def decisions(self, request_id: str) -> list[Decision]:
        """All decisions on a request, oldest first."""
        return [d for d in self.of(Decision) if d.request_id == request_id]

    def of(self, kind: type[R]) -> Iterator[R]:
        """Every record of a kind that came out so far."""
        return (output.value for output in self.outputs if isinstance(output.value, kind))


def codes(decision: Decision) -> set[str]:
    """Codes of all reasons of a decision."""
    return {reason.code for criterion in decision.criteria for reason in criterion.reasons}
