"""What agents may say right now: the stage of a lead and the speech mode of each live conversation.

Both are derived from the facts within the entry that changes them. A mode restrains; no mode permits an action.
"""

from typing import get_args

from processors.draft import Draft
from processors.facts import scoped
from processors.policy import ActionKind
from schemas.records import Channel, ConversationId, DirectiveType, Fact, ReasonCode, SpeechMode

KINDS: tuple[str, ...] = get_args(ActionKind)
_WIDTH = tuple(SpeechMode)
"""Modes from the widest to the narrowest, as the schema lists them."""


_INPUTS = (
    "stage", "do_not_contact", "paused", "case.", "objection.open", "conversation.phase/", "conversation.live",
    "conversation.hold/", "conversation.transfer/", "conversation.disengaged/", "execution.locked/",
)  # fmt: skip
"""Facts that stage and speech mode follow, beside those that earn a stage."""


def derive(draft: Draft) -> None:
    """Brings stage and speech modes up to date, when a fact that they follow changed, or the policy did."""
    if draft.law is not None and draft.get("revision") != draft.law.revision:
        draft.put("revision", draft.law.revision)
    elif not any(name.startswith(_INPUTS) or _earns(draft, name) for name in draft.dirty):
        return
    _derive_stage(draft)
    _derive_speech_modes(draft)


def _earns(draft: Draft, name: str) -> bool:
    return draft.law is not None and name in draft.law.stage_facts


def _derive_stage(draft: Draft) -> None:
    """The furthest stage that the facts carry, all earlier ones being carried too."""
    if draft.law is None:
        return
    stages = draft.law.bundle.stages
    reached = stages[0].name
    for stage in stages[1:]:
        if not all(_holds(draft.facts.get(c.fact), c.values) for c in stage.earned_by):
            break
        reached = stage.name
    if reached != stages[0].name or "stage" in draft.facts:
        draft.set_fact("stage", reached)


def _holds(fact: Fact | None, values: tuple[str, ...]) -> bool:
    return fact is not None and fact.final and fact.value in values


def _derive_speech_modes(draft: Draft) -> None:
    """Sets the mode of every conversation that is live or just ended, and tells the agents when it changed."""
    for conversation in draft.get("conversations"):
        conversation_id = conversation.conversation_id
        mode = _mode(draft, conversation_id, conversation.channel)
        _bar_kinds(draft, conversation_id, mode)
        if draft.value("speech_mode", conversation_id) != mode:
            had_none = not draft.value("speech_mode", conversation_id)
            draft.set_fact("speech_mode", mode, conversation_id=conversation_id)
            if had_none and mode is SpeechMode.SILENT:
                continue
            draft.direct(
                DirectiveType.SPEECH_MODE, _why(draft, mode, conversation_id), f"Speech mode is now {mode}.",
                conversation_id=conversation_id, speech_mode=mode,
                max_tokens=draft.law.mode(mode).max_tokens if draft.law else 0,
            )  # fmt: skip


def _bar_kinds(draft: Draft, conversation_id: ConversationId, mode: SpeechMode) -> None:
    """Facts `barred.<kind>` say what the mode of an answered conversation leaves no room for.

    A grant rests on the fact of its own kind, so that a change of mode revokes just what it bars.
    """
    is_answered = draft.value("conversation.phase", conversation_id) == "answered"
    allowed = draft.law.mode(mode).kinds if draft.law and is_answered else KINDS
    for kind in KINDS:
        if kind in allowed:
            draft.drop_fact(f"barred.{kind}", conversation_id)
        else:
            draft.set_fact(f"barred.{kind}", mode, conversation_id=conversation_id)


def speech_mode_of(draft: Draft, conversation_id: ConversationId | None) -> SpeechMode:
    """Mode of a conversation as it stands; SILENT when there is no such conversation."""
    conversation = draft.conversation(conversation_id)
    return _mode(draft, conversation.conversation_id, conversation.channel) if conversation else SpeechMode.SILENT


def _mode(draft: Draft, conversation_id: ConversationId, channel: Channel) -> SpeechMode:
    phase = draft.value("conversation.phase", conversation_id)
    silenced = draft.value("do_not_contact") or draft.value("paused")
    if phase != "answered" or silenced or draft.value("conversation.hold", conversation_id):
        return SpeechMode.SILENT
    if draft.value("conversation.transfer", conversation_id) == "started":
        return SpeechMode.TRANSFER_ONLY
    modes = [draft.law.mode_of_case(case.cause) for case in draft.get("cases")] if draft.law else []
    if any(draft.value(name, conversation_id) for name in _NEUTRAL) or _is_second_call(draft, conversation_id, channel):
        modes.append(SpeechMode.NEUTRAL_HOLDING)
    is_last_stage = draft.law is not None and draft.law.is_last_stage(draft.value("stage"))
    if not is_last_stage or draft.value("objection.open"):
        modes.append(SpeechMode.NO_COMMITMENT)
    return max(modes, key=_WIDTH.index, default=SpeechMode.OPEN)


_NEUTRAL = ("conversation.disengaged", "execution.locked")


def _is_second_call(draft: Draft, conversation_id: ConversationId, channel: Channel) -> bool:
    """Another call with the lead is in progress and came first."""
    return channel is Channel.VOICE and draft.value("conversation.live") not in ("", conversation_id)


def _why(draft: Draft, mode: SpeechMode, conversation_id: ConversationId) -> ReasonCode:
    if draft.value("do_not_contact"):
        return ReasonCode.OPT_OUT
    if draft.value("paused"):
        return ReasonCode.PAUSED_BY_HUMAN
    if mode is SpeechMode.NEUTRAL_HOLDING and draft.value("execution.locked", conversation_id):
        return ReasonCode.EXECUTION_LOCKED
    if mode is SpeechMode.NEUTRAL_HOLDING and draft.get("cases"):
        return ReasonCode.CASE_OPEN
    if mode is SpeechMode.NO_COMMITMENT and draft.value("objection.open"):
        return ReasonCode.OBJECTION_OPEN
    return ReasonCode.CALL_NOT_LIVE if mode is SpeechMode.SILENT else ReasonCode.FACT_CHANGED


# --- obligations
def obligation_reported(draft: Draft, obligation: str, conversation_id: ConversationId | None) -> None:
    """An agent reports that it met an obligation."""
    name = f"obligation.{obligation}"
    known = draft.value(name, conversation_id)
    if known != "fulfilled":
        enough = _shown_by(draft, obligation) == "report" or known == "heard"
        heard = draft.facts.get(scoped(name, conversation_id))
        draft.set_fact(
            name, "fulfilled" if enough else "reported", conversation_id=conversation_id,
            evidence=heard.evidence if heard else (),
        )  # fmt: skip


def obligation_heard(draft: Draft, obligation: str, conversation_id: ConversationId, segment_id: str) -> None:
    """An agent's final words meet an obligation."""
    name = f"obligation.{obligation}"
    known = draft.value(name, conversation_id)
    if known != "fulfilled":
        enough = _shown_by(draft, obligation) == "transcript" or known == "reported"
        value = "fulfilled" if enough else "heard"
        draft.set_fact(name, value, conversation_id=conversation_id, evidence=(segment_id,))


def _shown_by(draft: Draft, obligation: str) -> str:
    row = draft.law.bundle.obligations.get(obligation) if draft.law else None
    return row.shown_by if row else "report"
