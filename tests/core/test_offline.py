"""`mandate decide`: JSON lines in, the same bytes out, and nothing that ends the run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from processors.offline import Offline
from schemas.jsonio import iso, to_json
from tests.core.story import COURT, Story, default_bundle

AT = "2026-11-18T17:00:00Z"


def line(topic: str, value: object, at: str = AT, **more: object) -> str:
    return json.dumps({"topic": topic, "at": at, "lead_id": "lead-1", "value": value, **more})


def crm(kind: str, **fields: object) -> str:
    return line("crm.events", {"event_id": f"crm-{kind}", "type": kind, "received_at": AT, **fields})


def request(number: int = 1, **fields: object) -> str:
    value = {
        "request_id": f"r{number}",
        "agent_id": "a",
        "role": "booking",
        "action": "initiate_contact",
        "channel": "VOICE",
        "parameters": {},
        "requested_at": AT,
    }
    return line("agent.requests", value | fields)


KNOWN = [
    crm("LEAD_UPSERTED", external_id="x", time_zones=["America/New_York"], jurisdictions=["US"]),
    crm("CONSENT_RECORDED", consent={"channel": "VOICE", "type": "EXPRESS_WRITTEN"}),
]


def run(*lines: str) -> list[dict]:
    return [json.loads(printed) for printed in Offline(COURT, default_bundle()).run(lines)]


def test_a_known_lead_may_be_called() -> None:
    decision = next(r["value"] for r in run(*KNOWN, request()) if r["topic"] == "permission.decisions")
    assert (decision["verdict"], decision["request_id"], decision["obligations"]) == (
        "PERMIT",
        "r1",
        ["disclose_ai", "announce_recording"],
    )


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("not json", "Expecting value"),
        ("[]", "a line is an object"),
        ('{"topic": "nowhere", "at": "2026-11-18T17:00:00Z", "value": {}}', "'nowhere' is not one of"),
        (line("agent.requests", {"request_id": "r"}), "missing"),
        (request(role=7), "AgentRequest.role: expected string"),
        (request(channel="PIGEON"), "is not one of"),
        (request(requested_at="yesterday"), "ISO 8601"),
        (request(surprise=1), "no such field"),
        (request(agent_id="half \ud83d of a pair"), "surrogate"),
        (request().replace(f'"at": "{AT}"', '"at": "2026-11-18T17:00:00"'), "no time zone"),
        ("[" * 100_000, "recursion"),
        (
            line(
                "perception.raw", {"raw_id": "1", "provider": "twilio", "headers": {}, "body": "{}{", "received_at": AT}
            ),
            "",
        ),
    ],
)
def test_a_line_that_does_not_fit_is_a_dead_letter_and_the_run_goes_on(bad: str, says: str) -> None:
    printed = run(bad, *KNOWN, request())
    dead = [r["value"] for r in printed if r["topic"] == "dead.letters"]
    assert len(dead) == 1
    assert says in dead[0]["error"]
    assert dead[0]["value"] == bad
    assert printed[-1]["topic"] in ("execution.state", "permission.decisions")


def test_timers_fire_between_lines_by_the_lines_own_times() -> None:
    late = line(
        "crm.events",
        {"event_id": "e", "type": "STATUS_CHANGED", "status": "x", "received_at": AT},
        at="2026-11-18T18:00:00Z",
    )
    printed = run(*KNOWN, request(1), request(2, agent_id="b"), late)
    answers = [r["value"] for r in printed if r["topic"] == "permission.decisions" and r["value"]["request_id"] == "r2"]
    assert next(a["verdict"] for a in answers) == "DEFER"
    assert answers[-1]["verdict"] != "DEFER"


def test_an_event_without_a_lead_waits_and_then_becomes_a_dead_letter() -> None:
    event = {"event_id": "e", "provider": "telnyx", "call_id": "unknown", "type": "CALL_ANSWERED", "received_at": AT}
    orphan = json.dumps({"topic": "telephony.events", "at": AT, "value": event})
    dead = [r["value"] for r in run(orphan, *KNOWN) if r["topic"] == "dead.letters"]
    assert [d["code"] for d in dead] == ["UNRESOLVED_LEAD"]


def test_an_exported_journal_gives_the_decisions_of_the_run_it_came_from() -> None:
    story = Story()
    story.ready_to_close()
    story.ask("closing", "capture_commitment", parameters={"price_minor": 5})
    story.hang_up()
    lines = [
        json.dumps(
            {"topic": "execution.journal", "partition": 0, "offset": i, "at": iso(entry.at), "value": to_json(entry)}
        )
        for i, entry in enumerate(story.journal)
    ]
    printed = [json.loads(text)["value"] for text in Offline(COURT, None).run(lines)]
    assert printed == [to_json(output.value) for output in story.outputs]


def test_the_same_file_gives_the_same_bytes_in_another_process_with_another_hash_seed(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    file.write_text(
        "\n".join([*KNOWN, request(), request(2, agent_id="b"), "garbage \udcff"]), errors="surrogateescape"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-m", "deploy.cli", "decide", str(file)], capture_output=True, check=True, cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "PYTHONPATH": str(Path(__file__).parents[2])},
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }  # fmt: skip
    assert len(runs) == 1
    assert b'"verdict":"PERMIT"' in next(iter(runs))
