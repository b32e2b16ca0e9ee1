"""Names and values that lead nowhere: facts, intents, effects, actions, obligations, cases."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import get_args

from processors.explain.requirement import one_of
from processors.facts import FACTS, kind_of
from processors.lint.finding import Finding
from processors.lint.states import closed_values
from processors.policy import (
    ActionKind,
    Bundle,
    Condition,
    FactAbsent,
    FactIn,
    FactNotIn,
    FactPresent,
    IntentConfirmed,
    ObligationMet,
    Rule,
)
from processors.policy.cel import compile_condition
from processors.policy.cel_tree import Node
from processors.policy.places import Steps
from schemas.records import Channel


def unknown_names(bundle: Bundle) -> Iterator[Finding]:
    """Every name in the bundle that nothing bears, and every value that a fact can't have."""
    for rule in bundle.rules:
        yield from _of_rule(bundle, rule)
    for stage in bundle.stages:
        for condition in stage.earned_by:
            yield from _fact(bundle, ("stages", stage.name), condition.fact, condition.values)
    for trigger in bundle.triggers:
        for condition in trigger.facts:
            if condition.fact.endswith(".*") and any(kind.name == condition.fact for kind in FACTS):
                continue  # a trigger may name a whole family
            yield from _fact(bundle, ("triggers", trigger.cause), condition.fact, condition.values)
    for name, action in bundle.actions.items():
        for fact, value in action.establishes.items():
            steps = ("actions", name, "establishes", fact)
            if kind_of(fact) is None:
                yield from _fact(bundle, steps, fact)
            elif not value:
                yield Finding(steps, f"establishes {fact} without a value")
    yield from _of_contact(bundle)
    yield from _of_signals(bundle)
    for role in bundle.cut_off.roles:
        if role not in bundle.roles:
            yield Finding(("cut_off", "roles"), f"no role {role!r}", role)


def _of_rule(bundle: Bundle, rule: Rule) -> Iterator[Finding]:
    check, steps = rule.check, ("rules", rule.id)
    match check:
        case FactIn() | FactNotIn():
            yield from _fact(bundle, steps, check.fact, check.values)
        case FactAbsent() | FactPresent():
            yield from _fact(bundle, steps, check.fact)
        case IntentConfirmed():
            yield from _fact(bundle, steps, f"intent.{check.intent}", word=check.intent)
        case ObligationMet():
            yield from _fact(bundle, steps, f"obligation.{check.obligation}", word=check.obligation)
        case Condition():
            condition = compile_condition(check.cel)
            for fact in condition.facts:
                yield from _fact(bundle, (*steps, "check", "cel"), fact, _compared_with(condition.tree, fact))
    for fact in rule.resume_when:
        if why := why_unknown(bundle, fact):
            yield Finding((*steps, "resume_when"), f"waits for a fact that never comes: {why}", fact)


def _of_contact(bundle: Bundle) -> Iterator[Finding]:
    effects = {action.effect for action in bundle.actions.values()}
    for effect in bundle.contact.cool_off_effects:
        if effect not in effects:
            yield Finding(("contact", "cool_off_effects"), f"no action has the effect {effect!r}", effect)
    for effect, facts in bundle.contact.declined_lifted_by.items():
        steps: Steps = ("contact", "declined_lifted_by", effect)
        if effect not in effects:
            yield Finding(steps, f"no action has the effect {effect!r}")
        for fact in facts:
            yield from _fact(bundle, steps, fact)


def _of_signals(bundle: Bundle) -> Iterator[Finding]:
    signals = bundle.signals
    named = [("paused_by_objection", intent) for intent in signals.paused_by_objection]
    named += [("contradicted_by", intent) for intents in signals.contradicted_by.values() for intent in intents]
    named += [("valid_for_s", intent) for intent in signals.valid_for_s]
    for key, intent in named:
        yield from _fact(bundle, ("signals", key), f"intent.{intent}", word=intent)


def _fact(
    bundle: Bundle, steps: Steps, fact: str, values: tuple[str, ...] = (), *, word: str = ""
) -> Iterator[Finding]:
    why = why_unknown(bundle, fact)
    if why:
        yield Finding(steps, f"unknown fact: {why}", word or fact)
        return
    possible = closed_values(bundle, fact)
    for value in values:
        if possible is not None and value not in possible:
            yield Finding(steps, f"{fact} is never {value!r}; it can be {one_of(possible)}", value)


def _compared_with(node: Node, fact: str) -> tuple[str, ...]:
    """Texts that an expression compares a fact's value with."""
    found: list[str] = []
    for call in node.walk():
        if call.kind == "call" and call.text in ("_==_", "_!=_", "@in") and len(call.children) == 2:
            left, right = call.children
            for asked, other in ((left, right), (right, left)):
                if _is_value_of(asked, fact):
                    found += [n.text for n in (other, *other.children) if n.kind == "string"]
    return tuple(found)


def _is_value_of(node: Node, fact: str) -> bool:
    if not node.children or node.children[0].kind != "name" or node.children[0].text != "facts":
        return False
    return node.text == fact if node.kind == "select" else node.text == "_[_]" and node.children[1].text == fact


def why_unknown(bundle: Bundle, fact: str) -> str | None:
    """Why there can be no such fact under a bundle; None when there can."""
    if kind_of(fact) is None:
        near = get_close_matches(fact, [kind.name for kind in FACTS], n=1)
        return f"there is no fact {fact!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    family, _, member = fact.partition(".")
    if family in ("consent", "do_not_contact") and member:
        channel = member.partition(".")[0]
        return None if channel.upper() in set(Channel) else f"{fact!r}: there is no channel {channel!r}"
    possible = _members(bundle, family)
    if possible is None or not member or member in possible:
        return None
    if family == "case" and member.removeprefix("defer_expired_") in bundle.actions:
        return None
    near = get_close_matches(member, sorted(possible), n=1)
    return f"{fact!r}: {_NOBODY[family]} {member!r}" + (f"; did you mean {near[0]!r}?" if near else "")


_NOBODY = {
    "intent": "no signal confirms and no action establishes the intent",
    "conflict": "no signal is about the intent",
    "late": "no signal is about the intent",
    "pending": "no action has the effect",
    "refused": "no action has the effect",
    "suspended": "there is no action",
    "override": "there is no action",
    "obligation": "there is no obligation",
    "case": "no trigger has the cause",
    "barred": "there is no kind of action",
}


def _members(bundle: Bundle, family: str) -> set[str] | None:
    """What may follow the name of a family of facts; None = anything."""
    signalled = set(bundle.signals.intents.values())
    effects = {action.effect for action in bundle.actions.values()}
    established = {fact for action in bundle.actions.values() for fact in action.establishes}
    members = {
        "intent": signalled | {fact.removeprefix("intent.") for fact in established if fact.startswith("intent.")},
        "conflict": signalled,
        "late": signalled,
        "pending": effects,
        "refused": effects,
        "suspended": set(bundle.actions),
        "override": set(bundle.actions),
        "obligation": set(bundle.obligations),
        "case": {trigger.cause for trigger in bundle.triggers},
        "barred": set(get_args(ActionKind)),
    }
    return members.get(family)
