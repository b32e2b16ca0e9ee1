"""Hostile records for every input topic: a record of hostile values, and then, mostly, damage to its bytes."""

import io
import json
import struct
from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from typing import Any, NamedTuple

import fastavro

from schemas.avro_files import self_contained
from schemas.catalogue import EVENT_INPUTS, TOPICS
from schemas.codec import schema_json
from tests.faults.fuzz import strings

MAX_RECORD = 1_000_000
"""Bytes of key, value and headers: a broker takes no more by default."""
_TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNKNOWN_ID = 4_000_000
_NODE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
_NUMBERS = {"int": 31, "long": 63}


class Hostile(NamedTuple):
    """One record as a consumer gets it; `how` says what was done to it."""

    how: str
    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def hostile_record(seed: int, number: int, ids: Mapping[str, int], foreign: Mapping[str, int]) -> Hostile:
    """The record of that number. ids: of our schemas; foreign: of those of `foreign_schemas`, by name."""
    random = Random(f"{seed}/{number}")
    topic = EVENT_INPUTS[number % len(EVENT_INPUTS)]
    name = str(TOPICS[topic].value_schema)
    how, damage = random.choices(_DAMAGES, weights=_WEIGHTS)[0]
    value = damage(random, name, {**ids, **foreign})
    key, headers = _key(random), _headers(random)
    if value is not None:
        room = MAX_RECORD - len(key or b"") - sum(len(n) + len(content or b"") for n, content in headers)
        value = value[:room]
    return Hostile(how, topic, key, value, headers)


def foreign_schemas() -> dict[str, str]:
    """Schemas that a registry may hold under ids of their own, by the name of what is wrong with each."""
    found = {"protobuf": 'syntax = "proto3"; message CallEvent {}', "deep": "[" * 50_000, "nothing": '{"type": "null"}'}
    for topic in EVENT_INPUTS:
        name = str(TOPICS[topic].value_schema)
        found[f"{name}/recursive"] = _with_field(name, _NODE)
        found[f"{name}/endless"] = _with_field(name, {"type": "array", "items": "null"})
        found[f"{name}/wide"] = _with_field(name, {"type": "map", "values": "bytes"})
        found[f"{name}/retyped"] = schema_json(name).replace('"type":"string"', '"type":"bytes"')
        found[f"{name}/unknown type"] = schema_json(name).replace('"type":"string"', '"type":"when"')
    return found


def _with_field(name: str, avro: Any) -> str:
    schema = json.loads(schema_json(name))
    schema["fields"].insert(0, {"name": "more", "type": avro})
    return json.dumps(schema)


# --- a record of hostile values
@cache
def _schema(name: str) -> Any:
    return self_contained(name, logical_types=False)


@cache
def _parsed(name: str) -> Any:
    return fastavro.parse_schema(_schema(name))


def _body(random: Random, name: str) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _parsed(name), _plain(random, _schema(name), {}, "", random.random() < 0.3))
    data = out.getvalue()
    return data.replace(strings.STAND_IN_BYTES, strings.SURROGATE_BYTES) if strings.STAND_IN_BYTES in data else data


def _plain(random: Random, avro: Any, named: dict[str, Any], field: str, calm: bool) -> Any:
    """A value of a type. calm: only such as a producer might send, so that some records get further in."""
    if isinstance(avro, list):
        return _plain(random, random.choice(avro), named, field, calm)
    if isinstance(avro, str):
        return _plain(random, named[avro], named, field, calm) if avro in named else _scalar(random, avro, field, calm)
    kind = avro["type"]
    if kind in ("record", "enum"):
        named[avro["name"]] = named[f"mandate.{avro['name']}"] = avro
    if kind == "record":
        return {f["name"]: _plain(random, f["type"], named, f["name"], calm) for f in avro["fields"]}
    if kind == "enum":
        return random.choice(avro["symbols"])
    size = random.choice((0, 1, 2, 3)) if calm or random.random() < 0.99 else random.randint(101, 400)
    if kind == "array":
        return [_plain(random, avro["items"], named, field, calm) for _ in range(size)]
    if kind == "map":
        return {f"{strings.text(random)[:300]}{n}": _plain(random, avro["values"], named, field, calm)
                for n in range(size)}  # fmt: skip
    return _plain(random, kind, named, field, calm)


def _scalar(random: Random, avro: str, field: str, calm: bool) -> Any:
    if avro == "string":
        return random.choice(strings.ONCE_VALID) if calm else strings.text(random)
    if avro in _NUMBERS:
        top = 2 ** _NUMBERS[avro]
        number = strings.NUMBERS[-1] + random.randrange(10**9) if calm else random.choice(strings.NUMBERS)
        return max(-top, min(top - 1, number))
    if avro == "double":
        return random.random() if calm else random.choice(strings.FLOATS)
    if avro == "boolean":
        return random.random() < 0.5
    return random.randbytes(random.randrange(64)) if avro == "bytes" else None


# --- damage to its bytes
def _wire(number: int, body: bytes, magic: int = 0) -> bytes:
    return struct.pack(">BI", magic, number & 0xFFFFFFFF) + body


def _as_it_is(random: Random, name: str, ids: Mapping[str, int]) -> bytes:
    return _wire(ids[name], _body(random, name))


def _truncated(random: Random, name: str, ids: Mapping[str, int]) -> bytes:
    whole = _as_it_is(random, name, ids)
    return whole[: random.randrange(len(whole))]


def _longer(random: Random, name: str, ids: Mapping[str, int]) -> bytes:
    return _as_it_is(random, name, ids) + random.randbytes(random.randint(1, 40))


def _flipped(random: Random, name: str, ids: Mapping[str, int]) -> bytes:
    data = bytearray(_as_it_is(random, name, ids))
    for _ in range(random.randint(1, 6)):
        data[random.randrange(5, len(data)) if len(data) > 5 else 0] ^= 1 << random.randrange(8)
    return bytes(data)


def _counts(random: Random, name: str, ids: Mapping[str, int]) -> bytes:
    """A length or count somewhere in it becomes as large as can be, or less than nothing."""
    data = _as_it_is(random, name, ids)
    place = random.randrange(5, len(data) + 1)
    number = random.choice((b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x01", b"\xff" * 12, b"\x80" * 40 + b"\x01"))
    return data[:place] + number + data[place:]


def _other_type(random: Random, name: str, ids: Mapping[str, int]) -> bytes:
    other = str(TOPICS[random.choice(EVENT_INPUTS)].value_schema)
    return _wire(ids[name], _body(random, other))


def _other_id(random: Random, name: str, ids: Mapping[str, int]) -> bytes:
    return _wire(random.choice(sorted(ids.values())), _body(random, name))


def _unknown_id(random: Random, name: str, ids: Mapping[str, int]) -> bytes:
    number = random.choice((UNKNOWN_ID + random.randrange(100), 2**31 - 1, 2**31, 2**32 - 1, 0))
    return _wire(number, _body(random, name))


def _foreign(random: Random, name: str, ids: Mapping[str, int]) -> bytes:
    chosen = random.choice(sorted(n for n in ids if "/" not in n or n.startswith(f"{name}/")))
    start = random.choice((b"\x02" * random.randrange(100_000), b"\x80\x80\x80\x80\x80\x40", b"\x00", b""))
    return _wire(ids[chosen], start + _body(random, name))


def _wrong_magic(random: Random, name: str, ids: Mapping[str, int]) -> bytes:
    return _wire(ids[name], _body(random, name), random.randint(1, 255))


def _noise(random: Random, name: str, ids: Mapping[str, int]) -> bytes:
    noise = random.randbytes(random.randrange(200))
    return noise if random.random() < 0.3 else _wire(ids[name], noise)


def _json(random: Random, name: str, ids: Mapping[str, int]) -> bytes:
    return json.dumps({"event_id": strings.json_value(random), "lead_id": "lead-1"}).encode()


def _huge(random: Random, name: str, ids: Mapping[str, int]) -> bytes:
    return _wire(ids[name], random.choice((b"\x00", b"\x02", b"\xff", b"x")) * MAX_RECORD)


def _none(random: Random, name: str, ids: Mapping[str, int]) -> bytes | None:
    return random.choice((None, b"", b"\x00", b"\x00\x00\x00\x00"))


Damage = Callable[[Random, str, Mapping[str, int]], bytes | None]
_TABLE: tuple[tuple[str, Damage, int], ...] = (
    ("as it is", _as_it_is, 300),
    ("truncated", _truncated, 120),
    ("longer", _longer, 60),
    ("flipped", _flipped, 120),
    ("counts", _counts, 60),
    ("other type", _other_type, 60),
    ("other id", _other_id, 60),
    ("unknown id", _unknown_id, 40),
    ("foreign schema", _foreign, 40),
    ("wrong magic", _wrong_magic, 40),
    ("noise", _noise, 50),
    ("json", _json, 25),
    ("none", _none, 20),
    ("huge", _huge, 2),
)
_DAMAGES = [(how, damage) for how, damage, _ in _TABLE]
_WEIGHTS = [weight for _, _, weight in _TABLE]
DAMAGES = tuple(how for how, _, _ in _TABLE)


def _key(random: Random) -> bytes | None:
    if random.random() < 0.001:
        return random.randbytes(200_000)
    return random.choice((None, b"", b"lead-1", b"\xff\xfe\x00", b"twilio:CA1", "\u202ekey".encode()))


def _headers(random: Random) -> list[tuple[str, bytes | None]]:
    if random.random() < 0.7:
        return []
    if random.random() < 0.002:
        return [(f"h{n}", random.randbytes(1_000)) for n in range(200)]
    names = ("traceparent", "TraceParent", "ce_id", "__connect.errors.topic", "", "\u202e\x1b", "x" * 300)
    contents = (
        None,
        b"",
        b"\xff\xfe",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"\r\n",
        b"t" * 5_000,
    )
    return [(random.choice(names), random.choice(contents)) for _ in range(random.randint(1, 4))]
