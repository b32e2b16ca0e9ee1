"""The tests that should notice a mutant: scenarios, sentences of test_invariants, rows of the decision table.

Each is a case: a name and a function that answers what is wrong. A case is only asked about a mutant in a function that
it runs through, shortest first, and those that noticed another mutant of the function before all.
"""

import inspect
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, NamedTuple

import pytest

from deploy.commands.policy_test import offline_court
from processors import timing
from processors.draft import Output
from processors.law import Law, compile_law
from processors.scenarios.document import Scenario, load_directory
from processors.scenarios.runner import _begin, _play_part
from processors.scenarios.steps import Teller
from tests.core import decision_table, test_checks, test_conditions, test_grants, test_invariants, test_timing
from tests.core.decision_table import ASKS, BUNDLE, CASES, MODES, ROLES, STAGES, Ask, Cell
from tests.mutation.patch import Place, place_of

ROOT = Path(__file__).parents[2]
COURT = offline_court()
REVIEWED = decision_table.read(decision_table.SNAPSHOT.read_text(encoding="utf-8"))["action"]


class Case(NamedTuple):
    """One test. run: answers what is wrong, empty when nothing is, or raises."""

    name: str
    run: Callable[[], str]


class Seen(NamedTuple):
    """What a case ran through, and how long it took."""

    places: frozenset[Place]
    seconds: float


def cases() -> list[Case]:
    """Every case."""
    scenarios, unreadable = load_directory(ROOT / "tests" / "scenarios")
    assert not unreadable, unreadable
    found = [Case(f"scenario {scenario.name}", partial(_scenario, scenario)) for scenario in scenarios]
    for module in (test_checks, test_invariants, test_conditions, test_grants, test_timing):
        found += [Case(name, partial(_sentence, call)) for name, call in _sentences(module)]
    return found + [Case(f"table {role} {ask}", partial(_row, role, ask)) for role, ask in _rows()]


_FOREIGN = ("initiate_contact", "discuss_price", "sell_the_moon")
"""Of the actions outside of a role, the table is asked about these only: it is a matter of time."""


def _rows() -> list[tuple[str, Ask]]:
    own = {role: BUNDLE.roles[role].actions if role in BUNDLE.roles else () for role in ROLES}
    return [(role, ask) for role, ask in product(ROLES, ASKS) if ask.action in (*own[role], *_FOREIGN)]


PLAYED: dict[str, list[tuple[Output, ...]]] = {}
"""What came out of each entry of the scenarios that this process has played."""


def _scenario(scenario: Scenario) -> str:
    """What a scenario expects, without what always holds: that replays every journal, and takes as long again."""
    tale = _begin(scenario, BUNDLE, COURT)
    teller = Teller(tale, scenario.file, scenario.beginnings)
    teller.run(scenario.given, scenario.line)
    tale.given_end = len(tale.told)
    findings = [finding for part in scenario.parts for finding in _play_part(scenario, tale, teller, part)]
    PLAYED[f"{scenario.file} {scenario.name}"] = [told.outputs for told in tale.told]
    return "; ".join(map(str, findings))


def _row(role: str, ask: Ask) -> str:
    """A row of the decision table, as reviewed."""
    answers = [decision_table.decide(Cell(role, ask, *rest)) for rest in product(STAGES, MODES, CASES)]
    broken = [decisions for decisions in answers if len(decisions) != 1 or not decision_table.is_whole(decisions[0])]
    permits, reviewed = sum(map(decision_table.is_permit, answers)), REVIEWED[str(ask), role]
    return "" if permits == reviewed and not broken else f"{permits} permits, {reviewed} reviewed, {len(broken)} broken"


def _sentence(call: Callable[[], None]) -> str:
    call()
    return ""


def _sentences(module: ModuleType) -> Iterator[tuple[str, Callable[[], None]]]:
    """Tests of a module that need no fixture, one for each set of parameters."""
    for name, test in inspect.getmembers(module, inspect.isfunction):
        if not name.startswith("test_"):
            continue
        for number, given in enumerate(_parameters(test)):
            if set(inspect.signature(test).parameters) == set(given):
                yield f"{module.__name__.rpartition('.')[2]}::{name}[{number}]", partial(test, **given)


def _parameters(test: Any) -> list[dict[str, Any]]:
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    sets: list[dict[str, Any]] = [{}]
    for mark in marks:
        names, rows = mark.args[0], list(mark.args[1])
        if isinstance(names, str):
            names = [name.strip() for name in names.split(",")]
            rows = rows if len(names) > 1 else [(row,) for row in rows]
        sets = [{**given, **dict(zip(names, row, strict=True))} for given in sets for row in rows]
    return sets


def ask(case: Case) -> str:
    """What is wrong, empty when nothing is."""
    try:
        return case.run()
    except Exception as error:  # whatever a mutant does wrong is noticed
        return f"{type(error).__name__}: {error}"
    except pytest.fail.Exception as error:
        return str(error)


# --- who runs through what
def watch(all_cases: list[Case], files: frozenset[str]) -> dict[str, Seen]:
    """Runs every case on the unchanged source: what each runs through. One that does not hold is an error."""
    laws = _remembered_laws()
    seen: dict[str, Seen] = {}
    for case in all_cases:
        _forget(laws)
        places: set[CodeType] = set()

        def note(frame: FrameType, event: str, arg: object, places: set[CodeType] = places) -> None:
            places.add(frame.f_code)

        begun = time.perf_counter()
        sys.settrace(note)
        wrong = ask(case)
        sys.settrace(None)
        assert not wrong, f"{case.name} does not hold on the unchanged source: {wrong}"
        touched = frozenset(place_of(code) for code in places if code.co_filename in files)
        seen[case.name] = Seen(touched, time.perf_counter() - begun)
    return seen


def _remembered_laws() -> list[Law]:
    """Every law made from here on. Laws remember what rules said, and who remembers does not run through the rule."""
    laws = [decision_table.LAW]
    begin = Law.__init__

    def begin_and_note(self: Law, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        laws.append(self)

    Law.__init__ = begin_and_note  # type: ignore[method-assign]
    return laws


_COMPILED = ("effects", "cuts_off", "_opt_out", "_opt_out_keywords", "_asks_for_human", "_stop", "_wording",
             "_confirming", "repeated_triggers", "_fact_triggers")  # fmt: skip


def _forget(laws: list[Law]) -> None:
    timing.zone.cache_clear()
    if len(laws) > 200:
        compile_law.cache_clear()
        del laws[1:]
    for law in laws:
        law.plans.clear()
        for name in _COMPILED:
            law.__dict__.pop(name, None)
