"""Whose call is it? Reads what a payload's own metadata says about lead, conversation, agent and call.

First come the headers that the receiving platform adds, then the address the provider called, then the provider's
own metadata. What nobody said is left to the directory.
"""

import base64
import binascii
import re
from urllib.parse import parse_qsl, urlsplit

from processors.perception.fields import ident, shown, string
from processors.perception.payload import (
    CallKey,
    Claim,
    JsonObject,
    Payload,
    PayloadError,
    json_object,
)
from schemas.records import AgentId, ConversationId, LeadId, Track

HEADER_PREFIX = "x-mandate-"
ADDRESS_HEADERS = ("x-mandate-url", "x-original-url", "x-forwarded-uri")
"""Where a platform passes on the address that the provider called, with its query."""
_NAMES = ("lead_id", "conversation_id", "agent_id")
_MAX_STATE = 8_192
_CALL = re.compile(r"(?P<provider>[a-z][a-z_-]{1,30}):(?P<id>.+)", re.DOTALL)
_TWILIO_SID = re.compile(r"CA[0-9a-zA-Z]+")
_TELNYX_ID = re.compile(r"v[0-9]:.+")


def claim_of(payload: Payload, *metadata: JsonObject) -> Claim:
    """The claim of a payload; `metadata` are the provider's own places for it, most telling first."""
    sources = (_from_headers(payload), _from_address(payload), *metadata)
    lead, conversation, agent = (_first(name, sources) for name in _NAMES)
    return Claim(
        lead_id=LeadId(lead) if lead else None,
        conversation_id=ConversationId(conversation) if conversation else None,
        agent_id=AgentId(agent) if agent else None,
        call=_tied_call(payload),
    )


def _first(name: str, sources: tuple[JsonObject, ...]) -> str | None:
    return next((found for source in sources if (found := ident(source, name))), None)


def _from_headers(payload: Payload) -> JsonObject:
    return {name: payload.headers.get(HEADER_PREFIX + name.replace("_", "-"), "") for name in _NAMES}


def _from_address(payload: Payload) -> JsonObject:
    address = next((payload.headers[name] for name in ADDRESS_HEADERS if payload.headers.get(name)), "")
    try:
        return dict(parse_qsl(urlsplit(address[:_MAX_STATE]).query, max_num_fields=100))
    except ValueError:
        return {}


def _tied_call(payload: Payload) -> CallKey | None:
    """Header `x-mandate-call-id`: `provider:call-id`; a bare Twilio or Telnyx id tells its provider by its form."""
    value = ident(payload.headers, HEADER_PREFIX + "call-id")
    if value is None:
        return None
    if _TELNYX_ID.fullmatch(value):
        return ("telnyx", value)
    if _TWILIO_SID.fullmatch(value):
        return ("twilio", value)
    named = _CALL.fullmatch(value)
    if named is None:
        raise PayloadError(
            f"header {HEADER_PREFIX}call-id: {shown(value)} names no provider; send it as provider:call-id"
        )
    return (named["provider"], named["id"])


def track_of(payload: Payload) -> Track | None:
    """Header `x-mandate-track`: which side the platform sent to be transcribed, where the provider does not say.

    `inbound` is what the lead says, `outbound` what the lead hears; anything else (`mixed`) is UNKNOWN; None = no
    such header.
    """
    value = string(payload.headers, HEADER_PREFIX + "track").strip().lower()
    if not value:
        return None
    return {"inbound": Track.INBOUND, "outbound": Track.OUTBOUND}.get(value, Track.UNKNOWN)


def decode_state(value: object) -> JsonObject:
    """Telnyx `client_state`: base64 of a JSON object, or of `lead_id=…`; anything else claims nothing."""
    if not isinstance(value, str) or not value or len(value) > _MAX_STATE:
        return {}
    try:
        plain = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_").decode("utf-8").strip()
    except (binascii.Error, ValueError):
        return {}
    try:
        return (
            json_object(plain, "client_state") if plain.startswith("{") else dict(parse_qsl(plain, max_num_fields=100))
        )
    except (PayloadError, ValueError):
        return {}


def decode_tags(value: object) -> JsonObject:
    """Deepgram tags of the form `lead_id:…` or `lead_id=…`; other tags claim nothing."""
    pairs = (
        (re.split("[:=]", tag, maxsplit=1) for tag in value if isinstance(tag, str)) if isinstance(value, list) else ()
    )
    return {pair[0].strip(): pair[1] for pair in pairs if len(pair) == 2}
