"""`mandate dead-letters`: found, shown without harm, and sent again as they came."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.commands import dead_letters
from deploy.commands.dead_letters import Wrong, filter_of, hex_lines, printable
from deploy.dead_letters import REPLAYED_FROM, Filter, choose, lead_of, original_of, refusal, replayed_headers
from deploy.settings import Settings
from schemas.catalogue import EVENT_INPUTS, TOPIC_OF, TOPICS
from schemas.codec import schema_json
from schemas.headers import cloud_event, dead_letter
from schemas.records import DeadLetter, DeadLetterCode, Record
from streams import Broken
from streams.kafka import consumed, read_all
from streams.registry import connect
from tests.stacks import running_stack
from tests.topology.admitting import CODEC, IDS, START, S, call
from tests.topology.intake_process import Topics, eventually, intake, unique

ESCAPES = "\x1b]0;owned\x07\x9b2J\u202e\r\n"
NOTHING: dict[str, str | None] = {"topic": None, "code": None, "since": None, "lead": None}


def letter(value: Record | bytes | None = b"junk", **changed: Any) -> DeadLetter:
    topic = TOPIC_OF[type(value)] if isinstance(value, Record) else "telephony.events"
    body = CODEC.encode(value) if isinstance(value, Record) else value
    fields = {
        "dead_letter_id": "letter-1", "topic": topic, "partition": 1, "offset": 7, "key": b"any", "value": body,
        "code": DeadLetterCode.UNRESOLVED_LEAD, "error": "no lead", "stage": "intake", "at": START,
    }  # fmt: skip
    return DeadLetter(**{**fields, **changed})


# --- which
@pytest.mark.parametrize(
    ("chosen", "takes"),
    [
        ({}, True),
        ({"topic": "telephony.events"}, True),
        ({"topic": "crm.events"}, False),
        ({"code": "unresolved-lead"}, True),
        ({"code": "NOT_AVRO"}, False),
        ({"since": "2026-01-05T10:00:00Z"}, True),
        ({"since": "2026-01-05T10:00:00.001Z"}, False),
        ({"lead": "lead-1"}, True),
        ({"lead": "any"}, True),
        ({"lead": "lead-2"}, False),
        ({"topic": "telephony.events", "lead": "lead-2"}, False),
    ],
)
def test_filters_take_what_they_say(chosen: dict[str, str], takes: bool) -> None:
    assert filter_of(**{**NOTHING, **chosen}).takes(letter(call("e1", lead="lead-1")), CODEC) is takes


def test_a_lead_in_bytes_that_are_no_record_is_not_looked_for() -> None:
    event = call("e1", lead="lead-1")
    assert lead_of(letter(event), CODEC) == "lead-1"
    assert lead_of(letter(event, code=DeadLetterCode.WRONG_SCHEMA), CODEC) is None
    assert lead_of(letter(b"junk"), CODEC) is None
    assert lead_of(letter(event, topic="no.such.topic"), CODEC) is None


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"code": "BROKEN"}, "no code 'BROKEN'; there are UNKNOWN, NOT_AVRO"),
        ({"since": "yesterday"}, "--since 'yesterday' is no ISO 8601 time with a zone"),
        ({"since": "2026-01-05T10:00:00"}, "with a zone"),
    ],
)
def test_a_filter_that_can_not_be_meant_is_refused_in_a_sentence(typed: dict[str, str], says: str) -> None:
    with pytest.raises(Wrong, match=says):
        filter_of(**{**NOTHING, **typed})


# --- what they hold
def test_an_original_is_decoded_as_the_record_of_its_topic_or_of_the_topic_it_belongs_to() -> None:
    event = call("e1", lead="lead-1")
    assert original_of(letter(event), CODEC) == event
    wrong = letter(event, topic="crm.events", code=DeadLetterCode.WRONG_SCHEMA)
    assert original_of(wrong, decoder_with_registry()) == event
    for value in (None, b"", b"junk", CODEC.encode(event)[:-1], b"\x00" * 2_000_000):
        assert original_of(letter(value), CODEC) is None


def decoder_with_registry() -> Any:
    """A codec that finds every schema in the registry, as a real one does."""
    from schemas.codec import Codec

    names = {number: name for name, number in IDS.items()}
    return Codec(IDS, lambda number: schema_json(names[number]))


def test_nothing_that_strangers_wrote_moves_the_terminal() -> None:
    shown = printable("a" + ESCAPES + "ü\ud800")
    assert shown == "a\\x1b]0;owned\\x07\\x9b2J\\u202e\\r\\nü\\ud800"
    assert shown.isprintable()


def test_bytes_are_shown_in_hex_with_what_is_ascii_in_them() -> None:
    assert list(hex_lines(bytes(range(0x41, 0x51)) + b"\x1b\x00z")) == [
        "00000000  41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f 50  |ABCDEFGHIJKLMNOP|",
        "00000010  1b 00 7a                                         |..z|",
    ]


# --- which may go where
def test_inputs_can_be_replayed_and_nothing_else() -> None:
    allowed = {name for name in TOPICS if refusal(letter(topic=name)) is None}
    assert allowed == set(EVENT_INPUTS)
    assert {"execution.journal", "permission.decisions", "crm.updates", "dead.letters", "call.directory"}.isdisjoint(
        allowed
    )
    assert refusal(letter(topic="execution.journal")) == (
        "its topic execution.journal is no input: only intake, control may write there"
    )
    assert refusal(letter(topic="no.such.topic")) == "its topic no.such.topic is not in the catalogue"


def test_a_replay_has_the_originals_headers_and_says_where_it_comes_from() -> None:
    headers = {"traceparent": b"00-1", "__connect.errors.topic": b"x", REPLAYED_FROM: b"letter-0", "n": b""}
    assert replayed_headers(letter(headers=headers)) == [
        ("traceparent", b"00-1"), ("n", b""), (REPLAYED_FROM, b"letter-1"),
    ]  # fmt: skip


# --- on a real broker
@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with running_stack(tmp_path_factory.mktemp("dead-letters"), unresolved_wait_s=0.5) as settings:
        yield settings


@pytest.fixture(scope="module")
def topics(own_stack: Settings) -> Topics:
    return Topics(own_stack, connect(own_stack))


class Desk:
    """The command as an operator types it, and what it printed."""

    def __init__(self, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
        self.settings, self._capsys = settings, capsys

    def list(self, **options: Any) -> list[str]:
        chosen = {"from_start": False, "limit": 50, "summary": False, "as_json": False, **options}
        wanted = {**NOTHING, **chosen.pop("wanted", {})}
        return self._run(0, "list", wanted=wanted, **chosen)

    def rows(self, **options: Any) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.list(as_json=True, **options)]

    def show(self, name: str, *, code: int = 0, as_json: bool = False) -> list[str]:
        return self._run(code, "show", wanted=name, as_json=as_json)

    def replay(self, *ids: str, code: int = 0, wanted: dict[str, str] | None = None, **options: Any) -> list[str]:
        chosen = {"every": False, "dry_run": False, "yes": False, **options}
        return self._run(code, "replay", ids=[*ids], wanted={**NOTHING, **(wanted or {})}, **chosen)

    def _run(self, code: int, command: str, **arguments: Any) -> list[str]:
        self._capsys.readouterr()
        assert dead_letters.run(self.settings, command, **arguments) == code
        printed, self.errors = self._capsys.readouterr()
        return printed.splitlines()


@pytest.fixture
def desk(own_stack: Settings, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(own_stack, capsys)


def put_letter(topics: Topics, value: DeadLetter) -> None:
    """Writes a letter as intake would."""
    headers = dead_letter(
        value.headers, topic=value.topic, partition=value.partition, offset=value.offset, stage=value.stage,
        code=value.code, error=value.error,
    )  # fmt: skip
    event = cloud_event(value, id=value.dead_letter_id, source="/test", subject="", at=value.at)
    topics.sender.send("dead.letters", topics.codec.encode(value), key=value.key, headers=headers + event)
    topics.sender.flush()


def sent_again(topics: Topics, name: str) -> list[Any]:
    """Records that are the replay of a letter, wherever letters of these tests came from."""
    return [
        record
        for topic in ("telephony.events", "crm.events", "execution.journal", "permission.decisions")
        for record in map(consumed, read_all(topics.settings, topic))
        if dict(record.headers).get(REPLAYED_FROM) == name.encode()
    ]


@pytest.mark.broker
def test_a_letter_is_found_shown_mended_and_replayed_into_the_journal(
    own_stack: Settings, topics: Topics, desk: Desk
) -> None:
    lead, call_id, trace = unique("lead"), unique("call"), b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with intake(own_stack):
        topics.put(call("e1", call_id=call_id), partition=2, headers=[("traceparent", trace)])
        (row,) = eventually(lambda: [row for row in desk.rows() if call_id in row["error"]])
        name = row["dead_letter_id"]
        assert (row["code"], row["topic"], row["partition"]) == ("UNRESOLVED_LEAD", "telephony.events", 2)
        told = "\n".join(desk.show(name))
        assert f'"call_id": "{call_id}"' in told
        assert "a CallEvent:" in told
        assert "Replay   can be sent again" in told

        topics.put(call("e2", call_id=call_id, lead=lead))  # now the call's lead is known
        assert eventually(lambda: topics.events_of(lead)) == ["e2"]
        assert desk.replay(name) == ["1 × UNRESOLVED_LEAD to telephony.events", "1 sent; the broker holds it."]
        eventually(lambda: len(topics.events_of(lead)) == 2)
    assert topics.events_of(lead) == ["e2", "e1"]
    (record,) = sent_again(topics, name)
    (first,) = (
        r
        for r in map(consumed, read_all(own_stack, "telephony.events"))
        if r.offset == row["offset"] and r.partition == 2
    )
    assert (record.key, record.value, record.partition) == (first.key, first.value, 2)
    assert record.headers == [("traceparent", trace), (REPLAYED_FROM, name.encode())]


@pytest.mark.broker
def test_a_replay_whose_cause_is_not_mended_is_a_letter_again_and_all_of_them_does_not_double_it(
    own_stack: Settings, topics: Topics, desk: Desk
) -> None:
    junk = unique("junk").encode()
    with intake(own_stack):
        topics.put_bytes("messaging.events", junk)
        wanted = {"topic": "messaging.events", "code": "NOT_AVRO"}
        (row,) = eventually(lambda: desk.rows(wanted=wanted))
        desk.replay(row["dead_letter_id"])
        newer, older = eventually(lambda: rows if len(rows := desk.rows(wanted=wanted)) == 2 else [])
        assert older == row
        assert newer["replayed_from"] == row["dead_letter_id"]
        plan = desk.replay(every=True, wanted=wanted, dry_run=True)
        assert plan == [
            "1 × NOT_AVRO to messaging.events",
            f"{row['dead_letter_id']} left out: it came back as {newer['dead_letter_id']}",
            "Nothing was sent.",
        ]
        again = desk.replay(row["dead_letter_id"])
    assert f"{row['dead_letter_id']} was replayed before and came back as {newer['dead_letter_id']}" in again


@pytest.mark.broker
def test_hostile_letters_are_listed_and_shown_as_printable_lines(topics: Topics, desk: Desk) -> None:
    name = unique("letter")
    hostile: dict[str, Any] = {
        "key": ESCAPES.encode(), "headers": {"x" + ESCAPES: b"\x1b[2J"}, "code": DeadLetterCode.NOT_AVRO,
        "error": "why " + ESCAPES * 200, "topic": "telephony\x1b.events",
    }  # fmt: skip
    put_letter(topics, letter(ESCAPES.encode() + b"\x9b2J", dead_letter_id=name, **hostile))
    put_letter(topics, letter(f"text {ESCAPES}".encode(), dead_letter_id=name + "-text", code=DeadLetterCode.NOT_AVRO))
    put_letter(topics, letter(struct.pack(">bI", 0, 999_999) + b"\x1b", dead_letter_id=name + "-id"))
    topics.sender.send("dead.letters", b"\x1b[2Jno letter", key=None)
    topics.sender.flush()
    shown = desk.list() + desk.list(summary=True)
    shown += [line for suffix in ("", "-text", "-id") for line in desk.show(name + suffix)]
    assert any(name in line for line in shown)
    assert [line for line in shown if not line.isprintable()] == []
    assert "is no dead letter: no Confluent wire prefix" in desk.errors
    whole = json.loads("\n".join(desk.show(name, as_json=True)))
    assert whole["error"] == "why " + ESCAPES * 200
    assert whole["replay_refused"] == "its topic telephony\x1b.events is not in the catalogue"


@pytest.mark.broker
def test_lists_are_newest_first_bounded_and_counted(topics: Topics, desk: Desk) -> None:
    topic = "human.interventions"
    for number in range(3):
        code = DeadLetterCode.BAD_VALUE if number else DeadLetterCode.TOO_LARGE
        put_letter(topics, letter(dead_letter_id=f"l{number}", topic=topic, code=code, at=START + number * S))
    ids = [row["dead_letter_id"] for row in desk.rows(wanted={"topic": topic})]
    assert ids == ["l2", "l1", "l0"]
    assert [line[:2] for line in desk.list(wanted={"topic": topic}, limit=2)] == ["l2", "l1"]
    assert "1 more; --max 3 shows them" in desk.errors
    assert [line[:2] for line in desk.list(wanted={"topic": topic}, limit=2, from_start=True)] == ["l0", "l1"]
    assert [row["dead_letter_id"] for row in desk.rows(wanted={"topic": topic, "since": "2026-01-05T10:00:01Z"})] == [
        "l2", "l1",
    ]  # fmt: skip
    counts = desk.rows(wanted={"topic": topic}, summary=True)
    assert counts == [
        {"code": "BAD_VALUE", "topic": topic, "count": 2, "last_at": "2026-01-05T10:00:02.000Z"},
        {"code": "TOO_LARGE", "topic": topic, "count": 1, "last_at": "2026-01-05T10:00:00.000Z"},
    ]
    assert desk.list(wanted={"topic": topic}, summary=True)[-1].split() == ["3", "in", "all"]
    assert desk.list(wanted={"topic": "policy.activations"}) == []
    assert "no such dead letter" in desk.errors


@pytest.mark.broker
def test_letters_of_one_cause_are_replayed_together_after_a_question(
    topics: Topics, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [unique("letter") for _ in range(3)]
    for number, name in enumerate(names):
        topic = "execution.journal" if number == 2 else "crm.events"
        put_letter(topics, letter(dead_letter_id=name, topic=topic, code=DeadLetterCode.KEY_MISMATCH, partition=99))
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    together: dict[str, Any] = {"every": True, "wanted": {"code": "KEY_MISMATCH"}}
    desk.replay(code=2, **together)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    desk.replay(code=2, **together)
    desk.replay(dry_run=True, **together)
    assert [sent_again(topics, name) for name in names] == [[], [], []]
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    printed = desk.replay(**together)
    assert "2 × KEY_MISMATCH to crm.events" in printed
    assert "left out: 1, its topic execution.journal is no input: only intake, control may write there" in printed
    assert [len(sent_again(topics, name)) for name in names] == [1, 1, 0]
    assert desk.replay(yes=True, **together)[-1] == "2 sent; the broker holds them all."


@pytest.mark.broker
def test_what_can_not_be_replayed_is_refused_and_nothing_is_sent(topics: Topics, desk: Desk) -> None:
    good, output = unique("letter"), unique("letter")
    put_letter(topics, letter(dead_letter_id=good))
    put_letter(topics, letter(dead_letter_id=output, topic="permission.decisions"))
    for ids, says in (
        ((good, output), f"{output} can't be replayed: its topic permission.decisions is no input"),
        ((good, "nobody\x1b"), "there is no dead letter nobody\\x1b. Nothing was sent."),
        ((), "name the letters by id, or give --all"),
    ):
        desk.replay(*ids, code=2, yes=True)
        assert says in desk.errors
    desk.replay(good, code=2, every=True, yes=True)
    desk.replay(code=2, every=True, yes=True)
    assert "--all needs --code" in desk.errors
    desk.replay(good, code=2, wanted={"code": "NOT_AVRO"}, yes=True)
    assert sent_again(topics, good) == []
    desk.show("nobody", code=2)
    assert "there is no dead letter nobody" in desk.errors


@pytest.mark.broker
def test_under_a_driven_clock_a_replay_bears_the_driven_time(topics: Topics, own_stack: Settings, capsys: Any) -> None:
    name = unique("letter")
    put_letter(topics, letter(dead_letter_id=name, topic="crm.events"))
    Desk(own_stack.model_copy(update={"clock": "driven"}), capsys).replay(name)
    (record,) = sent_again(topics, name)
    assert record.timestamp_ms is not None
    assert record.timestamp_ms < time.time() * 1000 - 86_400_000


@pytest.mark.broker
def test_the_command_line_passes_on_what_was_typed(topics: Topics, own_stack: Settings) -> None:
    name, lead = unique("letter"), unique("lead")
    put_letter(topics, letter(call("e1", lead=lead), dead_letter_id=name))
    put_letter(topics, letter(call("e2", lead=lead), dead_letter_id=name + "-b", code=DeadLetterCode.BAD_VALUE))
    assert mandate(own_stack, "list", "--lead", lead, "--from-start", "--max", "1").split("  ")[0] == name
    assert json.loads(mandate(own_stack, "list", "--lead", lead, "--summary", "--json", "--code", "bad_value")) == {
        "code": "BAD_VALUE", "topic": "telephony.events", "count": 1, "last_at": "2026-01-05T10:00:00.000Z",
    }  # fmt: skip
    assert json.loads(mandate(own_stack, "show", name, "--json"))["decoded"]["lead_id"] == lead
    assert mandate(own_stack, "replay", name, name + "-b", "--dry-run") == (
        "1 × BAD_VALUE to telephony.events\n1 × UNRESOLVED_LEAD to telephony.events\nNothing was sent.\n"
    )
    together = ("replay", "--all", "--code", "BAD_VALUE", "--lead", lead, "--yes")
    assert mandate(own_stack, *together).endswith("1 sent; the broker holds it.\n")


@pytest.mark.broker
def test_a_record_that_its_topic_does_not_take_ends_the_replay_in_a_sentence(topics: Topics, desk: Desk) -> None:
    name = unique("letter")
    put_letter(topics, letter(b"\x00" * 1_048_570, dead_letter_id=name, topic="crm.events"))
    with pytest.raises(Broken, match=r"crm\.events did not take a record") as raised:
        desk.replay(name)
    assert raised.value.exit_code == 1
    assert sent_again(topics, name) == []


@pytest.mark.broker
def test_letters_that_retention_removes_meanwhile_are_told_as_missing(
    topics: Topics, own_stack: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last of these tests: it empties dead.letters."""
    gone, kept = unique("letter"), unique("letter")
    put_letter(topics, letter(dead_letter_id=gone))
    put_letter(topics, letter(dead_letter_id=kept))
    chosen = choose(own_stack, topics.codec, ids=frozenset({gone, kept}), wanted=Filter())
    place = TopicPartition("dead.letters", 0, chosen.letters[kept].offset)
    admin = AdminClient(own_stack.client_config())
    admin.delete_records([place])[place].result(30)
    assert dead_letters._send(own_stack, topics.codec, chosen) == 1
    printed, errors = capsys.readouterr()
    assert printed == "1 sent; the broker holds it.\n"
    assert "1 not sent: retention removed them" in errors
    assert [len(sent_again(topics, name)) for name in (gone, kept)] == [0, 1]


def mandate(settings: Settings, *words: str) -> str:
    """What `mandate dead-letters WORDS` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "dead-letters", *words],
        env={**os.environ, **settings.to_env()}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
