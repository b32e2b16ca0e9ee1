"""Twilio: form-encoded status callbacks, answering machine detection, real-time transcription, media streams.

Source: twilio.com/docs/voice/api/call-resource, /voice/answering-machine-detection, /voice/twiml/transcription,
/voice/media-streams/websocket-messages. All values are strings; JSON lies inside a string; partials carry a
stability and no confidence.
"""

import json
from collections.abc import Mapping
from email.utils import format_datetime
from urllib.parse import urlencode

from deploy.demo import emission
from deploy.demo.emission import Emission
from deploy.demo.shapes.moments import Happens, Line, Moment
from deploy.demo.times import moment as moment_of
from processors.ids import derive
from schemas.jsonio import iso
from schemas.records import AnsweredBy, CallEndCause, Speaker, TimeUs

PROVIDER = "twilio"
ACCOUNT = "AC7d1f3c5b9e2a4860b1c3d5e7f9a0b2c4"
FROM = "+15555550100"
CALLBACK = "https://calls.northwind.example/twilio/status"

_STATUS = {Happens.INITIATED: "initiated", Happens.RINGING: "ringing", Happens.ANSWERED: "in-progress"}
_ENDINGS = {
    CallEndCause.COMPLETED: "completed",
    CallEndCause.VOICEMAIL: "completed",
    CallEndCause.BUSY: "busy",
    CallEndCause.NO_ANSWER: "no-answer",
    CallEndCause.FAILED: "failed",
    CallEndCause.CANCELED: "canceled",
}
_ANSWERED_BY = {
    AnsweredBy.HUMAN: "human",
    AnsweredBy.MACHINE: "machine_end_beep",
    AnsweredBy.FAX: "fax",
    AnsweredBy.UNKNOWN: "unknown",
}


def call_id(line: Line) -> str:
    """The call's SID."""
    return f"CA{line.hex('call')}"


def voice(line: Line, moment: Moment) -> list[Emission]:
    """Status callbacks and machine detection."""
    if moment.what in _STATUS:
        return [_status(line, moment, _STATUS[moment.what])]
    if moment.what is Happens.ENDED:
        return [_status(line, moment, _ENDINGS[moment.cause])]
    if moment.what is Happens.MACHINE:
        return [_machine(line, moment)]
    if moment.what is Happens.TRANSFER_STARTED:
        return [_status(line, moment, "initiated", other_leg=True)]
    if moment.what is Happens.TRANSFER_COMPLETED:
        return [_status(line, moment, "in-progress", other_leg=True)]
    return []


def streamed_voice(line: Line, moment: Moment) -> list[Emission]:
    """The same with a media stream, whose audio somebody else transcribes."""
    told = voice(line, moment)
    if moment.what is Happens.ANSWERED:
        connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        told += [_stream(line, moment, connected), _start(line, moment)]
    elif moment.what is Happens.SPEECH_STOPPED and moment.speaker is Speaker.AGENT:
        told.append(_numbered(line, moment, "mark", {"mark": {"name": f"utterance-{moment.utterance}"}}))
    elif moment.what is Happens.BARGE_IN:
        # The platform's own message to Twilio: it empties the buffer because it heard the lead cut in.
        told.append(_stream(line, moment, {"event": "clear", "streamSid": _stream_sid(line)}))
    elif moment.what is Happens.ENDED and line.answered_at:
        stop = {"stop": {"accountSid": ACCOUNT, "callSid": call_id(line)}}
        told.insert(0, _numbered(line, moment, "stop", stop))
    return told


def ears(line: Line, moment: Moment) -> list[Emission]:
    """Real-time transcription callbacks."""
    if moment.what is Happens.ANSWERED:
        return [_transcription(line, moment, "transcription-started", {})]
    if moment.what is Happens.ENDED and line.answered_at:
        return [_transcription(line, moment, "transcription-stopped", {})]
    if moment.what not in (Happens.INTERIM, Happens.FINAL):
        return []
    final = moment.what is Happens.FINAL
    data: dict[str, str | float] = {"transcript": moment.text}
    if final and moment.confidence is not None:
        data["confidence"] = moment.confidence
    content = {
        "LanguageCode": "en-US",
        "Track": "inbound_track" if moment.speaker is Speaker.LEAD else "outbound_track",
        "TranscriptionData": json.dumps(data, separators=(",", ":")),
        "Final": str(final).lower(),
    }
    if not final:
        content["Stability"] = "0.9"
    return [_transcription(line, moment, "transcription-content", content)]


def _status(line: Line, moment: Moment, status: str, *, other_leg: bool = False) -> Emission:
    sid = f"CA{line.hex('other')}" if other_leg else call_id(line)
    number = line.count("status of the other leg" if other_leg else "status")
    fields = {
        "Called": line.number,
        "ToState": "",
        "CallerCountry": "US",
        "Direction": "outbound-dial" if other_leg else "outbound-api",
        "Timestamp": format_datetime(moment_of(moment.at)),
        "CallbackSource": "call-progress-events",
        "SequenceNumber": str(number),
        "CallSid": sid,
        "To": line.number,
        "ToCountry": "US",
        "ApiVersion": "2010-04-01",
        "CallStatus": status,
        "From": FROM,
        "AccountSid": ACCOUNT,
        "Caller": FROM,
    }
    if other_leg:
        fields["ParentCallSid"] = call_id(line)
    if status in _ENDINGS.values():
        seconds = (moment.at - line.answered_at) // 1_000_000 if line.answered_at else 0
        fields |= {"CallDuration": str(seconds), "Duration": str(-(-seconds // 60)), "SipResponseCode": "200"}
    return _form(line, fields, moment.arrives_at, token=f"{sid}/{number}")


def _machine(line: Line, moment: Moment) -> Emission:
    fields = {
        "CallSid": call_id(line),
        "AccountSid": ACCOUNT,
        "AnsweredBy": _ANSWERED_BY[moment.answered_by],
        "MachineDetectionDuration": "3200",
    }
    return _form(line, fields, moment.arrives_at, token=f"{call_id(line)}/amd")


def _transcription(line: Line, moment: Moment, event: str, content: dict[str, str]) -> Emission:
    number = line.count("transcription", start=1)
    fields = {
        "TranscriptionSid": f"GT{line.hex('session')}",
        "TranscriptionEvent": event,
        "CallSid": call_id(line),
        "Timestamp": iso(moment.at),
        "AccountSid": ACCOUNT,
        "SequenceId": str(number),
        **content,
    }
    return _form(line, fields, moment.arrives_at, token=f"GT{line.hex('session')}/{number}")


def _form(line: Line, fields: dict[str, str], at: TimeUs, *, token: str) -> Emission:
    headers = {
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        "I-Twilio-Idempotency-Token": derive("idempotency", token),
        "User-Agent": "TwilioProxy/1.1",
    }
    if fields.get("CallbackSource"):
        # The address that the platform gave to Twilio for this call names the lead.
        query = urlencode({"lead_id": line.lead_id, "agent_id": line.agent_id})
        headers["X-Original-Url"] = f"{CALLBACK}?{query}"
    return emission.webhook(
        PROVIDER, urlencode(fields).encode(), at, lead_id=line.lead_id, key=_key(line), headers=headers
    )


def _stream_sid(line: Line) -> str:
    return f"MZ{line.hex('stream')}"


def _start(line: Line, moment: Moment) -> Emission:
    start = {
        "accountSid": ACCOUNT,
        "streamSid": _stream_sid(line),
        "callSid": call_id(line),
        "tracks": ["inbound", "outbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"lead_id": line.lead_id, "agent_id": line.agent_id},
    }
    return _numbered(line, moment, "start", {"start": start})


def _numbered(line: Line, moment: Moment, event: str, content: Mapping[str, object]) -> Emission:
    number = str(line.count("stream", start=1))
    return _stream(line, moment, {"event": event, "sequenceNumber": number, "streamSid": _stream_sid(line), **content})


def _stream(line: Line, moment: Moment, message: Mapping[str, object]) -> Emission:
    body = json.dumps(message, separators=(",", ":")).encode()
    headers = {"X-Mandate-Source": "media-stream"}
    return emission.webhook(PROVIDER, body, moment.arrives_at, lead_id=line.lead_id, key=_key(line), headers=headers)


def _key(line: Line) -> str:
    return f"{PROVIDER}:{call_id(line)}"
