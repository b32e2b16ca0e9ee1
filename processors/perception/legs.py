"""Events of a leg beside the lead's own: the person whom the lead is transferred to.

Such a leg rings, is answered and hangs up without the lead's call doing so, and what is said on it the lead did not
say. In the lead's conversation its life is that of a transfer.
"""

from collections.abc import Mapping

import msgspec

from processors.perception.payload import Event
from schemas.records import CallEndCause, CallEvent, CallEventType, Speaker

_SEEN_AS: Mapping[CallEventType, CallEventType] = {
    CallEventType.CALL_INITIATED: CallEventType.TRANSFER_STARTED,
    CallEventType.CALL_ANSWERED: CallEventType.TRANSFER_COMPLETED,
    CallEventType.TRANSFER_STARTED: CallEventType.TRANSFER_STARTED,
    CallEventType.TRANSFER_COMPLETED: CallEventType.TRANSFER_COMPLETED,
    CallEventType.TRANSFER_FAILED: CallEventType.TRANSFER_FAILED,
    CallEventType.SPEECH_STARTED: CallEventType.SPEECH_STARTED,
    CallEventType.SPEECH_STOPPED: CallEventType.SPEECH_STOPPED,
}
_NOT_REACHED = frozenset({CallEndCause.BUSY, CallEndCause.NO_ANSWER, CallEndCause.FAILED, CallEndCause.CANCELED})
# What such a leg hears is the lead or an agent: nobody can tell.
_SPEAKERS = {Speaker.LEAD: Speaker.HUMAN, Speaker.HUMAN: Speaker.HUMAN}


def as_other_leg(event: Event) -> Event:
    """An event of another leg as the lead's conversation sees it; it keeps its id and the provider's name."""
    speaker = _SPEAKERS.get(event.speaker, Speaker.UNKNOWN)
    if not isinstance(event, CallEvent):
        return msgspec.structs.replace(event, speaker=speaker)
    type = _SEEN_AS.get(event.type, CallEventType.UNKNOWN)
    if event.type is CallEventType.CALL_ENDED and event.cause in _NOT_REACHED:
        type = CallEventType.TRANSFER_FAILED
    return msgspec.structs.replace(
        event, type=type, speaker=speaker, answered_by=None, cause=None, digits=None, duration_ms=None
    )
