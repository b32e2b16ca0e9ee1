"""`mandate explain` on an exported journal: what it prints, where it refuses, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.commands.explain import BAD_INPUT, DIFFERENT, run
from deploy.settings import Settings, load_settings
from processors.explain.notes import from_json
from schemas.jsonio import to_json
from schemas.records import Decision, Record, Verdict
from tests.core.story import KEY, Story

OTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)


def line(topic: str, offset: int, value: Record, **changes: Any) -> str:
    """A line as `mandate tail` prints it."""
    return json.dumps({"topic": topic, "partition": 0, "offset": offset, "value": to_json(value) | changes})


@pytest.fixture(scope="module")
def story() -> Story:
    told = Story()
    told.ready_to_close()
    told.ask("closing", "offer_discount", parameters={"discount_bp": 500}, request_id="permitted")
    told.signal("OBJECTION_RAISED", told.says("that is too much money"), subject="price")
    told.ask("closing", "request_commitment", request_id="waits")
    told.wait(600)
    return told


def decision(story: Story, request_id: str, number: int = 0) -> Decision:
    return story.decisions(request_id)[number]


def export(story: Story, file: Path, decisions: bool = True, **tampering: Any) -> Path:
    """The story as an export; tampering changes its recorded decisions."""
    lines = [line("execution.journal", offset, entry) for offset, entry in enumerate(story.journal)]
    if decisions:
        lines += [line("permission.decisions", i, d, **tampering) for i, d in enumerate(story.of(Decision))]
    file.write_text("\n".join(lines) + "\n")
    return file


def settings(directory: Path, key: Any = None) -> Settings:
    """Settings with a cluster's keys; without any by default."""
    found = load_settings(data_dir=directory / "data")
    if key is not None:
        found.signing_key_path.parent.mkdir(parents=True)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        found.signing_key_path.write_bytes(pem)
        found.approver_key_path.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return found


def test_an_export_explains_a_decision_by_its_id_or_its_requests(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, permit = export(story, tmp_path / "journal.jsonl"), decision(story, "permitted")
    assert run(settings(tmp_path, KEY), wanted=permit.decision_id, journal=file, rederive=True) == 0
    by_id = capsys.readouterr().out
    assert by_id.startswith("PERMIT  offer_discount by closing-agent (closing) for lead-1")
    assert "Rederived: identical\n" in by_id
    assert "Note:" not in by_id
    assert run(settings(tmp_path), wanted="permitted", journal=file, rederive=True) == 0
    assert capsys.readouterr().out == by_id


def test_json_holds_the_same_and_no_token(story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, permit = export(story, tmp_path / "journal.jsonl"), decision(story, "permitted")
    assert run(settings(tmp_path, KEY), wanted="permitted", journal=file, print_json=True) == 0
    printed = capsys.readouterr().out
    explanation = from_json(printed)
    assert (explanation.decision_id, explanation.rederived.identical) == (permit.decision_id, True)
    assert permit.grant is not None
    assert not any(part in printed for part in permit.grant.split("."))


def test_a_tampered_decision_exits_1_and_names_the_field(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = export(story, tmp_path / "journal.jsonl", agent_id="somebody-else")
    assert run(settings(tmp_path, KEY), wanted="permitted", journal=file, rederive=True) == DIFFERENT
    printed = capsys.readouterr().out
    assert "Rederived: DIFFERENT. agent_id: recorded 'somebody-else', the journal gives 'closing-agent'" in printed
    assert run(settings(tmp_path), wanted="permitted", journal=file) == 0


def test_a_second_record_in_other_bytes_is_not_hidden_by_the_first(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, permit = export(story, tmp_path / "journal.jsonl"), decision(story, "permitted")
    with file.open("a") as lines:
        lines.write(line("permission.decisions", 99, permit, role="executive") + "\n")
    assert run(settings(tmp_path, KEY), wanted="permitted", journal=file, rederive=True) == DIFFERENT
    assert "recorded more than once, in different bytes" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("key", [None, OTHER_KEY])
def test_without_the_clusters_key_all_but_the_signature_is_compared_and_it_says_so(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: Any
) -> None:
    file = export(story, tmp_path / "journal.jsonl")
    assert run(settings(tmp_path, key), wanted="permitted", journal=file, rederive=True) == 0
    printed = capsys.readouterr().out
    assert "Rederived: identical but for the grant's signature and key id, which were NOT compared" in printed
    assert ("signatures of policies were not checked" in printed) == (key is None)


def test_a_policy_of_another_approver_is_named_as_the_cause(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, found = export(story, tmp_path / "journal.jsonl"), settings(tmp_path, KEY)
    other = OTHER_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    found.approver_key_path.write_bytes(other)
    assert run(found, wanted="permitted", journal=file, rederive=True) == DIFFERENT
    printed = " ".join(capsys.readouterr().out.split())
    assert "No approver whose key is at hand (MANDATE_APPROVERS_PATH) signed this decision's policy." in printed


def test_a_request_with_several_decisions_lists_them(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = export(story, tmp_path / "journal.jsonl")
    assert run(settings(tmp_path, KEY), wanted="waits", journal=file) == BAD_INPUT
    printed = capsys.readouterr()
    ids = [row.split()[0] for row in printed.out.splitlines()]
    assert ids == [d.decision_id for d in story.decisions("waits")]
    assert "has 2 decisions: say which" in printed.err
    assert run(settings(tmp_path), wanted=ids[0], journal=file, rederive=True) == 0
    deferred = capsys.readouterr().out
    assert deferred.startswith(Verdict.DEFER)
    assert "The same request was answered BLOCK at" in deferred


def test_a_journal_alone_gives_the_decision_and_says_that_none_is_recorded(
    story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = export(story, tmp_path / "journal.jsonl", decisions=False)
    assert run(settings(tmp_path, KEY), wanted="permitted", journal=file) == 0
    assert "The file holds no record of this decision" in capsys.readouterr().out
    assert run(settings(tmp_path), wanted="permitted", journal=file, rederive=True) == BAD_INPUT
    assert "no record of this decision to compare with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "there is no decision and no request 'permitted'"),
        ("execution.journal\n", "journal.jsonl:1: no JSON"),
        ('["execution.journal"]\n', "journal.jsonl:1: a line is an object"),
        ('{"topic": "execution.journal", "value": {}}\n', "needs its partition and offset"),
        ('{"topic": "permission.decisions", "value": {"decision_id": 7}}\n', "expected string"),
    ],
)
def test_a_file_that_is_no_export_is_refused_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, says: str
) -> None:
    file = tmp_path / "journal.jsonl"
    file.write_text(content)
    assert run(settings(tmp_path), wanted="permitted", journal=file) == BAD_INPUT
    assert says in capsys.readouterr().err
    assert run(settings(tmp_path), wanted="permitted", journal=tmp_path / "none.jsonl") == BAD_INPUT
    assert "can't be read: No such file" in capsys.readouterr().err


def test_the_command_takes_its_options_and_leaves_with_its_codes(story: Story, tmp_path: Path) -> None:
    file = export(story, tmp_path / "journal.jsonl", agent_id="somebody-else")
    command = [sys.executable, "-m", "deploy.cli", "explain", "permitted", "--journal", str(file)]
    environment = {**os.environ, "MANDATE_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(
        [*command, "--json", "--rederive"], env=environment, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert done.returncode == DIFFERENT, done.stderr
    assert from_json(done.stdout).agent_id == "somebody-else"
