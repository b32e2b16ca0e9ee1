"""What a lead's row forgets while an entry is folded, because a row has a size.

Facts that go are dropped like any others: grants that rest on them fall, waiting requests are judged again, and a
transition says so. Lists of plain detail are cut when the row is frozen (`processors.lead.bounded`).
"""

from processors.conversation import end_conversation
from processors.draft import Draft
from processors.facts import CONVERSATION
from processors.lead import CONVERSATION_BYTES, MAX_CONVERSATIONS, MAX_OPEN_CONVERSATIONS, MAX_STRAY_CONVERSATIONS
from schemas.records import Channel, Conversation

_FACTS_OF_ONE = 16
"""Facts that one conversation comes to have, about; each name holds the conversation's id."""
_FACT_BYTES = 110


def forget(draft: Draft) -> None:
    """Ends and drops the conversations for which a row has no room."""
    if "conversations" in draft.fields:
        _end_crowded_out(draft)
        _drop_ended(draft)
    if any(name.startswith(CONVERSATION) for name in draft.dirty):
        _drop_stray(draft)


def _end_crowded_out(draft: Draft) -> None:
    """So many conversations do not go on at once: those that were silent for longest are over."""
    going_on = [c for c in draft.get("conversations") if c.ended_at is None]
    too_many = max(0, len(going_on) - MAX_OPEN_CONVERSATIONS)
    # A call goes on: what is written can be taken up again.
    for conversation in sorted(going_on, key=lambda c: (c.channel is Channel.VOICE, c.last_activity_at))[:too_many]:
        end_conversation(draft, conversation, "timeout")


def _drop_ended(draft: Draft) -> None:
    """The oldest of those that ended, until the rest has room. The newest conversation stays."""
    conversations = draft.get("conversations")
    excess, room = len(conversations) - MAX_CONVERSATIONS, CONVERSATION_BYTES - sum(map(_bytes, conversations))
    dropped = set()
    for conversation in conversations[:-1]:
        if excess <= 0 and room >= 0:
            break
        if conversation.ended_at is not None:
            dropped.add(conversation.conversation_id)
            excess, room = excess - 1, room + _bytes(conversation)
    if dropped:
        draft.put("conversations", tuple(c for c in conversations if c.conversation_id not in dropped))
        _drop_facts(draft, dropped)


def _bytes(conversation: Conversation) -> int:
    """About what a conversation takes, with its facts."""
    ids = len(conversation.conversation_id.encode())
    legs = sum(len(leg.encode()) for leg in (*conversation.legs, *conversation.sequences))
    return _FACTS_OF_ONE * (ids + _FACT_BYTES) + legs


def _drop_stray(draft: Draft) -> None:
    """Facts about conversations of which only words or signals came, and no call: the newest few are kept."""
    known = {c.conversation_id for c in draft.get("conversations")}
    stray: dict[str, int] = {}
    for name, fact in draft.facts.items():
        conversation_id = name.partition("/")[2] if name.startswith(CONVERSATION) and "/" in name else None
        if conversation_id is not None and conversation_id not in known:
            stray[conversation_id] = max(fact.offset, stray.get(conversation_id, -1))
    if len(stray) > MAX_STRAY_CONVERSATIONS:
        oldest = sorted(stray, key=lambda conversation_id: (stray[conversation_id], conversation_id))
        _drop_facts(draft, set(oldest[:-MAX_STRAY_CONVERSATIONS]))


def _drop_facts(draft: Draft, conversation_ids: set[str]) -> None:
    for name in [n for n in draft.facts if n.startswith(CONVERSATION) and n.partition("/")[2] in conversation_ids]:
        if "/" in name:
            draft.drop_stored(name)
