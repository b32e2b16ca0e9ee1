"""Whatever the bytes, an adapter gives events within bounds or a PayloadError, the same ones each time."""

import copy
import json
from typing import Any
from urllib.parse import urlencode

from hypothesis import example, given, settings
from hypothesis import strategies as st
from perceiving import FOLDER, RECEIVED_AT

from processors.bounds import fault_in
from processors.intake import Admitted, Refused, Source, Unresolved, admit
from processors.perception import ADAPTERS, Payload, PayloadError
from schemas import codec
from schemas.records import JournalEntry, ProviderWebhook

HEADERS = ["x-mandate-lead-id", "x-mandate-call-id", "x-original-url", "dg-request-id", "x-mandate-track",
           "i-twilio-idempotency-token"]  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["", "1e999", "-1", "NaN"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def samples() -> list[Any]:
    """Every payload of the folder, form-encoded ones as objects again."""
    found: list[Any] = []
    for file in sorted(FOLDER.glob("*/*.json")):
        value = json.loads(file.read_text())
        found.extend(value if isinstance(value, list) else [value])
    return found


SAMPLES = samples()
PLACES = st.lists(st.integers(0, 30), min_size=1, max_size=5)


def spoil(payload: Any, place: list[int], value: Any) -> Any:
    """The payload with one value in it replaced, at a place of any depth."""
    spoilt = copy.deepcopy(payload)
    node = spoilt
    for step in place:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = keys[step % len(keys)]
        if not isinstance(node[key], dict | list) or step == place[-1]:
            node[key] = value
            break
        node = node[key]
    return spoilt


def check(provider: str, body: bytes, headers: dict[str, str]) -> None:
    payload = Payload(body=body, received_at=RECEIVED_AT, headers=headers, raw_id="raw")
    try:
        seen = ADAPTERS[provider](payload)
    except PayloadError:
        return
    assert seen == ADAPTERS[provider](payload)
    assert len(seen.events) <= 4
    for event in seen.events:
        assert fault_in(event) in (None, f"{type(event).__name__}.call_id: empty, an id is needed")
    webhook = ProviderWebhook(raw_id="raw", provider=provider, headers=headers, body=body, received_at=RECEIVED_AT)
    result = admit(webhook, Source("perception.raw", 0, 0), RECEIVED_AT, {})
    assert isinstance(result, Admitted | Refused | Unresolved)
    for entry in result.entries if isinstance(result, Admitted) else ():
        assert codec.decode(JournalEntry, codec.encode(entry)) == entry


@settings(max_examples=300, deadline=None)
@given(
    provider=st.sampled_from(sorted(ADAPTERS)),
    body=st.binary(max_size=200) | st.text().map(str.encode),
    headers=st.dictionaries(st.sampled_from(HEADERS), st.text(max_size=300)),
)
@example("twilio", b"CallSid=CA1&CallStatus=%ff%fe&lead_id=%00", {})
@example("deepgram", b'{"type":"\\ud800"}', {})
@example("telnyx", b"\xff\xfe{\x00", {})
@example("twilio", b"[" * 200_000, {})
def test_any_bytes_are_events_or_a_payload_error(provider: str, body: bytes, headers: dict[str, str]) -> None:
    check(provider, body, headers)


@settings(max_examples=1500, deadline=None)
@given(
    sample=st.sampled_from(SAMPLES),
    place=PLACES,
    value=VALUES,
    form=st.booleans(),
    headers=st.dictionaries(st.sampled_from(HEADERS), st.text(max_size=300)),
)
def test_a_real_payload_with_any_value_spoilt_is_events_or_a_payload_error(
    sample: Any, place: list[int], value: Any, form: bool, headers: dict[str, str]
) -> None:
    spoilt = spoil(sample, place, value)
    body = urlencode(spoilt).encode() if form else json.dumps(spoilt).encode()
    for provider in ADAPTERS:
        check(provider, body, headers)
