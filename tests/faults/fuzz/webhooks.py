"""Hostile webhook bodies for the perception adapters: payloads as providers send them, spoilt, and plain junk."""

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

from processors.perception import ADAPTERS
from schemas.records import ProviderWebhook
from tests.faults.fuzz import strings

FOLDER = Path(__file__).parents[2] / "perception" / "payloads"
PROVIDERS = tuple(sorted(ADAPTERS))
RECEIVED_AT = 1_767_607_200_000_000
MAX_BODY = 900_000
_HEADERS = ("x-mandate-lead-id", "x-mandate-call-id", "x-original-url", "dg-request-id", "x-mandate-track",
            "i-twilio-idempotency-token", "x-mandate-agent-id", "x-mandate-conversation-id")  # fmt: skip


@cache
def samples() -> tuple[tuple[str, Any], ...]:
    """Every payload of the test folder, with its provider."""
    found: list[tuple[str, Any]] = []
    for file in sorted(FOLDER.glob("*/*.json")):
        value = json.loads(file.read_text(encoding="utf-8"))
        found += [(file.parent.name, payload) for payload in (value if isinstance(value, list) else [value])]
    return tuple(found)


def hostile_webhook(seed: int, number: int) -> tuple[str, ProviderWebhook]:
    """The webhook of that number, and what was done to its body."""
    random = Random(f"{seed}/webhook/{number}")
    provider, payload = random.choice(samples())
    how, make = random.choices(_BODIES, weights=_WEIGHTS)[0]
    if random.random() < 0.1:
        provider = random.choice((*PROVIDERS, "acme", strings.text(random)))
    names = random.sample(_HEADERS, random.choice((0, 0, 1, 2, 4)))
    return how, ProviderWebhook(
        raw_id=f"raw-{number}",
        provider=_encodable(provider),
        headers={name: _encodable(strings.text(random))[:10_000] for name in names},
        body=make(random, payload)[:MAX_BODY],
        received_at=RECEIVED_AT + number * 1_000,
    )


def _encodable(text: str) -> str:
    return text.replace(strings.SURROGATE, "?")


def _spoilt(random: Random, payload: Any) -> bytes:
    """One to three values replaced, taken away, or put where nobody looks for them."""
    spoilt = copy.deepcopy(payload)
    for _ in range(random.randint(1, 3)):
        node = spoilt
        while isinstance(node, dict | list) and node:
            key = random.choice(list(node)) if isinstance(node, dict) else random.randrange(len(node))
            inner = node[key]
            if not isinstance(inner, dict | list) or random.random() < 0.2:
                node[key] = strings.json_value(random)
                break
            node = inner
    return _written(random, spoilt)


def _written(random: Random, payload: Any) -> bytes:
    if isinstance(payload, dict) and random.random() < 0.3:
        return urlencode({key: str(value) for key, value in payload.items()}, errors="surrogatepass").encode()
    return json.dumps(payload, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def _as_it_is(random: Random, payload: Any) -> bytes:
    return json.dumps(payload).encode()


def _cut(random: Random, payload: Any) -> bytes:
    whole = _as_it_is(random, payload)
    return whole[: random.randrange(len(whole))]


def _flipped(random: Random, payload: Any) -> bytes:
    data = bytearray(_as_it_is(random, payload))
    for _ in range(random.randint(1, 8)):
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data)


def _nested(random: Random, payload: Any) -> bytes:
    depth = random.choice((31, 33, 200, 5_000, 100_000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"data":', b"}")))
    inner = opening * depth + b"1" + closing * depth
    return random.choice((inner, opening * depth, b'{"CallSid":"CA1","data":' + inner + b"}"))


def _long(random: Random, payload: Any) -> bytes:
    word = "w" * random.choice((262_100, 262_200, 1_000_000))
    if isinstance(payload, dict) and random.random() < 0.7:
        return json.dumps({**payload, random.choice(sorted(payload)): word}).encode()
    return b"CallSid=CA1&" + b"&".join(b"f%d=%d" % (n, n) for n in range(random.choice((199, 201, 20_000))))


def _junk(random: Random, payload: Any) -> bytes:
    return random.choice((b"", b"null", b"[]", b"{}", b"\xff\xfe{\x00", b'"text"', b"1e999", random.randbytes(300),
                          b"CallSid=CA1&CallStatus=%ff%fe&lead_id=%00", b"\xef\xbb\xbf{}"))  # fmt: skip


Make = Callable[[Random, Any], bytes]
_TABLE: tuple[tuple[str, Make, int], ...] = (
    ("spoilt", _spoilt, 600),
    ("as it is", _as_it_is, 50),
    ("cut", _cut, 100),
    ("flipped", _flipped, 120),
    ("nested", _nested, 30),
    ("long", _long, 20),
    ("junk", _junk, 80),
)
_BODIES = [(how, make) for how, make, _ in _TABLE]
_WEIGHTS = [weight for _, _, weight in _TABLE]
