"""docs/coverage.md and docs/disorder.md name scenarios: each exists, each clause has both sides, none is left out."""

import re
from pathlib import Path

from processors.scenarios.document import load_directory

ROOT = Path(__file__).parents[2]
SCENARIOS = frozenset(f"{s.group}: {s.name}" for s in load_directory(ROOT / "tests" / "scenarios")[0])
_NAME = re.compile(r"`(\w+: [^`]+)`")


def rows(text: str) -> list[list[str]]:
    """Cells of each row of a text's tables, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| --- ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[0] not in ("clause", "what happens")]


def one_sided(text: str) -> list[str]:
    """Clauses without a scenario that goes on, or without one that must not be."""
    return [row[0] for row in rows(text) if len(row) != 3 or not all(_NAME.search(cell) for cell in row[1:])]


def unknown(text: str) -> list[str]:
    """Scenarios that a text names and that do not exist."""
    return [name for name in _NAME.findall(text) if name not in SCENARIOS]


def read(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_every_clause_has_a_scenario_that_goes_on_and_the_nearest_that_must_not_be() -> None:
    assert len(rows(read("coverage.md"))) > 80
    assert one_sided(read("coverage.md")) == []


def test_every_scenario_that_the_docs_name_exists() -> None:
    assert unknown(read("coverage.md")) == []
    assert unknown(read("disorder.md")) == []


def test_every_disorder_has_a_scenario() -> None:
    found = [row[0] for row in rows(read("disorder.md")) if not row[0].startswith("**") and "`" not in row[-1]]
    assert found == []


def test_every_scenario_shows_a_clause() -> None:
    named = {*_NAME.findall(read("coverage.md")), *_NAME.findall(read("disorder.md"))}
    assert sorted(SCENARIOS - named) == []


def test_a_clause_with_one_side_and_a_scenario_that_is_none_are_found() -> None:
    known = min(SCENARIOS)
    head = "| clause | goes on | must not be |"
    assert one_sided(f"{head}\n| a | `{known}` |  |\n| b | `{known}` | `{known}` |") == ["a"]
    assert unknown(f"| a | `{known}` | `state: no such scenario` |") == ["state: no such scenario"]
