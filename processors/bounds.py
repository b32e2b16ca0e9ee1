"""Bounds of input records: ids, texts, lists, times and confidences. What is outside is refused, never cut.

Limits are read off the schemas: a field's name and type say which one holds.
"""

import math
from collections.abc import Callable
from functools import cache

from processors.perception.payload import MAX_ID, MAX_TEXT
from schemas.avro_files import NAMESPACE, definition
from schemas.records import Record

MAX_ITEMS = 100
SIGNATURE_BYTES = 64
EARLIEST = 0
LATEST = 7_258_118_400_000_000
"""2200-01-01: later times come from seconds or milliseconds taken for microseconds, or from a broken clock."""

_TEXTS = frozenset({"text", "detail", "reason"})
_WHOLE = frozenset({"bundle"})
"""As long as a record may be: the codec's limit holds."""

Check = Callable[[object, str], str | None]


def fault_in(value: Record) -> str | None:
    """What is out of bounds in a record, with the field and the limit; None when nothing is."""
    name = type(value).__name__
    for field, check in _checks(name):
        fault = check(getattr(value, field), f"{name}.{field}")
        if fault:
            return fault
    return None


@cache
def _checks(name: str) -> tuple[tuple[str, Check], ...]:
    fields = definition(name)["fields"]
    found = ((field["name"], _check_of(field["name"], field["type"])) for field in fields)
    return tuple((field, check) for field, check in found if check is not None)


def _check_of(name: str, avro: object) -> Check | None:
    if isinstance(avro, list):
        branches = [branch for branch in avro if branch != "null"]
        inner = _check_of(name, branches[0]) if len(branches) == 1 else _string(MAX_TEXT)
        return None if inner is None else _optional(inner) if "null" in avro else inner
    if isinstance(avro, dict):
        if avro["type"] == "array":
            return _items(_check_of(name, avro["items"]))
        if avro["type"] == "map":
            return _entries(_check_of("text", avro["values"]))
        return _time
    if avro == "string":
        required = name.endswith("_id")
        return _id if required else None if name in _WHOLE else _string(MAX_TEXT if name in _TEXTS else MAX_ID)
    if avro == "bytes" and name == "signature":
        return _signature
    if avro == "double" and name == "confidence":
        return _confidence
    if isinstance(avro, str) and avro.startswith(NAMESPACE + "."):
        return _nested if definition(avro.removeprefix(NAMESPACE + "."))["type"] == "record" else None
    return None


def _optional(check: Check) -> Check:
    return lambda value, where: None if value is None else check(value, where)


def _string(limit: int) -> Check:
    def check(value: object, where: str) -> str | None:
        if not isinstance(value, str):
            return None
        if len(value) > limit:
            return f"{where}: {len(value)} characters, at most {limit} are taken"
        return None if value.isascii() or _is_text(value) else f"{where}: holds a lone surrogate, which is no text"

    return check


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_short = _string(MAX_ID)


def _id(value: object, where: str) -> str | None:
    return f"{where}: empty, an id is needed" if value == "" else _short(value, where)


def _items(check: Check | None) -> Check:
    def check_all(value: object, where: str) -> str | None:
        if not isinstance(value, tuple):
            return None
        if len(value) > MAX_ITEMS:
            return f"{where}: {len(value)} items, at most {MAX_ITEMS} are taken"
        found = (check(item, f"{where}[{i}]") for i, item in enumerate(value)) if check else ()
        return next((fault for fault in found if fault), None)

    return check_all


def _entries(check: Check | None) -> Check:
    def check_all(value: object, where: str) -> str | None:
        if not isinstance(value, dict):
            return None
        if len(value) > MAX_ITEMS:
            return f"{where}: {len(value)} entries, at most {MAX_ITEMS} are taken"
        for key, item in value.items():
            fault = _id(key, f"{where} key") or (check(item, f"{where}.{key}") if check else None)
            if fault:
                return fault
        return None

    return check_all


def _time(value: object, where: str) -> str | None:
    if isinstance(value, int) and not EARLIEST <= value < LATEST:
        return f"{where}: {value} is no time between 1970 and 2200; microseconds since 1970 are expected"
    return None


def _signature(value: object, where: str) -> str | None:
    if isinstance(value, bytes) and len(value) > SIGNATURE_BYTES:
        return f"{where}: {len(value)} bytes; an Ed25519 signature has {SIGNATURE_BYTES}"
    return None


def _confidence(value: object, where: str) -> str | None:
    if isinstance(value, float) and not (math.isfinite(value) and 0.0 <= value <= 1.0):
        return f"{where}: {value} is no confidence; a number from 0 to 1 is expected"
    return None


def _nested(value: object, where: str) -> str | None:
    return fault_in(value) if isinstance(value, Record) else None
