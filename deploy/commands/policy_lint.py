"""`mandate policy lint`: everything that is wrong with a bundle, a line each."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from deploy.commands.decide import DEFAULT_BUNDLE
from processors.lint import Problem, lint

FOUND = 1
BAD_INPUT = 2


def run(*, directory: Path | None) -> int:
    """Prints `file:line: part: sentence` for each problem. 1 when there is one; a warning is none. 2: no directory."""
    chosen = directory or DEFAULT_BUNDLE
    if not chosen.is_dir():
        print(f"mandate: {chosen} is not a directory; a policy bundle is a directory of .yaml files", file=sys.stderr)
        return BAD_INPUT
    found = lint(chosen, datetime.now(UTC).date())
    for problem in found:
        print(_line(problem))
    count = sum(not problem.is_warning for problem in found)
    print(f"{count} problem{'s' if count > 1 else ''}" if count else "no problems")
    return FOUND if count else 0


def _line(problem: Problem) -> str:
    file = problem.place.file
    here = Path.cwd()
    shown = file.relative_to(here) if file.is_relative_to(here) else file
    kind = "warning: " if problem.is_warning else ""
    return f"{shown}:{problem.place.line}: {kind}{problem.about}: {problem.sentence}"
