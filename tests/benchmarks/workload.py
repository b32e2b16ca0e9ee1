"""The traffic that is measured: leads in the middle of a call, made from a seed.

Every lead is first brought into an answered call in the closing stage (`opening`, not measured). From then on it
goes through turns of twenty events: who speaks, interim and final transcript, two requests, now and then a
signal that takes an intent away and gives it back. A tenth of the events are requests. Values depend on the seed
and on the times that are asked for, nothing else.
"""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from schemas.catalogue import TOPIC_OF
from schemas.records import (
    AgentId,
    AgentRequest,
    AnsweredBy,
    CallEvent,
    CallEventType,
    Channel,
    ConfidenceKind,
    Consent,
    ConsentType,
    ConversationId,
    CrmEvent,
    CrmEventType,
    LeadId,
    Record,
    RequestId,
    SegmentStatus,
    Signal,
    SignalType,
    Speaker,
    TimeUs,
    Track,
    TranscriptSegment,
)

_INTENTS = ("TIMING_ACCEPTANCE", "SCOPE_CONFIRMED", "READINESS", "LANGUAGE_COMMITMENT")
_SAID = (
    "so what would the whole thing come to for a team of twelve people",
    "we talked about that with your colleague last week and it sounded fine",
    "yes that is what we need and the start of next month would work for us",
    "let me think about that for a second because the budget is not only mine",
    "okay and the support is included in that price for the first year",
)
_DISCLOSURE = "hello this is an ai assistant and this call is recorded"
EVENTS_OF_A_TURN = 20


class Event(NamedTuple):
    """One input record, ready to be encoded for its topic; keyed by lead."""

    topic: str
    lead: LeadId
    value: Record

    @property
    def request_id(self) -> RequestId | None:
        return self.value.request_id if isinstance(self.value, AgentRequest) else None


class Lead:
    """One buyer on the phone."""

    def __init__(self, name: LeadId, seed: int, zone: str) -> None:
        self.id = name
        self._random = random.Random(f"{seed}-{name}")
        self._call_id = f"CA{self._random.getrandbits(128):032x}"
        self._conversation = ConversationId(f"twilio:{self._call_id}")
        self._zone = zone
        self._count = 0
        self._segment = ""
        self._objects = False
        self._turn = self._turns()

    @property
    def conversation(self) -> ConversationId:
        """The call that the lead is in."""
        return self._conversation

    def opening(self) -> list[Callable[[TimeUs], Event]]:
        """What brings the lead into the closing stage of an answered call, in order."""
        said = [f"{self.id}-opening-{number}" for number in range(len(_INTENTS) + 1)]
        steps: list[Callable[[TimeUs], Event]] = [
            lambda at: self._crm(at, CrmEventType.LEAD_UPSERTED),
            lambda at: self._crm(at, CrmEventType.CONSENT_RECORDED),
            lambda at: self._call(at, "CALL_INITIATED"),
            lambda at: self._call(at, "CALL_RINGING"),
            lambda at: self._call(at, "CALL_ANSWERED"),
            lambda at: self._call(at, "MACHINE_DETECTED", answered_by=AnsweredBy.HUMAN),
            lambda at: self._says(at, "FINAL", speaker=Speaker.AGENT, text=_DISCLOSURE),
        ]
        steps += [partial(self._says, status="FINAL", segment=segment) for segment in said]
        steps += [
            partial(self._signal, kind=kind, evidence=segment) for kind, segment in zip(_INTENTS, said, strict=False)
        ]
        return [*steps, self._asks]

    def next(self, at: TimeUs) -> Event:
        """The next event of the call."""
        return next(self._turn)(at)

    def ask(self, at: TimeUs) -> Event:
        """A request out of turn."""
        return self._asks(at)

    def skip(self, events: int) -> None:
        """Begins elsewhere in a turn, so that leads are not in step."""
        for _ in range(events % EVENTS_OF_A_TURN):
            next(self._turn)

    def _turns(self) -> Iterator[Callable[[TimeUs], Event]]:
        while True:
            yield from self._speech(Speaker.LEAD, interim=3)
            yield self._asks
            yield from self._speech(Speaker.AGENT, interim=3)
            yield lambda at: self._call(at, "SILENCE", duration_ms=900)
            yield from self._speech(Speaker.LEAD, interim=1)
            yield self._asks
            yield self._claims

    def _speech(self, speaker: Speaker, *, interim: int) -> Iterator[Callable[[TimeUs], Event]]:
        yield lambda at: self._call(at, "SPEECH_STARTED", speaker=speaker)
        for _ in range(interim):
            yield lambda at: self._says(at, "INTERIM", speaker=speaker)
        yield lambda at: self._says(at, "FINAL", speaker=speaker)
        yield lambda at: self._call(at, "SPEECH_STOPPED", speaker=speaker)

    # --- records
    def _id(self, kind: str) -> str:
        self._count += 1
        return f"{self.id}-{kind}-{self._count}"

    def _event(self, value: Record) -> Event:
        return Event(TOPIC_OF[type(value)], self.id, value)

    def _crm(self, at: TimeUs, kind: CrmEventType) -> Event:
        consent = Consent(channel=Channel.VOICE, type=ConsentType.EXPRESS_WRITTEN, proof="form-17", given_at=at)
        return self._event(
            CrmEvent(
                event_id=self._id("crm"),
                lead_id=self.id,
                type=kind,
                external_id=f"crm-{self.id}",
                time_zones=(self._zone,),
                jurisdictions=("US",),
                consent=consent if kind is CrmEventType.CONSENT_RECORDED else None,
                source="crm",
                received_at=at,
            )
        )

    def _call(self, at: TimeUs, kind: str, **fields: Any) -> Event:
        return self._event(
            CallEvent(
                event_id=self._id("call"),
                lead_id=self.id,
                provider="twilio",
                provider_type=kind.lower().replace("_", "-"),
                call_id=self._call_id,
                type=CallEventType(kind),
                occurred_at=at,
                received_at=at,
                **fields,
            )
        )

    def _says(
        self, at: TimeUs, status: str, *, speaker: Speaker = Speaker.LEAD, segment: str | None = None, text: str = ""
    ) -> Event:
        """Interim text of a segment, then its final text under the same id."""
        self._segment = segment or self._segment or self._id("segment")
        text = text or self._random.choice(_SAID)
        said = TranscriptSegment(
            event_id=self._id("said"),
            lead_id=self.id,
            provider="twilio",
            provider_type="transcription-content",
            call_id=self._call_id,
            segment_id=self._segment,
            status=SegmentStatus(status),
            text=text if status == "FINAL" else text[: self._random.randint(8, len(text))],
            speaker=speaker,
            track=Track.INBOUND if speaker is Speaker.LEAD else Track.OUTBOUND,
            language="en-US",
            sequence=self._count,
            confidence=0.93 if status == "FINAL" else None,
            confidence_kind=ConfidenceKind.ASR if status == "FINAL" else ConfidenceKind.NONE,
            occurred_at=at,
            received_at=at,
        )
        if status == "FINAL":
            self._segment = ""
        return self._event(said)

    def _signal(self, at: TimeUs, kind: str, evidence: str) -> Event:
        return self._event(
            Signal(
                event_id=self._id("signal"),
                lead_id=self.id,
                conversation_id=self._conversation,
                type=SignalType(kind),
                subject="price" if "OBJECTION" in kind else "",
                confidence=0.94,
                detector="detector/3",
                evidence=(evidence,),
                received_at=at,
            )
        )

    def _claims(self, at: TimeUs) -> Event:
        """Mostly what is known already; one turn in four an objection, and in the next turn its end."""
        if self._objects:
            self._objects = False
            return self._signal(at, "OBJECTION_RESOLVED", f"{self.id}-opening-0")
        if self._random.random() < 0.25:
            self._objects = True
            return self._signal(at, "OBJECTION_RAISED", f"{self.id}-opening-0")
        return self._signal(at, self._random.choice(_INTENTS), f"{self.id}-opening-0")

    def _asks(self, at: TimeUs) -> Event:
        """Proposals as four agents make them: most are permitted, some wait, some are refused."""
        (ask,) = self._random.choices(_ASKS, weights=_WEIGHTS)
        return self._event(
            AgentRequest(
                request_id=RequestId(self._id("request")),
                lead_id=self.id,
                conversation_id=self._conversation,
                agent_id=AgentId(f"{ask['role']}-1"),
                channel=Channel.BACKEND if ask["action"] == "update_crm" else Channel.VOICE,
                requested_at=at,
                **ask,
            )
        )


_ASKS: tuple[dict[str, Any], ...] = (
    {"role": "closing", "action": "discuss_price", "parameters": {"quote": "q-1187", "price_minor": 1_240_000}},
    {
        "role": "closing",
        "action": "update_crm",
        "tool": "crm",
        "crm_fields": {"deal_status": "negotiation", "quoted_price": "12400.00"},
    },
    {"role": "qualification", "action": "probe_scope"},
    {"role": "closing", "action": "offer_discount", "parameters": {"discount_bp": 800}},
    {"role": "closing", "action": "capture_commitment", "parameters": {"price_minor": 1_240_000}},
)
_WEIGHTS = (40, 25, 15, 10, 10)


class Traffic:
    """All leads of a run, interleaved."""

    def __init__(self, prefix: str, leads: int, seed: int = 1) -> None:
        zone = noon_zone(datetime.now(UTC))
        self._random = random.Random(seed)
        names = [LeadId(f"{prefix}-{number}") for number in range(leads)]
        self.leads = {name: Lead(name, seed, zone) for name in names}
        self._order: list[Lead] = []
        for number, lead in enumerate(self.leads.values()):
            lead.skip(number)

    def next(self, at: TimeUs) -> Event:
        """One more event; every lead comes once in each round, in a new order."""
        if not self._order:
            self._order = self._random.sample(list(self.leads.values()), len(self.leads))
        return self._order.pop().next(at)

    def opening(self) -> Iterator[Callable[[TimeUs], Event]]:
        """The openings of all leads, step by step side by side; each ends with a request."""
        openings = [lead.opening() for lead in self.leads.values()]
        for step in zip(*openings, strict=True):
            yield from step


def noon_zone(now: datetime) -> str:
    """A zone in which it is about noon, so that no run is judged by the hour at which it is made."""
    behind = (now.hour - 12) % 24
    return f"Etc/GMT+{behind}" if behind <= 12 else f"Etc/GMT-{24 - behind}"
