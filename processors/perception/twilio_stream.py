"""Twilio Media Streams messages (twilio.com/docs/voice/media-streams/websocket-messages), both directions.

Only `start` and `stop` name the call; the others carry the stream's id, which `start` ties to the call. Messages
that Twilio sends are numbered (`sequenceNumber`), those that a platform sends are not.
"""

from processors.perception.claims import claim_of
from processors.perception.fields import child, detail, ident, repeat_key, string, whole
from processors.perception.payload import Event, JsonObject, Payload, PayloadError, Perception
from processors.perception.scene import Scene
from schemas.records import CallEventType, Speaker

PROVIDER = "twilio"


def perceive(payload: Payload, body: JsonObject) -> Perception:
    """Events of one message; `connected` and `media` give none."""
    name = string(body, "event").strip()
    start, stop = child(body, "start"), child(body, "stop")
    stream_sid = ident(body, "streamSid") or ident(start, "streamSid")
    if name == "connected" and string(body, "protocol"):
        return Perception()
    if stream_sid is None or not name:
        raise PayloadError("Twilio media stream message: expected event and streamSid")
    call_sid = ident(start, "callSid") or ident(stop, "callSid")
    claim = claim_of(payload, child(start, "customParameters"))
    call = claim.call or (PROVIDER, call_sid or stream_sid)
    known = {call: None, (PROVIDER, call_sid or stream_sid): None, (PROVIDER, stream_sid): None}
    sequence = whole(body.get("sequenceNumber"))
    scene = Scene(
        provider=PROVIDER,
        call_id=call[1],
        leg_id=call_sid,
        key=("stream", stream_sid, name, str(sequence) if sequence is not None else repeat_key(payload)),
        claim=claim,
        received_at=payload.received_at,
        provider_type=name,
        sequence=sequence,
        sequence_scope=f"{PROVIDER}:stream:{stream_sid}"[:200],
    )
    events = () if name == "media" else _events(scene, body, name)
    return Perception(events=events, call=call, ids=tuple(known)[1:], claim=claim)


def _events(scene: Scene, body: JsonObject, name: str) -> tuple[Event, ...]:
    if name == "start":
        # TwiML runs once the call is answered, so a stream that starts says that it was.
        return (scene.event(CallEventType.CALL_ANSWERED),)
    if name == "dtmf":
        return (scene.event(CallEventType.DTMF, digits=string(child(body, "dtmf"), "digit")[:64] or None),)
    if name == "clear":
        # A platform empties Twilio's buffer because it heard the lead interrupt its agent.
        return (scene.event(CallEventType.BARGE_IN, speaker=Speaker.LEAD),)
    if name == "mark":
        if scene.sequence is None:
            return ()  # the platform's own mark on its way to Twilio: nothing was played yet
        played = detail(("mark", string(child(body, "mark"), "name")))
        return (scene.event(CallEventType.SPEECH_STOPPED, speaker=Speaker.AGENT, detail=played),)
    return (scene.event(CallEventType.UNKNOWN),)
