"""Deepgram live transcription (listen v1) of a call that Twilio carries: stereo, the lead on channel 0.

Source: `asyncapi.yml` of deepgram/deepgram-api-specs. Only some messages carry the request id, so the platform names
the call that the session listens to in a header; a final may be empty.
"""

import json

from deploy.demo import emission
from deploy.demo.emission import Emission
from deploy.demo.shapes.moments import Happens, Line, Moment
from deploy.demo.shapes.twilio import call_id
from schemas.records import Speaker

PROVIDER = "deepgram"
_CHANNELS = {Speaker.LEAD: 0, Speaker.AGENT: 1}
_MODEL = {"name": "2-general-nova", "version": "2025-04-17.21547", "arch": "nova-3"}


def ears(line: Line, moment: Moment) -> list[Emission]:
    """Messages of the session's websocket."""
    what = moment.what
    if what is Happens.ENDED and line.answered_at:
        told = {"type": "Metadata", "request_id": line.uuid("session"), "channels": 2, "duration": _since(line, moment)}
        return [_message(line, moment, told)]
    if moment.speaker not in _CHANNELS:
        return []
    channel = [_CHANNELS[moment.speaker], 2]
    if what is Happens.SPEECH_STARTED:
        began = {"type": "SpeechStarted", "channel": channel, "timestamp": _since(line, moment)}
        return [_message(line, moment, began)]
    if what is Happens.INTERIM:
        return [_results(line, moment, final=False, ends=False)]
    if what is Happens.FINAL:
        return [_results(line, moment, final=True, ends=False)]
    if what is Happens.SPEECH_STOPPED:
        end = {"type": "UtteranceEnd", "channel": channel, "last_word_end": _since(line, moment)}
        # The stretch of silence after the words is final, and empty.
        return [_results(line, moment, final=True, ends=True), _message(line, moment, end)]
    return []


def _results(line: Line, moment: Moment, *, final: bool, ends: bool) -> Emission:
    start = moment.at if ends else moment.started_at or moment.at
    text = "" if ends else moment.text
    alternative = {"transcript": text, "confidence": 0.0 if ends else moment.confidence or 0.9, "words": []}
    return _message(
        line,
        moment,
        {
            "type": "Results",
            "channel_index": [_CHANNELS[moment.speaker], 2],
            "duration": round((moment.at - start) / 1e6, 2),
            "start": round((start - line.answered_at) / 1e6, 2),
            "is_final": final,
            "speech_final": ends,
            "from_finalize": False,
            "channel": {"alternatives": [alternative]},
            "metadata": {"request_id": line.uuid("session"), "model_info": _MODEL, "model_uuid": line.uuid("other")},
        },
    )


def _since(line: Line, moment: Moment) -> float:
    return round((moment.at - line.answered_at) / 1e6, 2)


def _message(line: Line, moment: Moment, message: dict[str, object]) -> Emission:
    return emission.webhook(
        PROVIDER,
        json.dumps(message, separators=(",", ":")).encode(),
        moment.arrives_at,
        lead_id=line.lead_id,
        key=f"twilio:{call_id(line)}",
        headers={"dg-request-id": line.uuid("session"), "x-mandate-call-id": f"twilio:{call_id(line)}"},
    )
