"""Wire bytes: what is written is read back, and anything else is refused with a reason, never with a crash."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec, jsonio, records
from schemas.avro_files import definition, names
from schemas.catalogue import TOPICS
from schemas.codec import MAX_BYTES, Codec, CodecError, schema_json
from schemas.records import CallEvent, DeadLetterCode, Tick
from tests.schemas import values

RECORDS = [name for name in names() if definition(name)["type"] == "record"]
IDS = {topic.value_schema: number for number, topic in enumerate(TOPICS.values(), start=1) if topic.value_schema}
TICK = Tick(tick_id="t", at=1)


def _no_other(number: int) -> str:
    raise KeyError(number)


def _prefix(number: int) -> bytes:
    return b"\x00" + number.to_bytes(4, "big")


CODEC = Codec(IDS, _no_other)


@pytest.mark.parametrize("name", RECORDS)
@given(data=st.data())
def test_every_record_survives_avro(name, data):
    value = data.draw(values.record(name))
    assert codec.decode(type(value), codec.encode(value)) == value


@pytest.mark.parametrize("name", RECORDS)
@given(data=st.data())
def test_every_record_survives_json(name, data):
    value = data.draw(values.record(name))
    text = json.dumps(jsonio.to_json(value))
    assert jsonio.from_json(type(value), json.loads(text)) == value


@given(data=st.data())
def test_the_same_record_is_always_the_same_bytes(data):
    value = data.draw(values.record("JournalEntry"))
    assert codec.encode(value) == codec.encode(codec.decode(type(value), codec.encode(value)))


def test_the_wire_format_is_confluents():
    data = CODEC.encode(records.ClockReading(at=1))
    assert data[0] == 0
    assert int.from_bytes(data[1:5], "big") == IDS["ClockReading"]
    assert data[5:] == codec.encode(records.ClockReading(at=1)) == b"\x02"


@given(st.binary(max_size=64), st.sampled_from([CallEvent, records.JournalEntry, records.ProviderWebhook]))
def test_hostile_bytes_are_a_record_by_chance_or_refused_with_a_reason(data, record):
    for wire in (data, _prefix(IDS[record.__name__]) + data):
        try:
            outcome = CODEC.decode(record, wire)
        except CodecError as error:
            outcome = error
        assert isinstance(outcome, record) or (str(outcome) and outcome.code in DeadLetterCode)


@given(data=st.data())
def test_cut_off_bytes_are_never_a_record(data):
    whole = CODEC.encode(data.draw(values.record("AgentRequest")))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(CodecError):
        CODEC.decode(records.AgentRequest, whole[:cut])


def _refused(record: type[records.Record], data: bytes | None) -> CodecError:
    with pytest.raises(CodecError) as caught:
        CODEC.decode(record, data)
    return caught.value


def test_a_tombstone_is_not_a_record():
    assert _refused(CallEvent, None).code is DeadLetterCode.NOT_AVRO


def test_json_where_avro_is_due_is_refused_and_says_what_to_use():
    error = _refused(CallEvent, b'{"event_id": "e1"}')
    assert error.code is DeadLetterCode.NOT_AVRO
    assert "registry-aware serializer" in str(error)


def test_bytes_left_over_are_refused():
    assert "left over" in str(_refused(records.ClockReading, CODEC.encode(records.ClockReading(at=1)) + b"\x00"))


def test_an_id_that_the_registry_does_not_have_is_refused_by_its_number():
    error = _refused(CallEvent, _prefix(4711) + b"\x02")
    assert error.code is DeadLetterCode.UNKNOWN_SCHEMA
    assert "4711" in str(error)


def test_a_record_of_another_type_is_refused_by_both_names():
    other = Codec(IDS, lambda _: schema_json("MessageEvent"))
    with pytest.raises(CodecError) as caught:
        other.decode(CallEvent, _prefix(4711) + b"\x02")
    assert caught.value.code is DeadLetterCode.WRONG_SCHEMA
    assert "MessageEvent" in str(caught.value)
    assert "CallEvent" in str(caught.value)


def test_a_record_longer_than_the_limit_is_refused_unread():
    error = _refused(CallEvent, _prefix(IDS["CallEvent"]) + b"\x00" * MAX_BYTES)
    assert error.code is DeadLetterCode.TOO_LARGE


def test_a_journal_entry_whose_kind_is_not_that_of_its_body_is_refused():
    entry = records.JournalEntry(
        entry_id="e", lead_id="l", kind=records.EntryKind.CALL, at=1, source_topic="t", source_partition=0,
        source_offset=0, body=TICK,
    )  # fmt: skip
    with pytest.raises(CodecError):
        codec.decode(records.JournalEntry, codec.encode(entry))


def test_a_schema_is_fetched_once_however_many_records_bear_its_id():
    asked: list[int] = []

    def fetch(number: int) -> str:
        asked.append(number)
        return schema_json("ClockReading")

    reader = Codec(IDS, fetch)
    wire = _prefix(4711) + b"\x02"
    assert [reader.decode(records.ClockReading, wire).at for _ in range(3)] == [1, 1, 1]
    assert asked == [4711]


def _reading(**first_field: object) -> str:
    """The schema of ClockReading with one more field before its own."""
    schema = json.loads(schema_json("ClockReading"))
    schema["fields"].insert(0, {"name": "more", **first_field})
    return json.dumps(schema)


_NODE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
_NOTHING = {"type": "record", "name": "Nothing", "fields": []}
_PAIR = {"type": "record", "name": "Pair", "fields": [{"name": "a", "type": "int"}]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('syntax = "proto3"; message ClockReading {}', "no Avro schema"),
        ("[" * 100_000, "no Avro schema"),
        ('["null", "string"]', "is 'None'"),
        ('{"type": "record", "name": "mandate.ClockReading", "fields": [{"name": "at", "type": "when"}]}', "no Avro"),
        ('{"type": "record", "name": "mandate.ClockReading"}', "takes no bytes"),
        (_reading(type=_NODE), "nests mandate.Node in itself"),
        (_reading(type="null"), "takes no bytes"),
        (_reading(type={"type": "array", "items": "null"}), "takes no bytes"),
        (_reading(type={"type": "array", "items": _NOTHING}), "takes no bytes"),
        (_reading(type={"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}), "takes no bytes"),
        (_reading(type="string", doc="x" * 300_000), "characters"),
    ],
)
def test_a_schema_that_would_break_its_reader_is_refused_each_time_and_fetched_once(text: str, why: str) -> None:
    asked: list[int] = []

    def fetch(number: int) -> str:
        asked.append(number)
        return text

    reader = Codec(IDS, fetch)
    # Read by the schemas above, these bytes nest 900,000 deep, or are a list of 2**40 items.
    for body in (b"\x02" * 900_000, b"\x80\x80\x80\x80\x80\x40"):
        with pytest.raises(CodecError, match=why) as caught:
            reader.decode(records.ClockReading, _prefix(4711) + body)
        assert caught.value.code is DeadLetterCode.WRONG_SCHEMA
    assert asked == [4711]


@pytest.mark.parametrize("name", RECORDS)
@given(data=st.data())
def test_records_of_the_contract_are_read_by_the_schema_that_the_registry_has(name, data):
    value = data.draw(values.record(name))
    reader = Codec(IDS, lambda _: schema_json(name))
    assert reader.decode(type(value), _prefix(4711) + codec.encode(value)) == value


@pytest.mark.parametrize(
    "more",
    [
        {"type": ["null", _PAIR]},
        {"type": {"type": "map", "values": "null"}},
        {"type": {"type": "array", "items": {"type": "enum", "name": "E", "symbols": ["A"]}}},
        {"type": {"type": "fixed", "name": "F", "size": 1}},
    ],
)
def test_a_schema_with_a_field_of_its_own_is_read(more: dict[str, object]) -> None:
    reader = Codec(IDS, lambda _: _reading(**more))
    assert reader.decode(records.ClockReading, _prefix(4711) + b"\x00\x02").at == 1


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"tick_id": "t"}, "Tick.at"),
        ({"tick_id": "t", "at": "yesterday"}, "Tick.at"),
        ({"tick_id": "t", "at": "2026-01-05T10:00:00"}, "Tick.at"),
        ({"tick_id": 7, "at": 1}, "Tick.tick_id"),
        ({"tick_id": "t", "at": 1, "more": 1}, "Tick.more"),
        ([], "Tick"),
    ],
)
def test_json_that_does_not_fit_is_refused_with_the_place(value, place):
    with pytest.raises(jsonio.JsonError, match=f"^{place}: "):
        jsonio.from_json(Tick, value)


def test_an_unknown_symbol_in_json_is_refused_with_the_symbols_that_there_are():
    with pytest.raises(jsonio.JsonError, match="CALL_RINGING"):
        jsonio.from_json(CallEvent, {"event_id": "e", "provider": "p", "call_id": "c", "type": "R", "received_at": 1})
