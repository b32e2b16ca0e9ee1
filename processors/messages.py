"""Message events: a message of the lead counts as final words in an answered conversation."""

from processors.conversation import advance, count_attempt
from processors.draft import Draft
from processors.transcript import heard
from schemas.records import Conversation, MessageEvent, MessageEventType, Segment, SegmentStatus, Speaker


def on_message_event(draft: Draft, event: MessageEvent) -> None:
    """Folds one message event. A message of the lead counts as final words in an answered conversation."""
    conversation_id = event.conversation_id
    conversation = draft.conversation(conversation_id)
    if conversation is None:
        conversation = Conversation(
            conversation_id=conversation_id, channel=event.channel, provider=event.provider, agent_id=event.agent_id,
            started_at=draft.now, last_activity_at=draft.now, barge_ins=0,
        )  # fmt: skip
        draft.add("conversations", conversation)
        draft.set_fact("conversation.channel", event.channel, conversation_id=conversation_id)
    elif conversation.ended_at is None:
        draft.update_conversation(conversation_id, last_activity_at=draft.now)
    if event.type is MessageEventType.SENT:
        count_attempt(draft, conversation_id, event.channel)
        advance(draft, conversation, "initiated")
    elif event.type is MessageEventType.RECEIVED:
        advance(draft, conversation, "answered")
        draft.set_fact("contact.reached", "yes")
        segment = Segment(
            segment_id=event.message_id, conversation_id=conversation_id, status=SegmentStatus.FINAL, text=event.text,
            confidence=None, speaker=Speaker.LEAD, offset=draft.position.offset, at=draft.now,
        )  # fmt: skip
        heard(draft, segment)
