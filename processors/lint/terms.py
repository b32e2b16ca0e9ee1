"""What a bundle promises elsewhere than in the state: ends of defers, finality, windows, words, who can do what."""

from collections.abc import Iterable, Iterator
from itertools import combinations

from processors.explain.requirement import one_of
from processors.lint.finding import Finding
from processors.lint.formulas import mentions, outcomes
from processors.lint.states import Pair, State, demands, domain, is_about, pairs
from processors.policy import Bundle, Condition, FactIn, IntentConfirmed, Jurisdiction, Rule
from processors.policy.cel import BY_FACT, compile_condition
from schemas.records import ReasonCode, Verdict

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_OF_THE_REQUEST = frozenset(
    {
        "action_in_role",
        "channel_in_role",
        "tool_in_role",
        "prompt_in_scope",
        "fields_in_role",
        "within_authority",
        "in_time",
    }
)
"""Checks that look at request and role only: the same request fails them for ever."""

_OF_RULES_ALONE = frozenset(
    {
        ReasonCode.ACTION_OUTSIDE_ROLE, ReasonCode.CHANNEL_NOT_ALLOWED, ReasonCode.CRM_FIELD_OUTSIDE_ROLE,
        ReasonCode.TOOL_OUTSIDE_ROLE, ReasonCode.DISCOUNT_ABOVE_AUTHORITY, ReasonCode.PRICE_ABOVE_AUTHORITY,
        ReasonCode.PROMPT_OUT_OF_SCOPE, ReasonCode.TOKEN_LIMIT, ReasonCode.WORDING_NOT_ALLOWED, ReasonCode.NO_CONSENT,
        ReasonCode.ATTEMPT_LIMIT, ReasonCode.CONDITION_NOT_MET, ReasonCode.OBLIGATION_UNFULFILLED,
    }
)  # fmt: skip
"""Codes that come into a decision by a rule that states them, and in no other way."""


def endless_defers(bundle: Bundle) -> Iterator[Finding]:
    """Rules that have a request wait for what can't come."""
    for rule in bundle.rules:
        if rule.on_fail is not Verdict.DEFER or rule.resume_when:
            continue
        is_of_request = rule.check.kind in _OF_THE_REQUEST
        if isinstance(rule.check, Condition):
            condition = compile_condition(rule.check.cel)
            is_of_request = not mentions(condition, *BY_FACT, "now", "attempts")
        if is_of_request:
            sentence = "it defers without end: neither a fact nor time can cure what it checks; let it BLOCK"
            yield Finding(("rules", rule.id), sentence)


def unfinal_actions(bundle: Bundle) -> Iterator[Finding]:
    """Irreversible actions of a conversation that may rest on words that are not final."""
    found: dict[str, list[str]] = {}
    for pair in pairs(bundle):
        action = bundle.actions[pair.action]
        if not (action.irreversible and action.in_conversation) or action.safe:
            continue
        if not any(_asks_finality(bundle, rule, pair) for rule in bundle.rules if is_about(rule, pair)):
            found.setdefault(pair.action, []).append(pair.role)
    for name, roles in found.items():
        yield Finding(
            ("actions", name),
            f"it is irreversible, and no rule has it rest on final words for {one_of(roles)}: "
            "let it need a confirmed intent, a fact that is final, or a later stage",
        )


def _asks_finality(bundle: Bundle, rule: Rule, pair: Pair) -> bool:
    check = rule.check
    if rule.effective_from or rule.effective_to:
        return False  # not for ever
    if isinstance(check, Condition):
        condition = compile_condition(check.cel)
        found = outcomes((condition,), bundle, pair, lambda fact, seen: _interim(domain(bundle, fact, seen)))
        return mentions(condition, "final") if found is None else True not in found
    if isinstance(check, FactIn | IntentConfirmed):
        return isinstance(check, IntentConfirmed) or check.final
    return check.kind == "stage_reached" and bool(demands(bundle, rule, pair))


def _interim(states: Iterable[State | None]) -> list[State | None]:
    return [state for state in states if state is None or not state.final]


def liftable_noes(bundle: Bundle) -> Iterator[Finding]:
    """Rules by which a person could lift what only the buyer may lift."""
    for rule in bundle.rules:
        fact = getattr(rule.check, "fact", "")
        is_opt_out = rule.check.kind == "contactable" or fact.partition(".")[0] == "do_not_contact"
        if rule.overridable and is_opt_out:
            sentence = "nobody can override an opt-out or a do-not-call: overridable must be false"
            yield Finding(("rules", rule.id, "overridable"), sentence)


def unproven_agents(bundle: Bundle) -> Iterator[Finding]:
    """Agents that anybody could be, and those that nobody can be."""
    if not bundle.identity.required:
        sentence = "an agent that `agents` does not name is heard unsigned: whoever writes agent.requests can be it"
        yield Finding(("identity", "required"), sentence, is_warning=True)
    owners: dict[str, str] = {}
    for name, agent in bundle.agents.items():
        if not agent.public_keys:
            yield Finding(("agents", name), "nobody can act as it: it has no public key", is_warning=True)
        for kid, key in agent.public_keys.items():
            if owners.setdefault(key, name) != name:
                sentence = f"its key {kid} is also a key of {owners[key]}: each can act as the other"
                yield Finding(("agents", name, "public_keys", kid), sentence)


def unreachable_needs(bundle: Bundle) -> Iterator[Finding]:
    """Actions that need what only the outcome of an action brings, where no role may ask for such an action."""
    asked = {pair.action for pair in pairs(bundle)}
    brought = {fact for name in asked for fact in bundle.actions[name].establishes}
    brought |= {f"obligation.{name}" for action in asked for name in bundle.actions[action].obligations}
    signalled = {f"intent.{intent}" for intent in bundle.signals.intents.values()}
    found: dict[tuple[str, str, str], list[str]] = {}
    for pair in pairs(bundle):
        for rule in bundle.rules:
            for demand in (demands(bundle, rule, pair) or ()) if is_about(rule, pair) else ():
                is_outcome = (
                    demand.fact.startswith(("obligation.", "intent.", "meeting")) and demand.fact not in signalled
                )
                if is_outcome and demand.fact not in brought and not demand.allows(None):
                    found.setdefault((pair.action, demand.fact, rule.id), []).append(pair.role)
    for (action, fact, rule_id), roles in found.items():
        sentence = (
            f"{one_of(roles)} needs {fact} for it (rule {rule_id}), and no action that a role may ask for brings it"
        )
        yield Finding(("actions", action), f"the roles contradict each other: {sentence}")


def unasked_actions(bundle: Bundle) -> Iterator[Finding]:
    """Actions that nobody may ask for."""
    asked = {action for role in bundle.roles.values() for action in role.actions}
    for name in bundle.actions:
        if name not in asked:
            yield Finding(("actions", name), "no role may ask for it", is_warning=True)


def closed_windows(bundle: Bundle) -> Iterator[Finding]:
    """Jurisdictions in which nobody may ever be contacted, alone or together with another one."""
    open_at = {name: _minutes(row) for name, row in bundle.contact.jurisdictions.items()}
    for name, row in bundle.contact.jurisdictions.items():
        steps = ("contact", "jurisdictions", name, "windows")
        for window in row.windows:
            if window.start >= window.end:
                yield Finding(steps, f"the window {window.start}-{window.end} never opens", window.start)
        if not open_at[name]:
            yield Finding(steps, "no window of it ever opens")
    default = bundle.contact.default_jurisdiction
    for one, other in combinations((name for name in open_at if open_at[name]), 2):
        if not open_at[one] & open_at[other] & open_at[default]:
            also = "" if default in (one, other) else f" and in {default}, which always counts"
            sentence = f"its windows and those of {one}{also} are never open together: a lead of both waits for ever"
            yield Finding(("contact", "jurisdictions", other, "windows"), sentence)


def _minutes(row: Jurisdiction) -> set[int]:
    """Minutes of the week at which one may contact."""
    return {
        _DAYS.index(day) * 1440 + minute
        for window in row.windows
        for day in window.days
        for minute in range(_minute(window.start), _minute(window.end))
    }


def _minute(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def idle_words(bundle: Bundle) -> Iterator[Finding]:
    """Wording that no mode bars, obligations that no action carries, triggers that nothing sets off."""
    barred = {name for mode in bundle.dialogue.modes.values() for name in mode.wording_barred}
    for name, phrases in bundle.dialogue.wording.items():
        if name not in barred:
            yield Finding(("dialogue", "wording", name), "it has no effect: no speech mode bars this wording")
        if not phrases:
            yield Finding(("dialogue", "wording", name), "it has no effect: it holds no phrase")
    carried = {name for action in bundle.actions.values() for name in action.obligations}
    for name in bundle.obligations:
        if name not in carried:
            yield Finding(("obligations", name), "no action carries this obligation", is_warning=True)
    yield from _idle_triggers(bundle)


def _idle_triggers(bundle: Bundle) -> Iterator[Finding]:
    stated = {rule.code for rule in bundle.rules}
    taken: dict[str, str] = {}
    for trigger in bundle.triggers:
        steps = ("triggers", trigger.cause)
        dead: list[str] = []
        for cause in [*trigger.signals, *trigger.codes]:
            if cause in taken:
                dead.append(f"{cause} opens a case of {taken[cause]} before")
            elif cause in _OF_RULES_ALONE and cause not in stated:
                dead.append(f"no rule has the code {cause}")
            taken.setdefault(cause, trigger.cause)
        for sentence in dead:
            yield Finding(steps, f"it has no effect: {sentence}")
