"""Rules that decide nothing, actions that nobody can ever be permitted, and permits on nothing at all."""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta

from processors.explain.requirement import one_of
from processors.judge import SYSTEM_ROLE
from processors.lint.finding import Finding
from processors.lint.formulas import outcomes
from processors.lint.states import Demand, Pair, State, demands, domain, is_about, pairs
from processors.policy import Bundle, Condition, Rule
from processors.policy.cel import compile_condition


def moot_rules(bundle: Bundle, today: date) -> Iterator[Finding]:
    """Rules that can never fire, and rules that always do."""
    asked = pairs(bundle)
    for rule in bundle.rules:
        steps = ("rules", rule.id)
        if rule.effective_to is not None and rule.effective_to < today:
            yield Finding((*steps, "effective_to"), f"it ended on {rule.effective_to}", is_warning=True)
        about = [pair for pair in asked if is_about(rule, pair)]
        if rule.check.kind == "action_in_role":
            yield from _of_roles(bundle, rule)
        elif not about:
            yield Finding(
                steps, f"it can never fire: no role of {_names(rule.roles)} may ask for {_names(rule.actions)}"
            )
        elif all(_can_fail(bundle, rule, pair) is False for pair in about):
            yield Finding((*steps, "check"), "it can never fire: its check holds in every state")
        elif all(_can_hold(bundle, rule, pair) is False for pair in about):
            yield Finding((*steps, "check"), "it always fires: its check holds in no state")


def _names(names: tuple[str, ...]) -> str:
    return "any" if "*" in names else one_of(names)


def _of_roles(bundle: Bundle, rule: Rule) -> Iterator[Finding]:
    askers = {name: role for name, role in bundle.roles.items() if name != SYSTEM_ROLE}
    roles = [role for name, role in askers.items() if "*" in rule.roles or name in rule.roles]
    actions = bundle.actions if "*" in rule.actions else rule.actions
    able = {action in role.actions for role in roles for action in actions}
    if able == {True}:
        yield Finding(("rules", rule.id), "it can never fire: all its roles may ask for all its actions")
    elif able == {False}:
        yield Finding(("rules", rule.id), "it always fires: none of its roles may ask for any of its actions")


def _can_fail(bundle: Bundle, rule: Rule, pair: Pair) -> bool | None:
    """Is there a state in which the check fails? None = can't be told."""
    if isinstance(rule.check, Condition):
        found = _outcomes(bundle, [rule], pair, {})
        return None if found is None else False in found
    asked = demands(bundle, rule, pair)
    if asked is not None:
        return any(not demand.allows(state) for demand in asked for state in domain(bundle, demand.fact))
    return False if _IDLE.get(rule.check.kind, _never)(bundle, pair) else None


def _never(bundle: Bundle, pair: Pair) -> bool:
    return False


_IDLE = {
    "floor_free": lambda bundle, pair: not bundle.actions[pair.action].takes_floor,
    "turn_free": lambda bundle, pair: not bundle.actions[pair.action].takes_floor,
    "consent": lambda bundle, pair: not set(bundle.roles[pair.role].channels) & set(bundle.contact.consent),
    "retries": lambda bundle, pair: not bundle.contact.retries,
    "wording": lambda bundle, pair: not any(mode.wording_barred for mode in bundle.dialogue.modes.values()),
}
"""Checks that hold whatever the state, for some actions and roles."""


def _can_hold(bundle: Bundle, rule: Rule, pair: Pair) -> bool | None:
    if isinstance(rule.check, Condition):
        found = _outcomes(bundle, [rule], pair, {})
        return None if found is None else True in found
    if rule.check.kind == "channel_in_role":
        return bool(bundle.roles[pair.role].channels)
    asked = demands(bundle, rule, pair)
    return None if asked is None else all(_is_met(bundle, [demand]) for demand in asked)


def _is_met(bundle: Bundle, asked: Iterable[Demand]) -> bool:
    """Is there a state of one fact that meets all demands on it?"""
    asked = tuple(asked)
    return any(all(demand.allows(state) for demand in asked) for state in domain(bundle, asked[0].fact))


def _outcomes(
    bundle: Bundle, rules: Iterable[Rule], pair: Pair, asked: dict[str, list[Demand]]
) -> frozenset[bool] | None:
    """What the conditions of rules can come to, in the states that other demands leave."""
    conditions = tuple(compile_condition(rule.check.cel) for rule in rules if isinstance(rule.check, Condition))

    def states(fact: str, mentioned: Iterable[str]) -> Iterator[State | None]:
        for state in domain(bundle, fact, mentioned):
            if all(demand.allows(state) for demand in asked.get(fact, ())):
                yield state

    return outcomes(conditions, bundle, pair, states)


def contradictions(bundle: Bundle, today: date) -> Iterator[Finding]:
    """Actions that a role may ask for and that no state permits."""
    seen: dict[tuple[str, str], list[str]] = {}
    for pair in pairs(bundle):
        for day in _days(bundle, today):
            for sentence in _contradictions_of(bundle, _in_force(bundle, pair, day), pair):
                roles = seen.setdefault((pair.action, sentence), [])
                if pair.role not in roles:
                    roles.append(pair.role)
    for (action, sentence), roles in seen.items():
        yield Finding(("actions", action), f"no state permits it to {one_of(roles)}: {sentence}")


def _days(bundle: Bundle, today: date) -> list[date]:
    """Days from today on at which the rules in force change."""
    begins = [rule.effective_from for rule in bundle.rules if rule.effective_from]
    begins += [rule.effective_to + timedelta(days=1) for rule in bundle.rules if rule.effective_to]
    return [today, *sorted({day for day in begins if day > today})]


def _in_force(bundle: Bundle, pair: Pair, day: date) -> list[Rule]:
    return [
        rule
        for rule in bundle.rules
        if is_about(rule, pair)
        and (rule.effective_from is None or rule.effective_from <= day)
        and (rule.effective_to is None or day <= rule.effective_to)
    ]


def _contradictions_of(bundle: Bundle, rules: list[Rule], pair: Pair) -> Iterator[str]:
    asked: dict[str, list[Demand]] = {}
    by_whom: dict[str, list[Rule]] = {}
    possible = [rule for rule in rules if _can_hold(bundle, rule, pair) is not False]
    for rule in possible:
        for demand in demands(bundle, rule, pair) or ():
            asked.setdefault(demand.fact, []).append(demand)
            by_whom.setdefault(demand.fact, []).append(rule)
    for fact, of_fact in asked.items():
        if not _is_met(bundle, of_fact):
            said = [f"{demand.words} (rule {rule.id})" for demand, rule in _smallest(bundle, of_fact, by_whom[fact])]
            yield f"{fact} {' and '.join(said)}"
            return
    conditions = [rule for rule in possible if isinstance(rule.check, Condition)]
    groups = [*([rule] for rule in conditions), conditions] if conditions else []
    for group in groups:
        if _outcomes(bundle, group, pair, asked) == frozenset({False}):
            yield f"the condition of {' and '.join(f'rule {r.id}' for r in group)} is false wherever the others hold"
            return


def _smallest(bundle: Bundle, asked: list[Demand], rules: list[Rule]) -> list[tuple[Demand, Rule]]:
    """Demands that exclude one another, without those that play no part in it."""
    left = list(zip(asked, rules, strict=True))
    for one in tuple(left):
        without = [other for other in left if other is not one]
        if without and not _is_met(bundle, [demand for demand, _ in without]):
            left = without
    return left


def permits_on_nothing(bundle: Bundle, today: date) -> Iterator[Finding]:
    """Actions that could be permitted though no fact of the lead is known."""
    found: dict[str, list[str]] = {}
    for pair in pairs(bundle):
        if bundle.actions[pair.action].safe:
            continue
        if any(
            all(_holds_on_nothing(bundle, rule, pair) for rule in _in_force(bundle, pair, day))
            for day in _days(bundle, today)
        ):
            found.setdefault(pair.action, []).append(pair.role)
    for action, roles in found.items():
        yield Finding(
            ("actions", action),
            f"{one_of(roles)} could be permitted it though nothing is known of the lead: a permit path rests on "
            "missing facts; demand a fact, or mark the action safe: true",
        )


def _holds_on_nothing(bundle: Bundle, rule: Rule, pair: Pair) -> bool:
    if isinstance(rule.check, Condition):
        found = outcomes((compile_condition(rule.check.cel),), bundle, pair, lambda fact, mentioned: (None,))
        return found is not None and True in found
    asked = demands(bundle, rule, pair)
    if asked is not None:
        return all(demand.allows(None) for demand in asked)
    if rule.check.kind == "consent":
        return any(channel not in bundle.contact.consent for channel in bundle.roles[pair.role].channels)
    return rule.check.kind != "calling_hours"
