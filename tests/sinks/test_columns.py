"""How records become rows: every audited record has columns that a data person can query."""

import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from schemas import records as r
from schemas.catalogue import TOPICS
from sinks.columns import SOURCE, TIMESTAMP, row_maker, table_of, table_schema
from sinks.lake import AUDITED
from tests.sinks.support import NOON

FACT = r.FactRef(name="intent.meeting", value="confirmed", version=3, offset=41, final=True)
DECISION = r.Decision(
    decision_id=r.DecisionId("d1"), request_id=r.RequestId("r1"), lead_id=r.LeadId("l1"), agent_id=r.AgentId("a1"),
    role="booking", action="schedule_meeting", channel=r.Channel.VOICE, verdict=r.Verdict.DEFER,
    criteria=(
        r.Criterion(
            name=r.CriterionName.STATE, verdict=r.Verdict.DEFER,
            reasons=(r.Reason(code=r.ReasonCode.LEAD_SPEAKING, rule_id="x", message="m", facts=(FACT,)),),
        ),
    ),
    defer=r.DeferTerms(defer_id="w1", deadline=NOON + 1, on_deadline=r.DeferEnd.BLOCK, resume_when=("turn",)),
    speech_mode=r.SpeechMode.OPEN, policy_version="1", policy_digest="p", read_set=(FACT,),
    position=r.Position(partition=2, offset=42), requested_at=NOON, at=NOON,
)  # fmt: skip
TICK = r.JournalEntry(
    entry_id="e1", lead_id=r.LeadId(""), kind=r.EntryKind.TICK, at=NOON, source_topic="", source_partition=-1,
    source_offset=-1, body=r.Tick(tick_id="t1", at=NOON),
)  # fmt: skip


def arrow_row(record: r.Record) -> dict[str, object]:
    """The record's row after it went through Arrow, as a reader gets it."""
    table = pa.Table.from_pylist([row_maker(type(record))(record)], schema=table_schema(type(record)))
    found: dict[str, object] = table.to_pylist()[0]
    return found


@pytest.mark.parametrize("topic", AUDITED)
def test_every_audited_topic_has_a_table_of_typed_columns_with_the_schemas_docs(topic: str) -> None:
    record = TOPICS[topic].value
    assert record is not None
    schema = table_schema(record)
    assert set(schema.names) == {*record.__struct_fields__, *(name for name, _, _ in SOURCE)}
    assert schema.field("at").type == TIMESTAMP
    assert all((field.metadata or {}).get(b"doc") for field in schema)
    assert all(field.nullable for field in schema)


def test_nested_records_keep_their_structure() -> None:
    row = arrow_row(DECISION)
    assert row["verdict"] == "DEFER"
    assert row["criteria"][0]["reasons"][0]["facts"][0]["version"] == 3  # type: ignore[index]
    assert row["defer"]["resume_when"] == ["turn"]  # type: ignore[index]
    assert row["position"] == {"partition": 2, "offset": 42}


def test_times_become_timestamps_also_within_structs() -> None:
    row = arrow_row(DECISION)
    assert row["at"] == datetime.fromtimestamp(NOON / 1_000_000, UTC)
    assert row["defer"]["deadline"] == datetime.fromtimestamp((NOON + 1) / 1_000_000, UTC)  # type: ignore[index]


def test_what_is_null_in_the_record_is_null_in_the_row() -> None:
    row = arrow_row(DECISION)
    assert row["grant"] is None
    assert row["defer"]["not_before"] is None  # type: ignore[index]


def test_the_body_of_a_journal_entry_is_json_text_that_says_its_times_plainly() -> None:
    body = arrow_row(TICK)["body"]
    assert isinstance(body, str)
    assert json.loads(body) == {"tick_id": "t1", "at": "2026-05-28T20:26:40.000Z"}


def test_a_map_of_bytes_is_a_map_of_binary() -> None:
    letter = r.DeadLetter(
        dead_letter_id="x", topic="t", partition=0, offset=1, value=b"\xff\x00", headers={"h": b"\xfe"},
        code=r.DeadLetterCode.NOT_AVRO, error="e", stage="intake", at=NOON,
    )  # fmt: skip
    row = arrow_row(letter)
    assert (row["value"], row["headers"]) == (b"\xff\x00", [("h", b"\xfe")])


def test_a_record_whose_numbers_do_not_fit_keeps_its_place_and_its_bytes_and_the_others_their_columns() -> None:
    schema, make = table_schema(r.Decision), row_maker(r.Decision)
    wide = r.Decision(**{**{name: getattr(DECISION, name) for name in DECISION.__struct_fields__},
                         "position": r.Position(partition=2**40, offset=1)})  # fmt: skip
    table = table_of([make(DECISION) | {"_offset": 7}, make(wide) | {"_offset": 8}], [b"good", b"bad"], schema)
    good, bad = table.to_pylist()
    assert (good["_offset"], good["verdict"], good["_raw"]) == (7, "DEFER", None)
    assert (bad["_offset"], bad["verdict"], bad["_raw"]) == (8, None, b"bad")
    assert bad["_error"]
