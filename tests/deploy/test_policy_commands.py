"""mandate policy lint, explain and schema as a person runs them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from deploy.commands import policy_explain, policy_lint, policy_schema

POLICY = Path(__file__).parents[2] / "deploy" / "policy"
SMALL = Path(__file__).parents[1] / "core" / "bundles" / "small"


def test_a_clean_bundle_has_no_problems_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert policy_lint.run(directory=SMALL) == 0
    assert capsys.readouterr().out == "no problems\n"


def test_a_problem_is_a_line_that_an_editor_can_follow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (SMALL / "bundle.yaml").read_text().replace("fact: objection.open}", "fact: objection.opn}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bundle.yaml").write_text(text)
    assert policy_lint.run(directory=tmp_path / "mine") == 1
    line = 1 + text.splitlines().index("    check: {kind: fact_absent, fact: objection.opn}")
    assert capsys.readouterr().out == (
        f"mine{os.sep}bundle.yaml:{line}: rule objections: unknown fact: there is no fact 'objection.opn'; "
        "did you mean 'objection.open'?\n1 problem\n"
    )


def test_a_warning_is_no_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (SMALL / "bundle.yaml").read_text()
    (tmp_path / "bundle.yaml").write_text(
        text.replace("    criterion: ROLE", "    effective_to: 2001-01-01\n    criterion: ROLE", 1)
    )
    assert policy_lint.run(directory=tmp_path) == 0
    assert "warning: rule role-action: it ended on 2001-01-01\nno problems\n" in capsys.readouterr().out


def test_no_directory_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert policy_lint.run(directory=tmp_path / "nowhere") == 2
    assert "is not a directory" in capsys.readouterr().err


def test_explain_prints_words_or_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert policy_explain.run(action="offer", role="closing", directory=SMALL, channel="voice") == 0
    assert "Offer a discount" in capsys.readouterr().out
    assert policy_explain.run(action="offer", role="nobody", directory=SMALL, channel=None) == 2
    assert capsys.readouterr().err == "mandate: there is no role 'nobody'; there are: booking, closing, mandate\n"
    assert policy_explain.run(action="offer", role="closing", directory=SMALL, channel="drum") == 2
    assert "there is no channel 'drum'; there are: VOICE, SMS" in capsys.readouterr().err


def test_explain_of_no_bundle_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(SMALL / "bundle.yaml", tmp_path / "bundle.txt")
    assert policy_explain.run(action="offer", role="closing", directory=tmp_path, channel=None) == 2
    assert "no .yaml files" in capsys.readouterr().err


def test_the_schema_beside_the_bundle_is_fresh() -> None:
    written = json.loads((POLICY / "bundle.schema.json").read_text(encoding="utf-8"))
    assert written == policy_schema.schema(), "write it anew: mandate policy schema > deploy/policy/bundle.schema.json"


def test_the_schema_knows_every_key_and_demands_none_of_a_file() -> None:
    schema = policy_schema.schema()
    files = sorted((POLICY / "default").glob("*.yaml"))
    keys = {key for file in files for key in yaml.safe_load(file.read_text(encoding="utf-8"))}
    assert keys <= set(schema["properties"])
    assert "required" not in schema
    assert schema["additionalProperties"] is False
    assert {"id", "check", "code"} <= set(schema["$defs"]["Rule"]["required"])


def test_every_file_of_the_bundle_names_the_schema_for_editors() -> None:
    first = {
        file.name: file.read_text(encoding="utf-8").splitlines()[0] for file in (POLICY / "default").glob("*.yaml")
    }
    assert set(first.values()) == {"# yaml-language-server: $schema=../bundle.schema.json"}, first
