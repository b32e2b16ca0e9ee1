"""What an adapter takes and gives: a raw payload in, canonical events and the ids of their call out.

Nothing here knows a provider. Every size is bounded before it costs anything.
"""

from collections.abc import Mapping

import msgspec

from schemas.records import AgentId, CallEvent, ConversationId, LeadId, ProviderWebhook, TimeUs, TranscriptSegment

MAX_BODY = 262_144
"""Bytes of one payload. The longest known ones (a hang-up with call quality, word lists) stay below 64 KiB."""
MAX_DEPTH = 32
MAX_ID = 200
MAX_TEXT = 8_000
MAX_DETAIL = 500

JsonObject = Mapping[str, object]
Event = CallEvent | TranscriptSegment
CallKey = tuple[str, str]
"""Provider and the id that it gave to a call, leg, session or stream: what the directory is keyed by."""


class PayloadError(ValueError):
    """Bytes that are not one of the provider's payloads; the message says what was expected.

    The platform checks which provider it names, and that it passes bodies on untouched.
    """


class Payload(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One webhook body or websocket message, as received.

    headers: names in lower case. raw_id: given at reception, the same when the platform sends the payload again;
        tells repeats apart where the provider itself numbers nothing.
    """

    body: bytes
    received_at: TimeUs
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    raw_id: str = ""


class Claim(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a payload says by itself about whose call it is; None where it says nothing.

    call: the telephony call that a transcription session belongs to.
    """

    lead_id: LeadId | None = None
    conversation_id: ConversationId | None = None
    agent_id: AgentId | None = None
    call: CallKey | None = None


class Perception(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Events of one payload, in order, and where they belong.

    call: the call that the conversation is named after; None when the payload names none.
    ids: further ids that later events of the same leg may carry alone.
    call_spans_legs: `call` is shared by several legs, and `ids` tell them apart (Telnyx sessions).
    other_leg: the payload itself says that it is about a leg beside the lead's (Twilio child calls); `ids` are that
        leg's.
    """

    events: tuple[Event, ...] = ()
    call: CallKey | None = None
    ids: tuple[CallKey, ...] = ()
    call_spans_legs: bool = False
    other_leg: bool = False
    claim: Claim = Claim()


def payload_of(webhook: ProviderWebhook) -> Payload:
    """The payload of a webhook record."""
    headers = {name.lower(): value for name, value in webhook.headers.items()}
    return Payload(body=webhook.body, received_at=webhook.received_at, headers=headers, raw_id=webhook.raw_id[:MAX_ID])


def is_json(body: bytes) -> bool:
    """Whether a body starts as a JSON object or list does."""
    return body.lstrip()[:1] in (b"{", b"[")


def json_object(body: bytes | str, what: str) -> JsonObject:
    """A JSON object within the limits; PayloadError otherwise. `what` names it in the message."""
    if len(body) > MAX_BODY:
        raise PayloadError(f"{what}: {len(body)} bytes, at most {MAX_BODY} are taken")
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise PayloadError(f"{what}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise PayloadError(f"{what}: expected one JSON object, got {_kind(value)}")
    _check_depth(value, what)
    return value


def _check_depth(value: object, what: str) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise PayloadError(f"{what}: nested deeper than {MAX_DEPTH} levels")


def _children(node: object) -> list[object]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "a list (send one payload at a time)"
    return "null" if value is None else f"a {type(value).__name__}"
