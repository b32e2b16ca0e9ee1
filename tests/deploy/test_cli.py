"""The command line: help that is enough, errors in a sentence, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

COMMANDS = (
    "up", "down", "status", "settings", "demo", "topics", "topics acls", "perceive", "decide", "worker", "intake",
    "sink crm", "sink audit", "tail", "explain", "intervene",
    "keys new", "keys list", "keys rotate", "keys retire",
    "dead-letters list", "dead-letters show", "dead-letters replay", "state verify",
    "policy activate", "policy lint", "policy explain", "policy schema",
)  # fmt: skip


def _mandate(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", *arguments],
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_the_exit_codes(command: str) -> None:
    done = _mandate(*command.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert f"mandate {command}" in done.stdout.split("Examples", 1)[1]
    assert "Exit codes" in done.stdout


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    done = _mandate("--version")
    assert (done.returncode, done.stdout) == (0, f"mandate {project['version']}\n")


def test_help_imports_none_of_the_heavy_parts() -> None:
    heavy = "faust confluent_kafka pydantic_settings pyarrow pyiceberg sqlalchemy duckdb"
    script = (
        "import sys, contextlib\nfrom deploy.cli import app\n"
        "with contextlib.suppress(SystemExit): app(['decide', '--help'])\n"
        f"print('HEAVY', sorted(set(sys.modules) & set({heavy.split()!r})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


def test_a_wrong_setting_is_a_sentence_and_exit_code_2() -> None:
    done = _mandate("status", MANDATE_PARTITIONS="many")
    assert done.returncode == 2
    assert done.stderr.startswith("mandate: Wrong value for MANDATE_PARTITIONS")
    assert done.stderr.count("\n") == 1


def test_an_unknown_option_is_exit_code_2() -> None:
    assert _mandate("status", "--nonsense").returncode == 2


def test_status_of_nothing_is_exit_code_3(tmp_path: Path) -> None:
    done = _mandate("status", MANDATE_DATA_DIR=str(tmp_path), MANDATE_KAFKA_PORT="0", MANDATE_REGISTRY_PORT="0")
    assert done.returncode == 3
    assert "does not answer" in done.stdout


def test_down_of_nothing_is_harmless(tmp_path: Path) -> None:
    done = _mandate("down", MANDATE_DATA_DIR=str(tmp_path))
    assert done.returncode == 0


def test_topics_prints_flow_and_catalogue() -> None:
    done = _mandate("topics")
    assert done.returncode == 0, done.stderr
    assert "execution.journal" in done.stdout
    assert "CONTROL" in done.stdout.upper()


@pytest.mark.broker
def test_status_of_a_running_stack_is_exit_code_0(stack: object) -> None:
    done = _mandate("status", **stack.to_env())  # type: ignore[attr-defined]
    assert done.returncode == 0, done.stdout + done.stderr
