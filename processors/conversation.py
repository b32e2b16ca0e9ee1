"""Call and message events: what they do to a conversation's phase, turn and timing.

Phases go forward only: initiated, ringing, answered, ended; ended is never left. An event may come first or twice
or late: each has one outcome, and none needs an event before it.
"""

from collections.abc import Callable

from processors import grants, requests, sequence
from processors.draft import Draft
from processors.lead import MAX_LEGS, SECOND
from schemas.records import (
    AnsweredBy,
    Attempt,
    CallEvent,
    CallEventType,
    Channel,
    Conversation,
    ConversationId,
    DirectiveType,
    ReasonCode,
    Speaker,
)

PHASES = ("", "initiated", "ringing", "answered", "ended")


def on_call_event(draft: Draft, event: CallEvent) -> None:
    """Folds one call event."""
    conversation = _touch(draft, event)
    if conversation.ended_at is not None:
        return  # Late events of an ended call change nothing; the journal keeps them.
    is_overtaken = sequence.follow(draft, event, conversation.conversation_id)
    handler = _HANDLERS.get(event.type)
    if handler is not None and not (is_overtaken and event.type in _SWITCHES):
        handler(draft, event, conversation)


def _touch(draft: Draft, event: CallEvent) -> Conversation:
    """The event's conversation, made on its first event whatever that is, with its clock moved on."""
    conversation_id = ConversationId(event.conversation_id or f"{event.provider}:{event.call_id}")
    known = draft.conversation(conversation_id)
    if known is None:
        known = Conversation(
            conversation_id=conversation_id, channel=Channel.VOICE, provider=event.provider, agent_id=event.agent_id,
            started_at=draft.now, last_activity_at=draft.now, barge_ins=0,
        )  # fmt: skip
        draft.add("conversations", known)
        draft.set_fact("conversation.channel", Channel.VOICE, conversation_id=conversation_id)
        count_attempt(draft, conversation_id, Channel.VOICE)
        _go_live(draft, event, conversation_id)
    elif known.ended_at is None:
        draft.update_conversation(conversation_id, last_activity_at=draft.now)
    _note_leg(draft, event, conversation_id)
    return draft.conversation(conversation_id) or known


def _go_live(draft: Draft, event: CallEvent, conversation_id: ConversationId) -> None:
    """The call is the lead's live one; a second call beside it is held until the first is over."""
    if not draft.value("conversation.live"):
        draft.set_fact("conversation.live", conversation_id)
        return
    draft.direct(
        DirectiveType.HOLD, ReasonCode.CALL_IN_PROGRESS, "Another call with this lead is in progress: hold or end.",
        conversation_id=conversation_id, agent_id=event.agent_id,
    )  # fmt: skip


def _note_leg(draft: Draft, event: CallEvent, conversation_id: ConversationId) -> None:
    conversation = draft.conversation(conversation_id)
    if conversation is None or conversation.ended_at is not None or not event.leg_id:
        return
    if event.leg_id not in conversation.legs and len(conversation.legs) < MAX_LEGS:
        draft.update_conversation(conversation_id, legs=(*conversation.legs, event.leg_id))


def count_attempt(draft: Draft, conversation_id: ConversationId, channel: Channel) -> None:
    """Counts a contact attempt and uses up the grant to make it."""
    grants.use_shown(draft, "contact", channel, conversation_id)
    attempt = Attempt(conversation_id=conversation_id, channel=channel, at=draft.now, outcome="initiated")
    draft.add("attempts", attempt)
    draft.set_fact("contact.last_at", str(draft.now))
    draft.set_fact("contact.attempts", str(int(draft.value("contact.attempts") or 0) + 1))


def advance(draft: Draft, conversation: Conversation, phase: str) -> None:
    conversation_id = conversation.conversation_id
    if PHASES.index(phase) > PHASES.index(draft.value("conversation.phase", conversation_id)):
        draft.set_fact("conversation.phase", phase, conversation_id=conversation_id)


def _initiated(draft: Draft, event: CallEvent, conversation: Conversation) -> None:
    advance(draft, conversation, "initiated")
    if event.agent_id and not conversation.agent_id:
        draft.update_conversation(conversation.conversation_id, agent_id=event.agent_id)


def _ringing(draft: Draft, event: CallEvent, conversation: Conversation) -> None:
    advance(draft, conversation, "ringing")


def _answered(draft: Draft, event: CallEvent, conversation: Conversation) -> None:
    advance(draft, conversation, "answered")
    if conversation.answered_at is None:
        draft.update_conversation(conversation.conversation_id, answered_at=draft.now)
        _outcome(draft, conversation, "answered")


def _machine(draft: Draft, event: CallEvent, conversation: Conversation) -> None:
    found = event.answered_by or AnsweredBy.UNKNOWN
    # An unknown result never overwrites a known one, and is neither human nor machine.
    if found is not AnsweredBy.UNKNOWN or not draft.value("conversation.answered_by", conversation.conversation_id):
        draft.set_fact("conversation.answered_by", found, conversation_id=conversation.conversation_id)
    if found in (AnsweredBy.MACHINE, AnsweredBy.FAX):
        draft.set_fact("conversation.voicemail", "yes", conversation_id=conversation.conversation_id)
        _unreach(draft, conversation.conversation_id)


def _unreach(draft: Draft, conversation_id: ConversationId) -> None:
    """What was taken for the lead's words was a machine's greeting."""
    reached = draft.facts.get("contact.reached")
    words = {s.segment_id for s in draft.get("segments") if s.conversation_id == conversation_id}
    if reached is not None and words.intersection(reached.evidence):
        draft.drop_fact("contact.reached")


def _speech_started(draft: Draft, event: CallEvent, conversation: Conversation) -> None:
    _speaks(draft, conversation, event.speaker)
    _release(draft, conversation.conversation_id, "conversation.silence")


def _speaks(draft: Draft, conversation: Conversation, speaker: Speaker) -> None:
    """A turn begins when another than the last speaker starts to speak."""
    conversation_id = conversation.conversation_id
    if draft.value("conversation.speaker", conversation_id) != speaker:
        draft.update_conversation(conversation_id, turn=conversation.turn + 1)
    draft.set_fact("conversation.speaker", speaker, conversation_id=conversation_id)


def _speech_stopped(draft: Draft, event: CallEvent, conversation: Conversation) -> None:
    # A stop of somebody who is not the one speaking says nothing about the turn.
    if draft.value("conversation.speaker", conversation.conversation_id) == event.speaker:
        draft.drop_fact("conversation.speaker", conversation.conversation_id)
    if event.speaker is not Speaker.LEAD:
        _turn_over(draft, conversation.conversation_id)
    if event.speaker is Speaker.LEAD:
        _release(draft, conversation.conversation_id, "conversation.barged_in")


def _turn_over(draft: Draft, conversation_id: ConversationId) -> None:
    """The agent who gave the lead up is silent."""
    draft.drop_fact("conversation.outgoing", conversation_id)
    draft.drop_fact("conversation.awaited", conversation_id)


def _release(draft: Draft, conversation_id: ConversationId, fact: str) -> None:
    """Takes back the order that a barge-in or a silence gave."""
    if draft.value(fact, conversation_id):
        draft.drop_fact(fact, conversation_id)
        draft.direct(
            DirectiveType.RELEASE, ReasonCode.FACT_CHANGED, "Go on.", conversation_id=conversation_id
        )  # fmt: skip


def _barge_in(draft: Draft, event: CallEvent, conversation: Conversation) -> None:
    conversation_id = conversation.conversation_id
    draft.update_conversation(conversation_id, barge_ins=conversation.barge_ins + 1)
    _speaks(draft, conversation, Speaker.LEAD)
    _turn_over(draft, conversation_id)
    draft.set_fact("conversation.barged_in", "yes", conversation_id=conversation_id)
    draft.drop_fact("conversation.silence", conversation_id)
    draft.direct(
        DirectiveType.HOLD, ReasonCode.LEAD_SPEAKING, "The lead cut in: stop speaking and listen.",
        conversation_id=conversation_id,
    )  # fmt: skip


def _silence(draft: Draft, event: CallEvent, conversation: Conversation) -> None:
    limit = draft.law.bundle.limits.silence_s * 1000 if draft.law else 0
    if (event.duration_ms or 0) < limit or draft.value("conversation.silence", conversation.conversation_id):
        return
    draft.set_fact("conversation.silence", "yes", conversation_id=conversation.conversation_id)
    draft.drop_fact("conversation.speaker", conversation.conversation_id)
    release_floor(draft)
    _turn_over(draft, conversation.conversation_id)
    draft.direct(
        DirectiveType.PAUSE, ReasonCode.CALL_NOT_LIVE, "The line is silent: check that the lead is still there.",
        conversation_id=conversation.conversation_id,
    )  # fmt: skip


def _hold(draft: Draft, event: CallEvent, conversation: Conversation) -> None:
    draft.set_fact("conversation.hold", "yes", conversation_id=conversation.conversation_id)


def _unhold(draft: Draft, event: CallEvent, conversation: Conversation) -> None:
    draft.drop_fact("conversation.hold", conversation.conversation_id)


def _transfer(state: str) -> Callable[[Draft, CallEvent, Conversation], None]:
    def handle(draft: Draft, event: CallEvent, conversation: Conversation) -> None:
        draft.set_fact("conversation.transfer", state, conversation_id=conversation.conversation_id)
        if state == "completed":
            release_floor(draft)

    return handle


def _agent_left(draft: Draft, event: CallEvent, conversation: Conversation) -> None:
    if not event.agent_id or draft.value("floor") == event.agent_id:
        release_floor(draft)


def _buyer_left(draft: Draft, event: CallEvent, conversation: Conversation) -> None:
    draft.set_fact("conversation.disengaged", "yes", conversation_id=conversation.conversation_id)


def _ended(draft: Draft, event: CallEvent, conversation: Conversation) -> None:
    outcomes = {CallEventType.CALL_TIMEOUT: "timeout", CallEventType.CALL_DROPPED: "dropped"}
    outcome = outcomes.get(event.type) or (event.cause.lower() if event.cause else "ended")
    end_conversation(draft, conversation, outcome)


def end_conversation(draft: Draft, conversation: Conversation, outcome: str) -> None:
    """Ends a conversation for good: nobody speaks, the floor is free, waiting requests about it end."""
    conversation_id = conversation.conversation_id
    grants.use_shown(draft, "conversation_end", conversation.channel, conversation_id)
    advance(draft, conversation, "ended")
    draft.update_conversation(conversation_id, ended_at=draft.now)
    _outcome(draft, conversation, outcome)
    live = [c for c in draft.get("conversations") if c.ended_at is None and c.channel is Channel.VOICE]
    if not live:
        draft.drop_fact("conversation.live")
        release_floor(draft)
    elif draft.value("conversation.live") == conversation_id:
        # The next call may go on now, with whatever agent is in it.
        release_floor(draft)
        draft.set_fact("conversation.live", live[0].conversation_id)
    for name in _PASSING:
        draft.drop_fact(name, conversation_id)
    for deferral in draft.get("deferrals"):
        if deferral.request.conversation_id == conversation_id:
            requests.end_for_conversation(draft, deferral)


def _outcome(draft: Draft, conversation: Conversation, outcome: str) -> None:
    attempts = tuple(
        Attempt(conversation_id=a.conversation_id, channel=a.channel, at=a.at, outcome=outcome)
        if a.conversation_id == conversation.conversation_id
        else a
        for a in draft.get("attempts")
    )
    draft.put("attempts", attempts)


def release_floor(draft: Draft) -> None:
    """Nobody has the lead now. Who gave it up and still speaks must end before another begins."""
    floor = draft.get("floor")
    if floor is None:
        return
    live = draft.value("conversation.live")
    if live and draft.value("conversation.speaker", ConversationId(live)) == Speaker.AGENT:
        # Bounded, for a provider that never says that speech stopped.
        handover_s = draft.law.bundle.limits.handover_s if draft.law else 0
        draft.set_fact(
            "conversation.outgoing", floor.agent_id, conversation_id=ConversationId(live),
            until=draft.now + handover_s * SECOND,
        )  # fmt: skip
    draft.put("floor", None)
    draft.drop_fact("floor")


_PASSING = (
    "conversation.speaker", "conversation.silence", "conversation.barged_in", "conversation.hold",
    "conversation.transfer", "conversation.disengaged", "conversation.outgoing", "conversation.awaited",
    "conversation.gap", "conversation.stop_phrase", "execution.locked",
)  # fmt: skip
"""Facts that end with their conversation."""

_SWITCHES = frozenset(
    {
        CallEventType.SPEECH_STARTED, CallEventType.SPEECH_STOPPED, CallEventType.BARGE_IN, CallEventType.SILENCE,
        CallEventType.HOLD, CallEventType.UNHOLD, CallEventType.TRANSFER_STARTED, CallEventType.TRANSFER_FAILED,
    }
)  # fmt: skip
"""Events that a later one of the same provider undoes: one that was overtaken says nothing any more."""


_HANDLERS: dict[CallEventType, Callable[[Draft, CallEvent, Conversation], None]] = {
    CallEventType.CALL_INITIATED: _initiated,
    CallEventType.CALL_RINGING: _ringing,
    CallEventType.CALL_ANSWERED: _answered,
    CallEventType.MACHINE_DETECTED: _machine,
    CallEventType.SPEECH_STARTED: _speech_started,
    CallEventType.SPEECH_STOPPED: _speech_stopped,
    CallEventType.BARGE_IN: _barge_in,
    CallEventType.SILENCE: _silence,
    CallEventType.HOLD: _hold,
    CallEventType.UNHOLD: _unhold,
    CallEventType.TRANSFER_STARTED: _transfer("started"),
    CallEventType.TRANSFER_COMPLETED: _transfer("completed"),
    CallEventType.TRANSFER_FAILED: _transfer("failed"),
    CallEventType.CALL_TIMEOUT: _ended,
    CallEventType.CALL_DROPPED: _ended,
    CallEventType.CALL_ENDED: _ended,
    CallEventType.AGENT_DISENGAGED: _agent_left,
    CallEventType.BUYER_DISENGAGED: _buyer_left,
}
"""DTMF and UNKNOWN move the conversation's clock and nothing else."""
