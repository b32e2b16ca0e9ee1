"""The schema files: complete, documented, evolvable; and the checker refuses those that are not."""

import copy
from typing import Any

import fastavro
import pytest

from schemas.avro_files import definition, names, self_contained
from schemas.catalogue import TOPICS
from schemas.generate import source
from schemas.records import __file__ as records_file
from tests.schemas.contract_lint import faults

# Rows of control's table that no topic's value names.
TABLE_ROWS = ("LeadState", "PartitionState", "PolicyHistory")
ALL = {name: definition(name) for name in names()}
ROOTS = [topic.value_schema for topic in TOPICS.values() if topic.value_schema] + list(TABLE_ROWS)


def test_every_type_is_documented_evolvable_and_used():
    assert faults(ALL, ROOTS) == []


@pytest.mark.parametrize("name", names())
def test_every_type_is_avro_that_others_can_parse(name):
    assert fastavro.parse_schema(self_contained(name))


@pytest.mark.parametrize("topic", [topic for topic in TOPICS.values() if topic.value_schema], ids=lambda t: t.name)
def test_every_topic_value_has_a_schema_file(topic):
    assert ALL[topic.value_schema]["type"] == "record"


def test_the_typed_records_are_what_the_schemas_say():
    with open(records_file, encoding="utf-8") as file:
        assert file.read() == source(), "run `python -m schemas.generate`"


def _without_doc(schemas: Any) -> str:
    del schemas["CallEvent"]["doc"]
    return "CallEvent: no doc"


def _field_without_doc(schemas: Any) -> str:
    schemas["CallEvent"]["fields"][0]["doc"] = " "
    return "CallEvent.event_id: no doc"


def _enum_without_default(schemas: Any) -> str:
    del schemas["CallEventType"]["default"]
    return "CallEventType: no default among its symbols, so readers can't take a new one"


def _default_outside_the_symbols(schemas: Any) -> str:
    schemas["CallEventType"]["default"] = "OTHER"
    return "CallEventType: no default among its symbols, so readers can't take a new one"


def _lower_case_symbol(schemas: Any) -> str:
    schemas["CallEventType"]["symbols"].append("Ringing")
    return "CallEventType: symbol Ringing is not upper snake case"


def _dangling_type(schemas: Any) -> str:
    del schemas["CallEndCause"]
    return "CallEvent.cause: there is no type mandate.CallEndCause"


def _orphan(schemas: Any) -> str:
    schemas["Orphan"] = {"type": "enum", "name": "Orphan", "namespace": "mandate", "doc": "x", "symbols": ["A"]}
    schemas["Orphan"]["default"] = "A"
    return "Orphan: no topic and no table row uses it"


def _wrong_namespace(schemas: Any) -> str:
    schemas["Tick"]["namespace"] = "other"
    return "Tick: the file's type is other.Tick"


def _null_not_first(schemas: Any) -> str:
    schemas["CallEvent"]["fields"].append({"name": "x", "doc": "x", "type": ["string", "null"], "default": None})
    return "CallEvent.x: a default of null needs null first in the union"


def _inline_type(schemas: Any) -> str:
    inline = {"type": "enum", "name": "Inline", "symbols": ["A"]}
    schemas["CallEvent"]["fields"].append({"name": "x", "doc": "x", "type": inline})
    return "CallEvent.x: an inline type: give it a file of its own"


def _bare_time(schemas: Any) -> str:
    schemas["CallEvent"]["fields"].append({"name": "seen_at", "doc": "x", "type": "long"})
    return "CallEvent.seen_at: a time without logicalType timestamp-micros"


@pytest.mark.parametrize(
    "spoil",
    [
        _without_doc, _field_without_doc, _enum_without_default, _default_outside_the_symbols, _lower_case_symbol,
        _dangling_type, _orphan, _wrong_namespace, _null_not_first, _inline_type, _bare_time,
    ],
)  # fmt: skip
def test_the_checker_refuses_a_schema_that(spoil):
    schemas = copy.deepcopy(ALL)
    expected = spoil(schemas)
    assert expected in faults(schemas, ROOTS)
