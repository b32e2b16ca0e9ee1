"""Telnyx call control webhooks, transcription included.

Source: developers.telnyx.com/docs/voice/programmable-voice, types of team-telnyx/telnyx-python. The session outlives
its legs; the lead is in `client_state`, which later legs lack.
"""

import base64
import json

from deploy.demo import emission
from deploy.demo.emission import Emission
from deploy.demo.shapes.moments import Happens, Line, Moment
from processors.ids import derive
from schemas.jsonio import iso
from schemas.records import AnsweredBy, CallEndCause, Speaker

PROVIDER = "telnyx"
CONNECTION = "2811212257810187875"
FROM = "+15555550101"

_RESULTS = {AnsweredBy.HUMAN: "human", AnsweredBy.MACHINE: "machine", AnsweredBy.UNKNOWN: "not_sure"}
_CAUSES = {
    CallEndCause.COMPLETED: "normal_clearing",
    CallEndCause.VOICEMAIL: "normal_clearing",
    CallEndCause.BUSY: "user_busy",
    CallEndCause.NO_ANSWER: "no_answer",
    CallEndCause.FAILED: "not_found",
    CallEndCause.CANCELED: "originator_cancel",
}
_SPEAK = {Happens.SPEECH_STARTED: "call.speak.started", Happens.SPEECH_STOPPED: "call.speak.ended"}


def call_id(line: Line) -> str:
    """The call's session."""
    return line.uuid("call")


def voice(line: Line, moment: Moment) -> list[Emission]:
    """Call control events."""
    what = moment.what
    if what is Happens.INITIATED:
        return [_event(line, moment, "call.initiated", {"direction": "outgoing", "state": "bridging"})]
    if what is Happens.ANSWERED:
        return [_event(line, moment, "call.answered", {"codec": "PCMU", "sampling_rate": 8000})]
    if what is Happens.MACHINE:
        return [_event(line, moment, "call.machine.detection.ended", {"result": _RESULTS[moment.answered_by]})]
    if what is Happens.TRANSFER_STARTED:
        return [_event(line, moment, "call.initiated", {"direction": "outgoing"}, leg="other")]
    if what is Happens.TRANSFER_COMPLETED:
        return [
            _event(line, moment, "call.answered", {}, leg="other"),
            _event(line, moment, "call.bridged", {}),
        ]
    if what in (Happens.DROPPED, Happens.TIMEOUT, Happens.ENDED):
        return [_hangup(line, moment)]
    return []


def ears(line: Line, moment: Moment) -> list[Emission]:
    """The agent's speech, and transcript of both sides."""
    if moment.what in _SPEAK:
        return [_event(line, moment, _SPEAK[moment.what], {})] if moment.speaker is Speaker.AGENT else []
    if moment.what not in (Happens.INTERIM, Happens.FINAL):
        return []
    final = moment.what is Happens.FINAL
    data = {
        "confidence": moment.confidence if moment.confidence is not None else 0.9,
        "is_final": final,
        "transcript": moment.text,
        "transcription_track": "inbound" if moment.speaker is Speaker.LEAD else "outbound",
    }
    return [_event(line, moment, "call.transcription", {"transcription_data": data})]


def _hangup(line: Line, moment: Moment) -> Emission:
    cause, source, sip = _CAUSES.get(moment.cause, "normal_clearing"), "caller", "200"
    if moment.what is Happens.DROPPED:
        cause, source, sip = "unspecified", "unknown", ""
    elif moment.what is Happens.TIMEOUT:
        cause, source = "time_limit", "unknown"
    started = line.answered_at or moment.at
    return _event(
        line,
        moment,
        "call.hangup",
        {
            "hangup_cause": cause,
            "hangup_source": source,
            "sip_hangup_cause": sip,
            "start_time": iso(started),
            "end_time": iso(moment.at),
            "call_quality_stats": {"inbound": {"mos": "4.50", "packet_count": "1412"}},
        },
    )


def _event(line: Line, moment: Moment, name: str, content: dict[str, object], *, leg: str = "leg") -> Emission:
    number = line.count("events")
    state = json.dumps({"lead_id": line.lead_id, "agent_id": line.agent_id}).encode()
    body = {
        "data": {
            "record_type": "event",
            "event_type": name,
            "id": _uuid(derive("telnyx", line.hex("call"), number)),
            "occurred_at": iso(moment.at),
            "payload": {
                "call_control_id": f"v3:{line.hex(leg)}",
                "call_leg_id": line.uuid(leg),
                "call_session_id": call_id(line),
                "client_state": base64.b64encode(state).decode() if leg == "leg" else None,
                "connection_id": CONNECTION,
                "from": FROM,
                "to": line.number,
                **content,
            },
        },
        "meta": {"attempt": 1, "delivered_to": "https://calls.northwind.example/telnyx"},
    }
    return emission.webhook(
        PROVIDER,
        json.dumps(body, separators=(",", ":")).encode(),
        moment.arrives_at,
        lead_id=line.lead_id,
        key=f"{PROVIDER}:{call_id(line)}",
        headers={"Content-Type": "application/json", "telnyx-timestamp": str(moment.arrives_at // 1_000_000)},
    )


def _uuid(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
