"""Records as JSON for people: unions plain, times as ISO 8601, bytes as text where they are UTF-8.

What `to_json` prints `from_json` reads. Reading is strict: an unknown field, a wrong type or an unknown symbol is
an error that names the place.
"""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from schemas import codec, records
from schemas.avro_files import NAMESPACE, definition
from schemas.records import Record, TimeUs

R = TypeVar("R", bound=Record)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTS = {"int": 31, "long": 63}


class JsonError(ValueError):
    """A JSON value that does not fit its schema; the message names the place and what is expected there."""


def iso(at: TimeUs) -> str:
    """Microseconds since 1970 as ISO 8601 in UTC: milliseconds, or microseconds where there are any."""
    moment = _EPOCH + timedelta(microseconds=at)
    return moment.isoformat(timespec="microseconds" if at % 1000 else "milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> TimeUs:
    """ISO 8601 with a zone to microseconds since 1970; ValueError otherwise."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: add Z or an offset")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def to_json(value: Record) -> dict[str, Any]:
    """A record as plain JSON values, fields in schema order."""
    return _write_record(definition(type(value).__name__), value)


def _write_record(schema: dict[str, Any], value: Record) -> dict[str, Any]:
    return {field["name"]: _write(field["type"], getattr(value, field["name"])) for field in schema["fields"]}


def _write(avro: Any, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Record):
        return _write_record(definition(type(value).__name__), value)
    if isinstance(avro, list):
        avro = next((branch for branch in avro if branch != "null"), avro)
    if isinstance(avro, dict):
        if avro["type"] == "array":
            return [_write(avro["items"], item) for item in value]
        if avro["type"] == "map":
            return {key: _write(avro["values"], value[key]) for key in sorted(value)}
        return iso(value)
    if isinstance(value, bytes):
        return bytes_to_json(value)
    return str(value) if isinstance(value, str) else value


def bytes_to_json(value: bytes) -> Any:
    """Text where the bytes are UTF-8, else {"base64": ...}."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode("ascii")}


def from_json(record: type[R], value: Any) -> R:
    """A record from plain JSON values; raises JsonError."""
    name = record.__name__
    plain = _read_record(definition(name), value, name)
    try:
        return codec._typed(record, plain)
    except (ValueError, msgspec.ValidationError) as error:
        raise JsonError(str(error)) from error


def _read_record(schema: dict[str, Any], value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise JsonError(f"{where}: expected an object, got {_kind(value)}")
    fields = {field["name"]: field for field in schema["fields"]}
    for name in value:
        if name not in fields:
            raise JsonError(f"{where}.{name}: no such field; {schema['name']} has {', '.join(fields)}")
    if schema["name"] == "JournalEntry":
        _narrow_body(fields, value, where)
    out = {}
    for name, field in fields.items():
        if name in value:
            out[name] = _read(field["type"], value[name], f"{where}.{name}")
        elif "default" in field:
            out[name] = _read(field["type"], field["default"], f"{where}.{name}")
        else:
            raise JsonError(f"{where}.{name}: missing ({field.get('doc', '')})")
    return out


def _narrow_body(fields: dict[str, Any], value: dict[str, Any], where: str) -> None:
    try:
        body = codec.BODY_TYPES[records.EntryKind(str(value.get("kind")))]
    except (ValueError, KeyError) as error:
        raise JsonError(f"{where}.kind: {value.get('kind')!r} is not a kind of entry") from error
    fields["body"] = {**fields["body"], "type": f"{NAMESPACE}.{body.__name__}"}


def _read(avro: Any, value: Any, where: str) -> Any:
    if isinstance(avro, list):
        return _read_union(avro, value, where)
    if isinstance(avro, dict):
        if avro["type"] == "array":
            if not isinstance(value, list | tuple):
                raise JsonError(f"{where}: expected a list, got {_kind(value)}")
            return [_read(avro["items"], item, f"{where}[{i}]") for i, item in enumerate(value)]
        if avro["type"] == "map":
            if not isinstance(value, dict):
                raise JsonError(f"{where}: expected an object, got {_kind(value)}")
            return {str(key): _read(avro["values"], item, f"{where}.{key}") for key, item in value.items()}
        return _read_time(value, where)
    if avro.startswith(NAMESPACE + "."):
        schema = definition(avro.removeprefix(NAMESPACE + "."))
        if schema["type"] == "record":
            return _read_record(schema, value, where)
        if value not in schema["symbols"]:
            raise JsonError(f"{where}: {value!r} is not one of {', '.join(schema['symbols'])}")
        return value
    return _read_primitive(avro, value, where)


def _read_union(avro: list[Any], value: Any, where: str) -> Any:
    branches = [branch for branch in avro if branch != "null"]
    if value is None and len(branches) < len(avro):
        return None
    errors = []
    for branch in branches:
        try:
            return _read(branch, value, where)
        except JsonError as error:
            errors.append(str(error))
    raise JsonError(errors[0] if len(errors) == 1 else f"{where}: {_kind(value)} fits none of the types allowed here")


def _read_time(value: Any, where: str) -> TimeUs:
    if isinstance(value, int) and not isinstance(value, bool):
        return TimeUs(_read_primitive("long", value, where))
    try:
        return parse_time(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise JsonError(f"{where}: expected an ISO 8601 time with a zone ({error})") from error


def _read_primitive(avro: str, value: Any, where: str) -> Any:
    if avro == "bytes":
        return _read_bytes(value, where)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if avro in _INTS and is_number and abs(value) < 2 ** _INTS[avro]:
        return value
    if avro == "double" and (is_number or isinstance(value, float)):
        return float(value)
    if avro == "string" and isinstance(value, str) and not value.isascii():
        _check_encodable(value, where)
    if (avro == "string" and isinstance(value, str)) or (avro == "boolean" and isinstance(value, bool)):
        return value
    raise JsonError(f"{where}: expected {avro}, got {_kind(value)}")


def _check_encodable(value: str, where: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise JsonError(f"{where}: half of a surrogate pair stands alone ({error.reason})") from error


def _read_bytes(value: Any, where: str) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, dict) and set(value) == {"base64"}:
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise JsonError(f"{where}.base64: {error}") from error
    raise JsonError(f'{where}: expected text or {{"base64": ...}}, got {_kind(value)}')


def _kind(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} {str(value)[:60]!r}"
