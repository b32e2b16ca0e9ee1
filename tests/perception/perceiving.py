"""Payload files of this folder, and a look at what an adapter makes of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from processors.perception import ADAPTERS, Event, Payload, Perception

FOLDER = Path(__file__).parent / "payloads"
RECEIVED_AT = 1_770_900_000_000_000


def load(name: str) -> Any:
    """A payload file as JSON: one payload, or a list."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def body_of(payload: Any) -> bytes:
    """Body bytes of a payload; text is a form-encoded body."""
    return payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()


def see(
    provider: str, payload: Any, headers: Mapping[str, str] | None = None, received_at: int = RECEIVED_AT
) -> Perception:
    """What the adapter of a provider makes of a payload."""
    return ADAPTERS[provider](Payload(body=body_of(payload), received_at=received_at, headers=headers or {}))


def see_file(name: str, headers: Mapping[str, str] | None = None) -> Perception:
    """What the adapter makes of a file with one payload; the folder's name is the provider's."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    return see(name.split("/")[0], text if name.endswith(".txt") else json.loads(text), headers)


def see_list(name: str, headers: Mapping[str, str] | None = None) -> list[Event]:
    """Events of a file with a list of payloads, in order."""
    provider = name.split("/")[0]
    return [event for payload in load(name) for event in see(provider, payload, headers).events]


def only(perception: Perception) -> Any:
    """The one event of a perception."""
    (event,) = perception.events
    return event
