"""From Avro schema to table columns, and from record to row.

Times become timestamps with zone, nested records structs, arrays lists, maps maps, bytes binary. A union of several
types has no column type: it becomes JSON text, as `schemas.jsonio` writes it. Every column may be null, so that a
schema can gain and lose fields, and so that a record that can't be decoded has a row too.
"""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa

from schemas import jsonio
from schemas.avro_files import NAMESPACE, definition
from schemas.records import Record

Row = dict[str, Any]
Convert = Callable[[Any], Any] | None
"""Makes a column's value of a field's; None: the value is taken as it is."""

TIMESTAMP = pa.timestamp("us", tz="UTC")
_PRIMITIVES = {
    "string": pa.string(),
    "bytes": pa.binary(),
    "int": pa.int32(),
    "long": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
}

SOURCE = (
    ("_topic", pa.string(), "topic that the record came from"),
    ("_partition", pa.int32(), "its partition"),
    ("_offset", pa.int64(), "its offset there"),
    ("_timestamp", TIMESTAMP, "its Kafka timestamp"),
    ("_key", pa.string(), "its Kafka key as text"),
    ("_ingested_by", pa.string(), "which audit sink landed it"),
    ("_error", pa.string(), "why the value could not be decoded; null when it could"),
    ("_raw", pa.binary(), "the value's bytes when it could not be decoded"),
)
"""Columns of every table beside the record's own."""


def table_schema(record: type[Record]) -> pa.Schema:
    """Columns of a record's table; the schema's docs are the columns' comments."""
    own = [_field(field) for field in definition(record.__name__)["fields"]]
    return pa.schema([*own, *(pa.field(name, kind, metadata={"doc": doc}) for name, kind, doc in SOURCE)])


def row_maker(record: type[Record]) -> Callable[[Any], Row]:
    """A function from a record of this type to its own columns."""
    return _record_converter(definition(record.__name__))


def table_of(rows: list[Row], values: list[bytes | None], schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table. values: each row's bytes, which it keeps instead where its fields do not fit."""
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except (pa.ArrowException, OverflowError):
        fitting = [_fitting(row, value, schema) for row, value in zip(rows, values, strict=True)]
        return pa.Table.from_pylist(fitting, schema=schema)


def _fitting(row: Row, value: bytes | None, schema: pa.Schema) -> Row:
    """The row itself, or what says where it came from: hostile Avro holds integers wider than its type."""
    try:
        pa.Table.from_pylist([row], schema=schema)
    except (pa.ArrowException, OverflowError) as error:
        origin = {name: row.get(name) for name, _, _ in SOURCE}
        return origin | {"_error": str(error)[:500], "_raw": value}
    return row


def _field(field: dict[str, Any]) -> pa.Field:
    doc = {"doc": field["doc"]} if field.get("doc") else None
    return pa.field(field["name"], _type(field["type"]), metadata=doc)


def _type(avro: Any) -> pa.DataType:
    kind = _resolved(avro)
    if isinstance(kind, str):
        return _PRIMITIVES[kind]
    if kind is None:
        return pa.string()
    match kind["type"]:
        case "record":
            return pa.struct([_field(field) for field in kind["fields"]])
        case "enum":
            return pa.string()
        case "array":
            return pa.list_(_type(kind["items"]))
        case "map":
            return pa.map_(pa.string(), _type(kind["values"]))
    return TIMESTAMP


def _resolved(avro: Any) -> Any:
    """The schema's definition or primitive, without null; None for a union of several types."""
    if isinstance(avro, list):
        branches = [branch for branch in avro if branch != "null"]
        return _resolved(branches[0]) if len(branches) == 1 else None
    if isinstance(avro, str) and avro.startswith(NAMESPACE + "."):
        return definition(avro.removeprefix(NAMESPACE + "."))
    return avro


def _converter(avro: Any) -> Convert:
    kind = _resolved(avro)
    if kind is None:
        return _json_text
    if isinstance(kind, str):
        return None
    match kind["type"]:
        case "record":
            return _optional(_record_converter(kind))
        case "array":
            return _optional(_each(_converter(kind["items"])))
        case "map":
            return _optional(_each_value(_converter(kind["values"])))
    return None


def _record_converter(schema: dict[str, Any]) -> Callable[[Any], Row]:
    names = [field["name"] for field in schema["fields"]]
    converters = [(field["name"], _converter(field["type"])) for field in schema["fields"]]
    changed = [(name, convert) for name, convert in converters if convert is not None]

    def convert(value: Any) -> Row:
        row = {name: getattr(value, name) for name in names}
        for name, change in changed:
            row[name] = change(row[name])
        return row

    return convert


def _optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


def _each(convert: Convert) -> Callable[[Any], list[Any]]:
    return list if convert is None else lambda values: [convert(value) for value in values]


def _each_value(convert: Convert) -> Callable[[Any], list[tuple[str, Any]]]:
    if convert is None:
        return lambda values: list(values.items())
    return lambda values: [(name, convert(value)) for name, value in values.items()]


def _json_text(value: Any) -> str | None:
    if value is None:
        return None
    plain = jsonio.to_json(value) if isinstance(value, Record) else msgspec.to_builtins(value)
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
