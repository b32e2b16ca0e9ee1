"""Deepgram Voice Agent messages, and whatever else Deepgram may send.

They carry no id and no time at all, so a repeat is told by its reception. `AgentAudioDone` says that the agent's
audio was sent, which is a little before it was heard.
"""

from dataclasses import replace

from processors.perception.fields import repeat_key, string, transcript
from processors.perception.payload import Event, JsonObject, Payload
from processors.perception.scene import Scene
from schemas.records import CallEventType, SegmentStatus, Speaker, Track

_SPEECH = {
    "UserStartedSpeaking": (CallEventType.SPEECH_STARTED, Speaker.LEAD),
    "AgentStartedSpeaking": (CallEventType.SPEECH_STARTED, Speaker.AGENT),
    "AgentAudioDone": (CallEventType.SPEECH_STOPPED, Speaker.AGENT),
}
_ROLES = {"user": Speaker.LEAD, "assistant": Speaker.AGENT}


def perceive(scene: Scene, name: str, body: JsonObject, payload: Payload) -> tuple[Event, ...]:
    """Events of one message; one whose type is not known is UNKNOWN and keeps its name."""
    at = replace(scene, key=(*scene.key, repeat_key(payload)))
    if name == "ConversationText":
        return _said(at, body)
    type, speaker = _SPEECH.get(name, (CallEventType.UNKNOWN, Speaker.UNKNOWN))
    return (at.event(type, speaker=speaker),)


def _said(scene: Scene, body: JsonObject) -> tuple[Event, ...]:
    text = transcript(body.get("content"), "ConversationText.content")
    if not text:
        return ()
    languages = body.get("languages")
    language = languages[0] if isinstance(languages, list) and languages else None
    segment = scene.segment(
        SegmentStatus.FINAL,
        text,
        segment=scene.key,
        track=Track.UNKNOWN,
        speaker=_ROLES.get(string(body, "role"), Speaker.UNKNOWN),
        language=language if isinstance(language, str) else None,
    )
    return (segment,)
