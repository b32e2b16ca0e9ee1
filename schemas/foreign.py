"""Schemas that others registered: which of them bytes may be read with.

Anybody who may register a schema chooses what the reader does with a record's bytes. So a foreign schema must be
Avro, small, never nest in itself (a record would nest as deep as its bytes are long, past the reader's stack), and
hold nothing that takes no bytes (ten bytes would be an endless list of it).
"""

import json
from typing import Any

import fastavro

MAX_SCHEMA = 262_144
"""Characters; the largest of the contract has a tenth of that."""
_RECORDS = ("record", "error")


class ForeignSchemaError(ValueError):
    """A schema that no bytes are read with; the message says why, for whoever registered it."""


def writer_of(text: str, record: str) -> Any:
    """The parsed schema that records of a type were written with; ForeignSchemaError when it can't be used."""
    if len(text) > MAX_SCHEMA:
        raise ForeignSchemaError(f"has {len(text)} characters; at most {MAX_SCHEMA} are taken")
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ForeignSchemaError("is no Avro schema") from error
    written = schema.get("name") if isinstance(schema, dict) else None
    if written not in (record, f"mandate.{record}"):
        raise ForeignSchemaError(f"is {str(written)[:100]!r}, not mandate.{record}")
    try:
        parsed = fastavro.parse_schema(_without_logical_types(schema))
        _check(parsed, ())
    except ForeignSchemaError:
        raise
    except Exception as error:  # fastavro raises a dozen types on hostile schemas; all mean the same here
        raise ForeignSchemaError(f"is no Avro schema ({type(error).__name__})") from error
    return parsed


def _without_logical_types(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_logical_types(branch) for branch in node]
    if isinstance(node, dict):
        return {k: _without_logical_types(v) for k, v in node.items() if k != "logicalType"}
    return node


def _check(node: Any, within: tuple[str, ...]) -> None:
    """Raises ForeignSchemaError for what would have no end."""
    if isinstance(node, list):
        for branch in node:
            if branch != "null":
                _check(branch, within)
        return
    if isinstance(node, str):
        if node in within:
            raise ForeignSchemaError(f"nests {node} in itself")
        if node == "null":
            raise ForeignSchemaError("has a field or a list of what takes no bytes")
        return
    kind = node["type"]
    if kind in _RECORDS:
        for field in node["fields"]:
            _check(field["type"], (*within, node["name"]))
    elif kind == "array":
        _check(node["items"], within)
    elif kind == "map":
        if node["values"] != "null":
            _check(node["values"], within)
    elif not isinstance(kind, str):
        _check(kind, within)
    if kind == "null" or (kind == "fixed" and not node["size"]) or (kind in _RECORDS and not node["fields"]):
        raise ForeignSchemaError("has a field or a list of what takes no bytes")
