"""From moves to records, and the scenes: what usually comes together, so that chance gets far enough."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Protocol

from msgspec import structs

from processors.policy import Bundle
from processors.policy.acting import Person, RegisteredAgent
from processors.policy.bundle import CutOff
from processors.scenarios import people
from schemas.records import (
    AgentOutcome,
    AgentRequest,
    AgentSignature,
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
    MessageEvent,
    MessageEventType,
    OutcomeResult,
    PolicyActivation,
    Record,
    SegmentStatus,
    Signal,
    SignalType,
    Speaker,
    Tick,
    TranscriptSegment,
    Verdict,
)
from tests.core.simulation.moves import CONVERSATIONS, NOW, POLICIES, Move
from tests.core.story import DISCLOSURE, SECOND, activation, default_bundle


class Scene(Protocol):
    """What a body is made from: ids, time, and what came out so far."""

    now: int

    def conversation(self, lead: str, name: str) -> str:
        """Full name of a conversation of a lead."""

    def new_conversation(self, lead: str) -> str:
        """The lead's next conversation, which `now` means from here on."""

    def fresh(self, kind: str) -> str:
        """An id that was not used before."""

    def decisions(self, lead: str, verdict: Verdict) -> list[Decision]:
        """Decisions on a lead, the newest first."""

    def cases(self, lead: str) -> list[str]:
        """Ids of the lead's cases, the newest first."""

    def overrides(self, lead: str) -> list[str]:
        """Ids of the overrides asked for, the newest first."""


REGISTERED = ("booking-2", "qualification-2", "closing-2")
"""Agents that are heard only with their own signature."""


@cache
def bundle() -> Bundle:
    """The bundle that ships, with one who may override, agents that must sign, and hours that chance gets through."""
    shipped = default_bundle()
    contact = shipped.contact.model_copy(update={"min_gap_s": 1, "retries": {}})
    everywhere = {
        name: row.model_copy(update={"max_attempts": 60}) for name, row in shipped.contact.jurisdictions.items()
    }
    person = Person(role="supervisor", public_key=people.public_key(), may_override=("*",))
    return shipped.model_copy(
        update={
            "version": "simulation",
            "people": {"ann": person},
            "agents": {
                name: RegisteredAgent(
                    roles=(name.partition("-")[0],), public_keys={"k1": people.public_key(f"{name}/k1")}
                )
                for name in REGISTERED
            },
            "contact": contact.model_copy(update={"jurisdictions": everywhere}),
        }
    )


@cache
def policy(number: int, forged: bool = False) -> PolicyActivation:
    """Activations of rising revision: the bundle, stricter ones, ones that cut off."""
    base = bundle()
    changes: dict[str, Any] = {"version": f"simulation-{number}"}
    if number == 2:
        changes["cut_off"] = CutOff(agents=("closing-2",), roles=("transfer",))
    elif number == 3:
        changes["cut_off"] = CutOff(policies=(policy(0).digest, policy(1).digest))
    elif number == 4:
        changes["signals"] = base.signals.model_copy(update={"max_delay_s": 2, "valid_for_s": {"readiness": 60}})
    found = activation(base.model_copy(update=changes), revision=number + 1)
    assert 0 <= number < POLICIES
    if forged:
        wrong = tuple(structs.replace(s, signature=bytes(64)) for s in found.signatures)
        found = structs.replace(found, activation_id=f"{found.activation_id}-forged", signatures=wrong)
    return found


def body_of(scene: Scene, lead: str, move: Move) -> Record | None:
    """The record that a move stands for; None when there is nothing that it could be about."""
    maker = _MAKERS[move.word]
    return maker(scene, lead, move.given)


def _call(scene: Scene, lead: str, given: dict[str, Any]) -> Record:
    return call(
        scene, lead, given["type"], given["conversation"], speaker=Speaker(given["speaker"]),
        answered_by=AnsweredBy(given["answered_by"]), cause=CallEndCause(given["cause"]), sequence=given["sequence"],
        agent_id=given["agent"], duration_ms=20_000,
    )  # fmt: skip


def call(scene: Scene, lead: str, kind: str, conversation: str, **fields: Any) -> CallEvent:
    name = scene.conversation(lead, conversation)
    return CallEvent(
        event_id=scene.fresh("call"), lead_id=lead, conversation_id=name, provider="p", call_id=name,
        type=CallEventType(kind), received_at=scene.now, **fields,
    )  # fmt: skip


def _says(scene: Scene, lead: str, given: dict[str, Any]) -> Record:
    return says(
        scene, lead, given["text"], given["conversation"], given["segment"], status=given["status"],
        speaker=Speaker(given["speaker"]), confidence=given["confidence"],
    )  # fmt: skip


def says(
    scene: Scene, lead: str, text: str, conversation: str, segment: str, *, status: str = "FINAL",
    speaker: Speaker = Speaker.LEAD, confidence: float | None = 0.95,
) -> TranscriptSegment:  # fmt: skip
    name = scene.conversation(lead, conversation)
    return TranscriptSegment(
        event_id=scene.fresh("words"), lead_id=lead, conversation_id=name, provider="p", call_id=name,
        segment_id=f"{name}-{segment}", status=SegmentStatus(status), text=text, speaker=speaker,
        confidence=confidence, received_at=scene.now,
    )  # fmt: skip


def _message(scene: Scene, lead: str, given: dict[str, Any]) -> Record:
    return MessageEvent(
        event_id=scene.fresh("message"), lead_id=lead, conversation_id=f"{lead}-{given['conversation']}", provider="p",
        message_id=scene.fresh("text"), channel=Channel(given["channel"]), type=MessageEventType(given["type"]),
        text=given["text"], received_at=scene.now,
    )  # fmt: skip


def _signal(scene: Scene, lead: str, given: dict[str, Any]) -> Record:
    conversation, occurred = given["conversation"], given["occurred_s"]
    return signal(
        scene, lead, given["type"], conversation, *given["evidence"], confidence=given["confidence"],
        subject=given["subject"], denies=given["denies"],
        occurred_at=None if occurred is None else scene.now + occurred * SECOND,
    )  # fmt: skip


def signal(
    scene: Scene, lead: str, kind: str, conversation: str, *segments: str, confidence: float = 0.95, **fields: Any
) -> Signal:
    name = scene.conversation(lead, conversation)
    return Signal(
        event_id=scene.fresh("signal"), lead_id=lead, conversation_id=name, type=SignalType(kind),
        confidence=confidence, detector="test/1", evidence=tuple(f"{name}-{segment}" for segment in segments),
        received_at=scene.now, **fields,
    )  # fmt: skip


def _crm(scene: Scene, lead: str, given: dict[str, Any]) -> Record:
    until = given["until_s"]
    return CrmEvent(
        event_id=scene.fresh("crm"), lead_id=lead, type=CrmEventType(given["type"]), external_id=f"crm-{lead}",
        time_zones=tuple(given["zones"]), jurisdictions=tuple(given["jurisdictions"]), status="open",
        consent=Consent(channel=Channel(given["channel"]), type=ConsentType.EXPRESS_WRITTEN), scope=given["scope"],
        until=None if until is None else scene.now + until * SECOND, received_at=scene.now,
    )  # fmt: skip


def _ask(scene: Scene, lead: str, given: dict[str, Any]) -> Record:
    deadline = given.get("deadline_s")
    return ask(
        scene, lead, given["role"], given["action"], agent=given["agent"],
        conversation=None if given["action"] == "initiate_contact" else given["conversation"],
        channel=Channel(given["channel"]), text=given.get("text"), prompt_scope=given.get("prompt_scope"),
        tool=given.get("tool"), max_tokens=given.get("max_tokens"),
        requested_at=scene.now + given.get("asked_s", 0) * SECOND,
        deadline=None if deadline is None else scene.now + deadline * SECOND,
        parameters={"discount_bp": given["discount_bp"], "price_minor": given["price_minor"]},
        crm_fields={given["crm_field"]: "x"} if given["action"] == "update_crm" else {},
    )  # fmt: skip


def ask(
    scene: Scene, lead: str, role: str, action: str, *, agent: str, conversation: str | None, **fields: Any
) -> AgentRequest:
    fields.setdefault("requested_at", scene.now)
    fields.setdefault("channel", Channel.VOICE)
    request_id = scene.fresh("request")
    made = AgentRequest(
        request_id=request_id, lead_id=lead, agent_id=agent, role=role, action=action,
        conversation_id=scene.conversation(lead, conversation) if conversation else None, **fields,
    )  # fmt: skip
    return structs.replace(made, signature=_signature(made, request_id))


def _signature(record: AgentRequest | AgentOutcome, own_id: str) -> AgentSignature | None:
    """An agent that must sign does, but for a few records that are not by it."""
    if record.agent_id not in REGISTERED or own_id.endswith("0"):
        return None
    by = "mallory" if own_id.endswith("5") else record.agent_id
    return people.signed_by_agent(record, f"{by}/k1").signature


def _outcome(scene: Scene, lead: str, given: dict[str, Any]) -> Record | None:
    verdict = Verdict.PERMIT if given["kind"] == "permit" else Verdict.DEFER
    found = scene.decisions(lead, verdict)[given["of"] :]
    return outcome(scene, found[0], given["result"], given["fulfils"], given["by"]) if found else None


def outcome(
    scene: Scene, of: Decision, result: str, fulfils: bool = True, by: str | None = None, where: str | None = None
) -> AgentOutcome:
    outcome_id = scene.fresh("outcome")
    made = AgentOutcome(
        outcome_id=outcome_id, lead_id=of.lead_id, conversation_id=where or of.conversation_id,
        agent_id=by or of.agent_id, request_id=of.request_id, grant_id=of.grant_id or "none",
        result=OutcomeResult(result), fulfilled=of.obligations if fulfils else (), occurred_at=scene.now,
    )  # fmt: skip
    return structs.replace(made, signature=_signature(made, outcome_id))


def _human(scene: Scene, lead: str, given: dict[str, Any]) -> Record:
    refused = [*scene.decisions(lead, Verdict.DEFER), *scene.decisions(lead, Verdict.BLOCK)][given["of"] :]
    since, until = (None if s is None else scene.now + s * SECOND for s in (given["since_s"], given["until_s"]))
    found = HumanIntervention(
        intervention_id=scene.fresh("human"), lead_id=lead, type=InterventionType(given["type"]),
        author=given["author"], author_role="supervisor", reason=given["reason"], occurred_at=scene.now,
        case_id=next(iter(scene.cases(lead)[given["of"] :]), None), effects=tuple(given["effects"]), since=since,
        until=until, request_id=refused[0].request_id if refused else "none",
        override_id=next(iter(scene.overrides(lead)[given["of"] :]), None),
    )  # fmt: skip
    return people.signed(found) if given["signed"] else found


def _policy(scene: Scene, lead: str, given: dict[str, Any]) -> Record:
    return policy(given["number"], given["forged"])


def _tick(scene: Scene, lead: str, given: dict[str, Any]) -> Record:
    return Tick(tick_id=scene.fresh("tick"), at=scene.now)


_MAKERS: dict[str, Callable[[Scene, str, dict[str, Any]], Record | None]] = {
    "call": _call, "says": _says, "message": _message, "signal": _signal, "crm": _crm, "ask": _ask,
    "outcome": _outcome, "human": _human, "policy": _policy, "tick": _tick,
}  # fmt: skip


# --- scenes
_SAID = (
    ("timing", "TIMING_ACCEPTANCE"), ("scope", "SCOPE_CONFIRMED"), ("ready", "READINESS"),
    ("commit", "LANGUAGE_COMMITMENT"),
)  # fmt: skip


def scene_of(scene: Scene, lead: str, name: str) -> Iterator[Record]:
    """The records of a scene, each made after the one before was told."""
    if name == "known":
        yield from _known(scene, lead)
    if name in ("answered", "closing", "override"):
        yield from _answered(scene, lead)
    if name in ("ready", "closing", "override"):
        for segment, kind in _SAID:
            yield says(scene, lead, f"words for {kind.lower()}", NOW, segment)
            yield signal(scene, lead, kind, NOW, segment)

    if name == "override":
        yield from _override(scene, lead)


def _override(scene: Scene, lead: str) -> Iterator[Record]:
    """A price above authority is refused, a person lets it pass, and the agent asks again."""
    request = ask(
        scene, lead, "closing", "capture_commitment", agent="closing-1", conversation=NOW,
        parameters={"price_minor": 10**9},
    )  # fmt: skip
    yield request
    yield people.signed(
        HumanIntervention(
            intervention_id=scene.fresh("human"), lead_id=lead, type=InterventionType.OVERRIDE, author="ann",
            author_role="supervisor", reason="because", request_id=request.request_id, occurred_at=scene.now,
        )
    )  # fmt: skip
    yield structs.replace(request, request_id=scene.fresh("request"), requested_at=scene.now)


def _known(scene: Scene, lead: str) -> Iterator[Record]:
    fields: dict[str, Any] = {
        "external_id": f"crm-{lead}",
        "time_zones": ("America/New_York",),
        "jurisdictions": ("US",),
    }
    kind, event_id = CrmEventType.LEAD_UPSERTED, scene.fresh("crm")
    yield CrmEvent(event_id=event_id, lead_id=lead, type=kind, received_at=scene.now, **fields)
    for channel in (Channel.VOICE, Channel.SMS):
        consent = Consent(channel=channel, type=ConsentType.EXPRESS_WRITTEN)
        yield CrmEvent(
            event_id=scene.fresh("crm"), lead_id=lead, type=CrmEventType.CONSENT_RECORDED, consent=consent,
            received_at=scene.now,
        )  # fmt: skip


def _answered(scene: Scene, lead: str) -> Iterator[Record]:
    for conversation in dict.fromkeys(CONVERSATIONS):
        yield call(scene, lead, "CALL_ENDED", conversation, cause=CallEndCause.COMPLETED)
    request = ask(scene, lead, "booking", "initiate_contact", agent="booking-1", conversation=None)
    yield request
    where = scene.new_conversation(lead)
    for kind in ("CALL_INITIATED", "CALL_ANSWERED"):
        yield call(scene, lead, kind, NOW)
    yield call(scene, lead, "MACHINE_DETECTED", NOW, answered_by=AnsweredBy.HUMAN)
    yield says(scene, lead, DISCLOSURE, NOW, "disclosure", speaker=Speaker.AGENT)
    permits = [d for d in scene.decisions(lead, Verdict.PERMIT)[:3] if d.request_id == request.request_id]
    if permits:
        yield outcome(scene, permits[0], "DONE", where=where)
    yield says(scene, lead, "hello", NOW, "hello")
    yield call(scene, lead, "AGENT_DISENGAGED", NOW)
