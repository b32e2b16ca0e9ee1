"""Deepgram: live transcription (listen v1), Flux turns (listen v2), and Voice Agent messages.

Sources: `asyncapi.yml` of deepgram/deepgram-api-specs, and developers.deepgram.com/docs: /utterance-end,
/understanding-end-of-speech-detection, /flux/state. Only some messages carry
the request id; the platform names the session, or the telephony call it listens to, in headers.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from processors.perception import deepgram_agent, deepgram_flux
from processors.perception.claims import claim_of, decode_tags, track_of
from processors.perception.fields import (
    child,
    children,
    detail,
    flag,
    ident,
    moment,
    real,
    repeat_key,
    string,
    transcript,
    unit,
)
from processors.perception.payload import (
    CallKey,
    Event,
    JsonObject,
    Payload,
    PayloadError,
    Perception,
    json_object,
)
from processors.perception.scene import SPEAKER_ON, Scene
from schemas.records import CallEventType, ConfidenceKind, SegmentStatus, Speaker, Track

PROVIDER = "deepgram"
REQUEST_HEADER = "dg-request-id"
"""Header of Deepgram's websocket handshake; a platform passes it on, as the messages themselves may lack it."""

_SILENT = frozenset({"Metadata", "Connected", "ConfigureSuccess", "Welcome", "SettingsApplied", "Open", "Close"})
"""Messages about the session, not about the conversation."""
_OTHERS = frozenset({"Begin", "Turn", "Termination"})
"""Message types of AssemblyAI, whose stream looks alike."""

Mapper = Callable[[Scene, JsonObject, Payload], tuple[Event, ...]]


def perceive(payload: Payload) -> Perception:
    """Events of one Deepgram message; PayloadError when it is none."""
    body, at = _unwrapped(json_object(payload.body, "Deepgram message"))
    name = body.get("type")
    if not isinstance(name, str) or not name or name in _OTHERS:
        raise PayloadError("Deepgram message: expected an object whose type names a Deepgram message")
    metadata = child(body, "metadata")
    claim = claim_of(payload, child(metadata, "extra"), decode_tags(metadata.get("tags")))
    request = ident(body, "request_id") or ident(metadata, "request_id") or ident(payload.headers, REQUEST_HEADER)
    own: CallKey | None = (PROVIDER, request) if request else None
    call = claim.call or own
    scene = Scene(
        provider=PROVIDER,
        call_id=call[1] if call else "",
        leg_id=request,
        key=(request or (call[1] if call else ""), name),
        claim=claim,
        received_at=payload.received_at,
        occurred_at=moment(at),
        provider_type=name,
    )
    return Perception(
        events=_events(scene, name, body, payload),
        call=call,
        ids=(own,) if own and own != call else (),
        claim=claim,
    )


def _unwrapped(body: JsonObject) -> tuple[JsonObject, object]:
    """A message, and when it came if an SDK recorded that: `{type, timestamp, data}`, unknown types in data.raw."""
    data = body.get("data")
    if not isinstance(data, dict) or real(body.get("timestamp")) is None:
        return body, None
    at = body["timestamp"]
    if string(body, "type") == "Unhandled" and isinstance(data.get("raw"), str):
        return json_object(string(data, "raw"), "Unhandled.raw"), at
    return {"type": body.get("type"), **data}, at


def _events(scene: Scene, name: str, body: JsonObject, payload: Payload) -> tuple[Event, ...]:
    if name in _SILENT:
        return ()
    mapper = _MAPPERS.get(name)
    return mapper(scene, body, payload) if mapper else deepgram_agent.perceive(scene, name, body, payload)


def _results(scene: Scene, body: JsonObject, payload: Payload) -> tuple[Event, ...]:
    alternatives = children(child(body, "channel"), "alternatives")
    if not alternatives:
        raise PayloadError("Deepgram Results: expected channel.alternatives with a transcript")
    best = alternatives[0]
    text = transcript(best.get("transcript"), "channel.alternatives[0].transcript")
    final, start = flag(body.get("is_final")), string(body, "start")
    channel, track, speaker = _channel(body.get("channel_index"), payload)
    key = (*scene.key, channel, start, string(body, "duration"), str(final), str(flag(body.get("from_finalize"))), text)
    at = replace(scene, key=key)
    found: list[Event] = []
    if text:
        status = SegmentStatus.FINAL if final else SegmentStatus.INTERIM
        found.append(
            at.segment(
                status,
                text,
                # Until it is final, a stretch of speech is sent again and again with the same start.
                segment=(scene.key[0], channel, start),
                track=track,
                speaker=speaker,
                language=_language(best),
                confidence=unit(best.get("confidence")),
                confidence_kind=ConfidenceKind.ASR,
            )
        )
    if final and flag(body.get("speech_final")):
        found.append(at.event(CallEventType.SPEECH_STOPPED, speaker=speaker, confidence_kind=ConfidenceKind.VAD))
    return tuple(found)


def _speech_started(scene: Scene, body: JsonObject, payload: Payload) -> tuple[Event, ...]:
    channel, _, speaker = _channel(body.get("channel"), payload)
    at = replace(scene, key=(*scene.key, channel, string(body, "timestamp") or repeat_key(payload)))
    return (at.event(CallEventType.SPEECH_STARTED, speaker=speaker, confidence_kind=ConfidenceKind.VAD),)


def _utterance_end(scene: Scene, body: JsonObject, payload: Payload) -> tuple[Event, ...]:
    channel, _, speaker = _channel(body.get("channel"), payload)
    end = real(body.get("last_word_end"))
    # It is -1 when the last words were final already, so it does not tell one end from the next.
    told = string(body, "last_word_end") if end is not None and end >= 0 else repeat_key(payload)
    at = replace(scene, key=(*scene.key, channel, told))
    return (at.event(CallEventType.SPEECH_STOPPED, speaker=speaker, confidence_kind=ConfidenceKind.VAD),)


def _failure(scene: Scene, body: JsonObject, payload: Payload) -> tuple[Event, ...]:
    """Error and Warning: what they mean for the call is not known, but that the session is unwell is."""
    explained = detail(("code", string(body, "code")), ("description", string(body, "description")))
    at = replace(scene, key=(*scene.key, repeat_key(payload)))
    return (at.event(CallEventType.UNKNOWN, detail=explained),)


def _channel(index: object, payload: Payload) -> tuple[str, Track, Speaker]:
    """Channel number, track and speaker of `[channel, of how many]`.

    Two channels are the two tracks of a call, the lead's first. One channel is the lead's, unless the platform says
    otherwise.
    """
    if not isinstance(index, list) or not index:
        raise PayloadError("Deepgram message: expected its channel as a list, for example [0, 1]")
    numbers = [n for n in index if isinstance(n, int)]
    number, of = (*numbers, 0, 1)[:2] if len(numbers) != 1 else (numbers[0], 1)
    if of == 2:
        track = Track.OUTBOUND if number == 1 else Track.INBOUND
        return str(number)[:18], track, SPEAKER_ON[track]
    told = track_of(payload)
    if told is None and of < 2:
        return str(number)[:18], Track.UNKNOWN, Speaker.LEAD
    track = told or Track.UNKNOWN
    return str(number)[:18], track, SPEAKER_ON[track]


def _language(alternative: JsonObject) -> str | None:
    languages = alternative.get("languages")
    first = languages[0] if isinstance(languages, list) and languages else None
    return first if isinstance(first, str) else None


_MAPPERS: Mapping[str, Mapper] = {
    "Results": _results,
    "SpeechStarted": _speech_started,
    "UtteranceEnd": _utterance_end,
    "TurnInfo": deepgram_flux.perceive,
    "Error": _failure,
    "Warning": _failure,
}
