"""Hypothesis strategies for records, derived from the schema files."""

from typing import Any, cast

from hypothesis import strategies as st

from schemas import records
from schemas.avro_files import definition
from schemas.codec import BODY_TYPES
from schemas.records import EntryKind, Record

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
# Whole seconds to microseconds, within what ISO 8601 can print.
TIMES = st.integers(0, 4_000_000_000_000_000)
PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31) + 1, 2**31 - 1),
    "long": st.integers(-(2**63) + 1, 2**63 - 1),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "bytes": st.binary(max_size=12),
    "string": TEXT,
}


def record(name: str) -> st.SearchStrategy[Record]:
    """Records of a type."""
    if name == "JournalEntry":
        return st.sampled_from([kind for kind in EntryKind if kind in BODY_TYPES]).flatmap(_journal_entry)
    made: type[Record] = getattr(records, name)
    fields = {field["name"]: _value(field["type"]) for field in definition(name)["fields"]}
    return st.fixed_dictionaries(fields).map(lambda values: made(**values))


def _journal_entry(kind: EntryKind) -> st.SearchStrategy[Record]:
    fields = {field["name"]: _value(field["type"]) for field in definition("JournalEntry")["fields"]
              if field["name"] not in ("kind", "body")}  # fmt: skip
    fixed = {"kind": st.just(kind), "body": record(BODY_TYPES[kind].__name__)}
    return st.fixed_dictionaries({**fields, **fixed}).map(lambda values: records.JournalEntry(**values))


def _value(avro: Any) -> st.SearchStrategy[Any]:
    if isinstance(avro, list):
        return st.one_of([_value(branch) for branch in avro])
    if isinstance(avro, dict):
        if avro["type"] == "array":
            return st.lists(_value(avro["items"]), max_size=2).map(tuple)
        if avro["type"] == "map":
            return st.dictionaries(TEXT, _value(avro["values"]), max_size=2)
        return TIMES
    if avro in PRIMITIVES:
        return PRIMITIVES[avro]
    name = avro.removeprefix("mandate.")
    schema = definition(name)
    if schema["type"] == "enum":
        return cast("st.SearchStrategy[Any]", st.sampled_from(list(getattr(records, name))))
    return record(name)
