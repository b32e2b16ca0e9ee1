"""`mandate perceive` as a user calls it."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from perceiving import FOLDER, load

from deploy.commands.perceive import run
from schemas.jsonio import from_json
from schemas.records import CallEvent, TranscriptSegment

Out = pytest.CaptureFixture[str]


def lines(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def test_it_prints_each_event_as_a_json_line_that_reads_back(capsys: Out) -> None:
    assert run("deepgram", [FOLDER / "deepgram/results_speech_final.json"]) == 0
    segment, stopped = lines(capsys.readouterr().out)
    assert from_json(TranscriptSegment, segment).text == "Call me next week."
    assert from_json(CallEvent, stopped).type == "SPEECH_STOPPED"


def test_a_file_may_hold_a_list_of_payloads(capsys: Out) -> None:
    assert run("telnyx", [FOLDER / "telnyx/hold.json"]) == 0
    assert [line["type"] for line in lines(capsys.readouterr().out)] == ["HOLD", "UNHOLD"]


def test_form_encoded_bodies_are_accepted_one_a_line_too(tmp_path: Path, capsys: Out) -> None:
    names = ("status_in_progress.txt", "status_completed.txt")
    (tmp_path / "bodies.txt").write_text("".join((FOLDER / "twilio" / name).read_text() for name in names))
    assert run("twilio", [tmp_path / "bodies.txt"]) == 0
    assert [line["type"] for line in lines(capsys.readouterr().out)] == ["CALL_ANSWERED", "CALL_ENDED"]


def test_json_lines_are_accepted(tmp_path: Path, capsys: Out) -> None:
    messages = load("twilio/media_stream.json")
    (tmp_path / "stream.jsonl").write_text("\n".join(json.dumps(message) for message in messages) + "\n")
    assert run("twilio", [tmp_path / "stream.jsonl"]) == 0
    assert len(lines(capsys.readouterr().out)) == 5


def test_a_payload_may_be_wrapped_with_its_headers(tmp_path: Path, capsys: Out) -> None:
    wrapped = {"headers": {"X-Mandate-Lead-Id": "lead-4"}, "body": load("twilio/status_ringing.json")}
    (tmp_path / "wrapped.json").write_text(json.dumps(wrapped))
    assert run("Twilio", [tmp_path / "wrapped.json"]) == 0
    assert lines(capsys.readouterr().out)[0]["lead_id"] == "lead-4"


def test_the_request_id_of_a_file_goes_for_the_messages_after_it(capsys: Out) -> None:
    assert run("deepgram", [FOLDER / "deepgram/agent_session.json"]) == 0
    assert {line["call_id"] for line in lines(capsys.readouterr().out)} == {"3be5ecc1-8c30-42b8-a7a5-077bbe51bdc2"}


def test_the_same_file_prints_the_same_bytes_for_a_given_time_of_reception(capsys: Out) -> None:
    files = [FOLDER / "deepgram/agent_session.json", FOLDER / "deepgram/flux_turn.json"]
    run("deepgram", files, "2026-02-12T15:30:00Z")
    first = capsys.readouterr().out
    run("deepgram", files, "2026-02-12T15:30:00Z")
    assert capsys.readouterr().out == first
    ids = [line["event_id"] for line in lines(first)]
    assert len(set(ids)) == len(ids)


def test_stdin_is_read_for_a_dash(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    data = (FOLDER / "telnyx/dtmf.json").read_bytes()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert run("telnyx", [Path("-")]) == 0
    assert lines(capsys.readouterr().out)[0]["digits"] == "2"


def test_a_payload_that_is_not_the_providers_exits_2_and_names_file_and_place(tmp_path: Path, capsys: Out) -> None:
    file = tmp_path / "mixed.json"
    file.write_text(json.dumps([load("telnyx/dtmf.json"), {"message": {"type": "transcript"}}]))
    assert run("telnyx", [file]) == 2
    out = capsys.readouterr()
    assert len(lines(out.out)) == 1
    assert f"{file}, payload 1" in out.err
    assert "event_type" in out.err


@pytest.mark.parametrize("data", [b"", b"  \n", b"\x00\xff", b"{", b"7", b"[1, null]"])
def test_a_file_that_holds_no_payload_exits_2(tmp_path: Path, capsys: Out, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    assert run("telnyx", [tmp_path / "x"]) == 2
    out = capsys.readouterr()
    assert (out.out, str(tmp_path / "x") in out.err) == ("", True)


def test_a_file_that_is_not_there_an_unknown_provider_and_a_time_that_is_none_exit_2(capsys: Out) -> None:
    assert run("twilio", [Path("no-such-file.json")]) == 2
    assert run("pigeon", [FOLDER / "telnyx/dtmf.json"]) == 2
    assert run("telnyx", [FOLDER / "telnyx/dtmf.json"], "noon") == 2
    assert "deepgram" in capsys.readouterr().err
