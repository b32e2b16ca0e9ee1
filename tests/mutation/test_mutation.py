"""The mutation check finds what it must: a mutant that permits is noticed by a test or a journal, or is harmless."""

import ast
from functools import cache

import pytest

from tests.mutation import cases, mutants, oracle, patch, trial
from tests.mutation.mutants import Mutant
from tests.mutation.trial import Bench, Fate, Trial

pytestmark = pytest.mark.slow
SOURCE = '''
LIMITS = (1, "late")

def check(fact: str | None, values: tuple[str, ...] = ("a",)) -> object:
    """What it does."""
    if fact is None or fact not in values:
        return FAILED
    note(fact)
    return None
'''
ABOUT = "An opt-out binds every agent, channel and wording"


def test_each_kind_of_place_is_changed_and_texts_annotations_and_defaults_are_not() -> None:
    changes = [(m.line, m.function, m.change) for m in mutants.mutants_in("sample", ast.parse(SOURCE))]
    assert changes == [
        (2, "", "1 -> 2"),
        (2, "", "'late' -> 'latex'"),
        (6, "check", "if fact is None or fact not in values -> if not"),
        (6, "check", "left out: if fact is None or fact not in values: return FAILED"),
        (6, "check", "fact is None or fact not in values -> fact is None and fact not in values"),
        (6, "check", "fact is None or fact not in values -> fact not in values"),
        (6, "check", "fact is None or fact not in values -> fact is None"),
        (6, "check", "fact is None -> fact is not None"),
        (6, "check", "fact not in values -> fact in values"),
        (7, "check", "return FAILED -> return None"),
        (7, "check", "FAILED -> None"),
        (8, "check", "left out: note(fact)"),
        (9, "check", "return None -> return FAILED"),
    ]


@cache
def bench() -> Bench:
    """What one scenario sees."""
    modules = patch.load()
    about = [case for case in cases.cases() if case.name == f"scenario {ABOUT}"]
    files = frozenset(str(module.__file__) for module in modules.values())
    seen, known = trial.apart(lambda: cases.watch(about, files), lambda: oracle.journals(0, only=ABOUT))
    return Bench(modules, about, seen, known)


def mutant(module: str, function: str, change: str) -> Mutant:
    found = [m for m in mutants.mutants_of(module) if (m.function, m.change) == (function, change)]
    assert len(found) == 1, [m.change for m in mutants.mutants_of(module) if m.function == function]
    return found[0]


def tried(changed: Mutant, against: Bench) -> Trial:
    return next(trial for _, trial in trial.try_all(against, [changed], workers=1))


OPT_OUT_IS_NOT_LOOKED_AT = ("contact_checks", "contactable", "'do_not_contact' -> 'do_not_contactx'")
WIDER_ROLE = ("checks", "action_in_role", "FAILED -> None")


def test_a_mutant_that_a_test_notices_is_killed_by_it() -> None:
    assert tried(mutant(*OPT_OUT_IS_NOT_LOOKED_AT), bench()) == (Fate.KILLED, f"scenario {ABOUT}")


def test_a_mutant_that_no_test_notices_and_that_permits_on_a_journal_is_dangerous() -> None:
    found = tried(mutant(*OPT_OUT_IS_NOT_LOOKED_AT), bench()._replace(cases=[]))
    assert found.fate is Fate.DANGEROUS
    assert "permits" in found.by


def test_a_mutant_that_changes_nothing_on_any_journal_survives() -> None:
    assert tried(mutant(*WIDER_ROLE), bench()) == (Fate.SURVIVED, "")


def test_a_mutant_that_only_restrains_is_not_dangerous() -> None:
    kept = "hearing.request.action in hearing.role.actions"
    restrains = mutant("checks", "action_in_role", f"{kept} -> {kept.replace(' in ', ' not in ')}")
    assert tried(restrains, bench()._replace(cases=[])).fate is Fate.SURVIVED


def test_a_constant_is_changed_for_everybody_who_uses_it() -> None:
    changed = mutant("judge", "", "'mandate' -> 'mandatex'")

    def system_role() -> str:
        patch.apply(changed, patch.load()["judge"])
        return str(patch.load()["judge"].SYSTEM_ROLE)

    assert trial.apart(system_role) == ["mandatex"]


def test_the_tests_hold_on_the_source_that_is_measured_or_nothing_is_measured() -> None:
    wrong = [cases.Case("never holds", lambda: "no")]
    with pytest.raises(AssertionError, match="never holds does not hold on the unchanged source"):
        cases.watch(wrong, frozenset())
