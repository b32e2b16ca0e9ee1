"""Malformed records of five kinds: each ends in dead.letters, whole, with its own code."""

from collections.abc import Mapping

from deploy.demo.emission import Emission
from deploy.demo.kinds import MALFORMED_EACH
from deploy.demo.times import SECOND, WAVES
from processors.ids import derive
from schemas.records import (
    CallEvent,
    CallEventType,
    CrmEvent,
    CrmEventType,
    DeadLetterCode,
    LeadId,
    ProviderWebhook,
    TimeUs,
)

TITLES: Mapping[DeadLetterCode, str] = {
    DeadLetterCode.NOT_AVRO: "JSON on an Avro topic",
    DeadLetterCode.UNKNOWN_SCHEMA: "a schema id that the registry does not know",
    DeadLetterCode.WRONG_SCHEMA: "a record of another topic",
    DeadLetterCode.BAD_PAYLOAD: "a webhook that is not its provider's",
    DeadLetterCode.UNRESOLVED_LEAD: "a call that belongs to nobody",
}
"""The five kinds."""

_UNKNOWN_SCHEMA_ID = 999_983


def malformed() -> list[Emission]:
    """All of them, spread over the first wave."""
    return [
        _make(code, number, WAVES[0] + (7 * number + place) * SECOND)
        for number in range(MALFORMED_EACH)
        for place, code in enumerate(TITLES)
    ]


def _make(code: DeadLetterCode, number: int, at: TimeUs) -> Emission:
    key = f"malformed-{code.lower().replace('_', '-')}-{number + 1}"
    if code is DeadLetterCode.NOT_AVRO:
        return Emission(at, "telephony.events", key, f'{{"lead_id":"{key}","type":"CALL_RINGING"}}'.encode())
    if code is DeadLetterCode.UNKNOWN_SCHEMA:
        body = b"\x00" + _UNKNOWN_SCHEMA_ID.to_bytes(4, "big") + b"\x02a"
        return Emission(at, "transcription.events", key, body)
    if code is DeadLetterCode.WRONG_SCHEMA:
        event = CrmEvent(
            event_id=derive(key), lead_id=LeadId(key), type=CrmEventType.STATUS_CHANGED, status="open", received_at=at
        )
        return Emission(at, "signal.events", key, event)
    if code is DeadLetterCode.BAD_PAYLOAD:
        page = b"<html><body>502 Bad Gateway</body></html>"
        return Emission(
            at, "perception.raw", key, ProviderWebhook(raw_id=derive(key), provider="telnyx", body=page, received_at=at)
        )
    call = CallEvent(
        event_id=derive(key), provider="northwind-voice", call_id=key, type=CallEventType.CALL_RINGING, received_at=at
    )
    return Emission(at, "telephony.events", f"northwind-voice:{key}", call)
