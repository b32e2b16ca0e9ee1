"""A simple model of a lead's state: each fact by itself, with few values, missing among them.

Whatever a check demands of facts is put as demands on one fact each; what can't be put so is left undecided, and lint
says nothing about it.
"""

from collections.abc import Callable, Iterable
from itertools import product
from typing import NamedTuple

from processors.explain.requirement import one_of
from processors.facts import kind_of
from processors.judge import SYSTEM_ROLE
from processors.policy import (
    AnsweredByCheck,
    Bundle,
    FactAbsent,
    FactIn,
    FactNotIn,
    FactPresent,
    IntentConfirmed,
    ObligationMet,
    Rule,
)

OTHER = "(something else)"
"""Stands for every value that the bundle does not mention."""


class State(NamedTuple):
    """A fact that stands."""

    value: str
    final: bool = True


class Demand(NamedTuple):
    """What a check asks of one fact. None is a fact that is missing. words: for the author."""

    fact: str
    allows: Callable[[State | None], bool]
    words: str


class Pair(NamedTuple):
    """A role that may ask for an action."""

    action: str
    role: str


def pairs(bundle: Bundle) -> list[Pair]:
    """Every action with every role that may ask for it. What Mandate does in its own name is not asked for."""
    return [
        Pair(action, name)
        for name, role in bundle.roles.items()
        if name != SYSTEM_ROLE
        for action in role.actions
        if action in bundle.actions
    ]


def is_about(rule: Rule, pair: Pair) -> bool:
    """Is a rule asked when this role asks for this action?"""
    return ("*" in rule.actions or pair.action in rule.actions) and ("*" in rule.roles or pair.role in rule.roles)


def closed_values(bundle: Bundle, fact: str) -> tuple[str, ...] | None:
    """All values that a fact can have; None when they are open."""
    if fact == "stage":
        return tuple(stage.name for stage in bundle.stages)
    kind = kind_of(fact)
    if kind is None or not kind.values:
        return None
    established = [a.establishes[fact] for a in bundle.actions.values() if fact in a.establishes]
    return tuple(dict.fromkeys([*map(str, kind.values), *established]))


def domain(bundle: Bundle, fact: str, mentioned: Iterable[str] = ()) -> tuple[State | None, ...]:
    """States that a fact can be in, as far as a bundle can tell them apart. mentioned: values, if they are open."""
    values = closed_values(bundle, fact)
    if values is None:
        values = tuple(dict.fromkeys([*_mentioned(bundle, fact), *mentioned, OTHER]))
    return (None, *(State(value, final) for value, final in product(values, (True, False))))


def _mentioned(bundle: Bundle, fact: str) -> list[str]:
    conditions = [c for stage in bundle.stages for c in stage.earned_by]
    named = [(c.fact, c.values) for c in conditions]
    named += [(r.check.fact, r.check.values) for r in bundle.rules if isinstance(r.check, FactIn | FactNotIn)]
    established = [a.establishes[fact] for a in bundle.actions.values() if fact in a.establishes]
    return [value for name, values in named if name == fact for value in values] + established


def demands(bundle: Bundle, rule: Rule, pair: Pair) -> tuple[Demand, ...] | None:
    """What a rule's check demands of facts: it holds if and only if all are met. None = it is not about facts alone."""
    check = rule.check
    match check:
        case FactIn():
            return (_one_of(check.fact, check.values, check.final),)
        case FactNotIn():
            barred = set(check.values)
            words = f"is not {one_of(check.values)}"
            return (Demand(check.fact, lambda state: state is None or state.value not in barred, words),)
        case FactAbsent():
            return (_absent(check.fact),)
        case FactPresent():
            return (Demand(check.fact, lambda state: state is not None, "is known"),)
        case IntentConfirmed():
            return (_one_of(f"intent.{check.intent}", ("confirmed",), True),)
        case AnsweredByCheck():
            return (_answered_by(check),)
        case ObligationMet() if not check.jurisdictions:
            return (_one_of(f"obligation.{check.obligation}", ("fulfilled",), False),)
    of_action = _OF_ACTION.get(check.kind)
    return of_action(bundle, pair) if of_action else None


def _one_of(fact: str, values: tuple[str, ...], final: bool) -> Demand:
    def allows(state: State | None) -> bool:
        return state is not None and state.value in values and (state.final or not final)

    return Demand(fact, allows, f"is {one_of(values)}" + (", final" if final else ""))


def _absent(fact: str) -> Demand:
    return Demand(fact, lambda state: state is None, "is not set")


def _answered_by(check: AnsweredByCheck) -> Demand:
    def allows(state: State | None) -> bool:
        if state is None:
            return check.missing == "holds"
        return check.unknown == "holds" if state.value == "UNKNOWN" else state.value == check.who

    return Demand("conversation.answered_by", allows, f"is {check.who}")


def _stage(bundle: Bundle, pair: Pair) -> tuple[Demand, ...]:
    names = [stage.name for stage in bundle.stages]
    stage = bundle.actions[pair.action].stage
    needed = names.index(stage) if stage in names else 0
    if needed == 0:
        return ()
    earned = [_one_of(c.fact, c.values, True) for stage in bundle.stages[: needed + 1] for c in stage.earned_by]
    return (_one_of("stage", tuple(names[needed:]), False), *earned)


def _live(bundle: Bundle, pair: Pair) -> tuple[Demand, ...]:
    is_needed = bundle.actions[pair.action].in_conversation
    if not is_needed:
        return ()
    channels = tuple(bundle.roles[pair.role].channels)
    return (_one_of("conversation.phase", ("answered",), False), _one_of("conversation.channel", channels, False))


def _effect(family: str) -> Callable[[Bundle, Pair], tuple[Demand, ...]]:
    return lambda bundle, pair: (_absent(f"{family}.{bundle.actions[pair.action].effect}"),)


_OF_ACTION: dict[str, Callable[[Bundle, Pair], tuple[Demand, ...]]] = {
    "stage_reached": _stage,
    "conversation_live": _live,
    "contactable": lambda bundle, pair: (_absent("do_not_contact"),),
    "effect_free": _effect("pending"),
    "effect_not_refused": _effect("refused"),
    "not_suspended": lambda bundle, pair: (_absent(f"suspended.{pair.action}"),),
}
"""Checks that demand facts which follow from the action. An agent's own pending effect is taken for another's."""
