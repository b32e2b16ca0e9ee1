"""`make lint` refuses bad samples: a checker that nobody fed one may be off unseen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = Path(__file__).resolve().parents[2] / "pyproject.toml"


@pytest.mark.parametrize(
    ("sample", "rule"),
    [
        ("import os\n", "F401"),
        ("def f(a=[]):\n    return a\n", "B006"),
        ("import datetime\n\nprint(datetime.datetime.now())\n", "DTZ005"),
        ("def Shout():\n    return 1\n", "N802"),
        ("x = 1 # " + "long " * 30 + "\n", "E501"),
    ],
)
def test_the_linter_refuses_it(tmp_path: Path, sample: str, rule: str) -> None:
    (tmp_path / "sample.py").write_text(sample)
    done = _run("ruff", "check", "--no-cache", "--config", str(CONFIG), "--output-format", "concise", ".", at=tmp_path)
    assert done.returncode == 1
    assert rule in done.stdout


@pytest.mark.parametrize(
    ("package", "refused"), [("schemas", True), ("processors", True), ("agents", True), ("deploy", False)]
)
def test_untyped_code_is_refused_where_types_are_strict(tmp_path: Path, package: str, refused: bool) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("def untyped(value):\n    return value\n")
    done = _run("mypy", "--config-file", str(CONFIG), "--no-incremental", "-p", package, at=tmp_path)
    assert ("no-untyped-def" in done.stdout) is refused, done.stdout + done.stderr


def test_a_wrong_type_is_refused_everywhere(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "__init__.py").write_text("port: int = 'nine'\n")
    done = _run("mypy", "--config-file", str(CONFIG), "--no-incremental", "-p", "deploy", at=tmp_path)
    assert done.returncode == 1
    assert "assignment" in done.stdout


def _run(tool: str, *arguments: str, at: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", tool, *arguments], cwd=at, capture_output=True, text=True, timeout=120)
