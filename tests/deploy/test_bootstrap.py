"""The set-up script: what a machine lacks is told in a sentence; work that is done is not done again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "deploy" / "bootstrap.sh", tmp_path)
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "empty.lock").write_text("")
    return tmp_path


def _bootstrap(place: Path, python: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "bootstrap.sh", ".venv", "empty.lock"],
        cwd=place,
        env={**os.environ, "PYTHON": python},
        capture_output=True,
        text=True,
        timeout=120,
    )


def _fake(place: Path, body: str) -> str:
    path = place / "fake-python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_an_old_python_is_told(place: Path) -> None:
    done = _bootstrap(place, _fake(place, '[ "$1" = -V ] && echo Python 3.9.1; exit 1'))
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "Python 3.9.1" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_python_is_told(place: Path) -> None:
    done = _bootstrap(place, "/no/such/python")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_venv_module_is_told(place: Path) -> None:
    done = _bootstrap(place, _fake(place, 'case "$2" in *ensurepip*) exit 1;; esac; exit 0'))
    assert done.returncode != 0
    assert "no venv or ensurepip module" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_environment_is_made_once_and_again_after_a_kill_or_a_new_lock(place: Path) -> None:
    assert _bootstrap(place, sys.executable).returncode == 0
    assert _bootstrap(place, sys.executable).stdout == ""
    (place / ".venv" / ".stamp").unlink()
    (place / ".venv" / "pyvenv.cfg").write_text("")
    assert "Setting up" in _bootstrap(place, sys.executable).stdout
    (place / "empty.lock").write_text("# new\n")
    assert "Setting up" in _bootstrap(place, sys.executable).stdout
    assert _bootstrap(place, sys.executable).stdout == ""
