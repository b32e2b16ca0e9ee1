"""`mandate perceive`: provider payloads in, canonical events out as JSON lines. Needs no broker.

A file holds one payload, a JSON list of payloads, or one payload a line. A payload may be wrapped with the headers it
came with, as {"headers": {...}, "body": ...}. The payloads of one file are one session, so a Deepgram request id seen
in one of them goes for those after it.
"""

import json
import sys
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import IO

from processors.perception import ADAPTERS, Payload, PayloadError, Perception
from processors.perception.deepgram import PROVIDER as DEEPGRAM
from processors.perception.deepgram import REQUEST_HEADER
from schemas.jsonio import parse_time, to_json

BAD_INPUT = 2
MAX_FILE = 67_108_864
_ENVELOPE = {"headers", "body"}
Headers = dict[str, str]


def run(provider: str, files: list[Path], received_at: str | None = None) -> int:
    """Prints the events of every payload that can be read, and says of each other one why not.

    received_at: ISO 8601, stands as the events' time of reception; now when it is None. Exit code 2 when a payload or
    file could not be read.
    """
    name = provider.strip().lower()
    if name not in ADAPTERS:
        return _complain(f"{provider!r} is not a provider with an adapter; there are: {', '.join(ADAPTERS)}")
    try:
        at = parse_time(received_at) if received_at else time.time_ns() // 1000
    except ValueError as error:
        return _complain(f"received_at: {error}")
    return max((_print_file(name, file, at) for file in files), default=0)


def _print_file(provider: str, file: Path, at: int) -> int:
    try:
        data = _read(file)
    except (OSError, ValueError) as error:
        return _complain(f"{file}: {error}")
    code = 0
    session: Headers = {}
    for index, (headers, body) in enumerate(_payloads(data)):
        # Repeats are told by place in the file, so the same file prints the same ids.
        raw_id = blake2b(data + str(index).encode(), digest_size=16).hexdigest()
        payload = Payload(body=body, received_at=at, headers={**session, **headers}, raw_id=raw_id)
        try:
            perception = ADAPTERS[provider](payload)
        except PayloadError as error:
            code = _complain(f"{file}, payload {index}: {error}")
            continue
        session.update(_session(provider, perception))
        for event in perception.events:
            print(json.dumps(to_json(event), ensure_ascii=False))
    return code


def _read(file: Path) -> bytes:
    stream: IO[bytes] = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    with stream:
        data = stream.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ValueError(f"more than {MAX_FILE} bytes; split the file")
    if not data.strip():
        raise ValueError("empty; expected a payload")
    return data.removeprefix(b"\xef\xbb\xbf")


def _payloads(data: bytes) -> Iterator[tuple[Headers, bytes]]:
    """Each payload of a file with its headers, the body as bytes; what is no JSON is a body as it stands."""
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        lines = [line for line in data.splitlines() if line.strip()]
        yield from (_unwrapped(line) for line in lines) if _one_a_line(lines) else [({}, data)]
        return
    for item in whole if isinstance(whole, list) else [whole]:
        yield _wrapped(item)


def _one_a_line(lines: list[bytes]) -> bool:
    """JSON Lines, or form-encoded bodies one below the other, which never hold a line break themselves."""
    first = lines[0].lstrip()[:1]
    return all(_is_json(line) for line in lines) if first in (b"{", b"[") else all(b"=" in line for line in lines)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _unwrapped(line: bytes) -> tuple[Headers, bytes]:
    return _wrapped(json.loads(line)) if line.lstrip()[:1] == b"{" else ({}, line)


def _wrapped(item: object) -> tuple[Headers, bytes]:
    if not isinstance(item, dict) or set(item) != _ENVELOPE or not isinstance(item["headers"], dict):
        return {}, _bytes(item)
    headers = {str(name).lower(): str(value) for name, value in item["headers"].items()}
    return headers, _bytes(item["body"])


def _bytes(body: object) -> bytes:
    return (body if isinstance(body, str) else json.dumps(body)).encode("utf-8", "replace")


def _session(provider: str, perception: Perception) -> Headers:
    if provider != DEEPGRAM:
        return {}
    found = [key[1] for key in (*perception.ids, perception.call) if key and key[0] == DEEPGRAM]
    return {REQUEST_HEADER: found[0]} if found else {}


def _complain(message: str) -> int:
    print(f"mandate perceive: {message}", file=sys.stderr)
    return BAD_INPUT
