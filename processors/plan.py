"""The rules about one action in one role, arranged so that each fact is looked at once.

Rules that look at one fact are asked together, by the fact's value; conditions over facts alone are asked once for
each combination of values; equal checks are asked once. What rules say is remembered by what they saw, so that a
bundle of thousands of rules costs little more than one of hundreds. The findings are the same, in the bundle's order.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from processors.checks import CHECKS, FACT_CHECKS
from processors.conditions import facts_alone, holds
from processors.hearing import FAILED, Failure, Finding, Hearing
from processors.law import Law
from processors.policy import Condition, Rule
from schemas.records import Fact, FactRef, ReasonCode, TimeUs, Verdict

_REMEMBERED = 512
"""Combinations of values remembered for each group; beyond, it begins anew. It is a matter of speed alone."""

_Failing = tuple[tuple[int, Rule, Failure], ...]
_Check = Callable[[Hearing, Any], Failure | None]
_Seen = tuple[tuple[str, bool] | None, ...]


class _Member(NamedTuple):
    """A rule with its place in the bundle."""

    place: int
    rule: Rule


class _FactGroup:
    """Rules that look at one fact and at nothing else."""

    def __init__(self, name: str, members: Sequence[_Member]) -> None:
        self._name = name
        self._members = members
        self._known: dict[tuple[str, bool] | None, _Failing] = {}

    def ask(self, hearing: Hearing) -> Sequence[tuple[int, Finding]]:
        fact = hearing.read(self._name)
        key = None if fact is None else (fact.value, fact.final)
        failing = self._known.get(key)
        if failing is None:
            failing = _remember(self._known, key, self._ask(fact))
        if not failing:
            hearing.pass_read()
            return ()
        read = hearing.take_read()
        return [(place, _finding(rule, failure, read)) for place, rule, failure in failing]

    def _ask(self, fact: Fact | None) -> _Failing:
        answers = ((m, FACT_CHECKS[m.rule.check.kind](fact, m.rule.check)) for m in self._members)
        return tuple((member.place, member.rule, failure) for member, failure in answers if failure is not None)


class _ConditionGroup:
    """Conditions over the same facts, of which they see value and finality."""

    def __init__(self, names: tuple[str, ...], members: Sequence[_Member]) -> None:
        self._names = names
        self._members = members
        self._known: dict[_Seen, _Failing] = {}

    def ask(self, hearing: Hearing) -> Sequence[tuple[int, Finding]]:
        facts = [hearing.read(name) for name in self._names]
        key = tuple(None if fact is None else (fact.value, fact.final) for fact in facts)
        failing = self._known.get(key)
        if failing is None:
            failing = _remember(self._known, key, self._ask(hearing))
        if not failing:
            hearing.pass_read()
            return ()
        read = hearing.take_read()
        return [(place, _finding(rule, failure, read)) for place, rule, failure in failing]

    def _ask(self, hearing: Hearing) -> _Failing:
        answers = ((member, _answer(hearing, member.rule.check)) for member in self._members)  # type: ignore[arg-type]
        return tuple((member.place, member.rule, failure) for member, failure in answers if failure is not None)


class _CheckGroup:
    """Rules with the same check of another kind."""

    def __init__(self, members: Sequence[_Member]) -> None:
        self._members = members
        self._check = members[0].rule.check
        self._asked: _Check = _condition if isinstance(self._check, Condition) else CHECKS[self._check.kind]

    def ask(self, hearing: Hearing) -> Sequence[tuple[int, Finding]]:
        try:
            failure = self._asked(hearing, self._check)
        except _ERRORS as error:
            failure = _erred(error)
        if failure is None:
            hearing.pass_read()
            return ()
        read = hearing.take_read()
        return [(member.place, _finding(member.rule, failure, read)) for member in self._members]


class Plan:
    """The rules about one action in one role."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        by_fact: dict[str, list[_Member]] = {}
        by_facts: dict[tuple[str, ...], list[_Member]] = {}
        by_check: dict[str, list[_Member]] = {}
        for member in (_Member(place, rule) for place, rule in enumerate(rules)):
            check = member.rule.check
            if check.kind in FACT_CHECKS:
                by_fact.setdefault(check.fact, []).append(member)  # type: ignore[union-attr]
            elif isinstance(check, Condition) and (names := facts_alone(check)) is not None:
                by_facts.setdefault(names, []).append(member)
            else:
                by_check.setdefault(check.model_dump_json(), []).append(member)
        self._groups: list[_FactGroup | _ConditionGroup | _CheckGroup] = [
            *(_CheckGroup(members) for members in by_check.values()),
            *(_FactGroup(name, members) for name, members in by_fact.items()),
            *(_ConditionGroup(names, members) for names, members in by_facts.items()),
        ]

    def findings(self, hearing: Hearing) -> list[Finding]:
        """What the rules hold against a request, in the bundle's order."""
        found: list[tuple[int, Finding]] = []
        for group in self._groups:
            answers = group.ask(hearing)
            if answers:
                found += answers
        if len(found) > 1:
            found.sort(key=_place)
        return [finding for _, finding in found]


def plan_of(law: Law, action: str, role: str, now: TimeUs) -> Plan:
    """The plan of the rules in force at a time, made once for each set of them."""
    key = (action, role, law.dated_in_force(now))
    plan = law.plans.get(key)
    if not isinstance(plan, Plan):
        plan = law.plans[key] = Plan(law.rules_for(action, role, now))
    return plan


def _place(item: tuple[int, Finding]) -> int:
    return item[0]


def _remember(known: dict[Any, _Failing], key: Any, failing: _Failing) -> _Failing:
    if len(known) >= _REMEMBERED:
        known.clear()
    known[key] = failing
    return failing


def _condition(hearing: Hearing, check: Condition) -> Failure | None:
    return None if holds(hearing, check) else FAILED


_ERRORS = (ArithmeticError, LookupError, TypeError, ValueError)


def _erred(error: Exception) -> Failure:
    """A rule that errs counts against the permit, and says how."""
    detail = f"{type(error).__name__}: {error}"[:200]
    return Failure(code=ReasonCode.RULE_ERROR, verdict=Verdict.BLOCK, detail=detail)


def _answer(hearing: Hearing, check: Condition) -> Failure | None:
    try:
        return _condition(hearing, check)
    except _ERRORS as error:
        return _erred(error)


def _finding(rule: Rule, failure: Failure, read: tuple[FactRef, ...]) -> Finding:
    resume = tuple(reference.name for reference in read) + rule.resume_when
    return Finding(
        rule, failure.verdict or rule.on_fail, failure.code or rule.code, read, resume, failure.not_before,
        failure.detail,
    )  # fmt: skip
