"""What would make a rule hold: sentences derived from the rule's check, its parameters and the state at hand.

Nothing here knows a rule by its id. A kind of check without a sentence of its own gets a general one, which shows
its parameters, or the text of its condition.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from processors.facts import scoped
from processors.policy import Bundle, Rule, Threshold
from schemas.records import AgentRequest, Decision, FactRef, LeadState, PermissionStatus, SignalType, TimeUs

Parameters = dict[str, Any]
"""A check's parameters as plain JSON values."""


class Scene(NamedTuple):
    """What a remedy may look at.

    request: None when the journal at hand does not hold it. state: the lead's row after the decision; None when it
    could not be folded. tell: a time in words.
    """

    decision: Decision
    request: AgentRequest | None
    state: LeadState | None
    bundle: Bundle
    tell: Callable[[TimeUs], str]

    def now(self, fact: str) -> str:
        """Value that the judgement read for a fact, in words."""
        stored = scoped(fact, self.decision.conversation_id)
        refs = (*self.decision.read_set, *(f for c in self.decision.criteria for r in c.reasons for f in r.facts))
        return value_of(next((ref for ref in refs if ref.name == stored), None))


def value_of(ref: FactRef | None) -> str:
    """A fact's value in words."""
    return "not known" if ref is None else ref.value or "(empty)" if ref.version else "not set"


def would_hold(rule: Rule, scene: Scene) -> tuple[str, ...]:
    """Sentences that are true together when the rule's check holds."""
    parameters: Parameters = rule.check.model_dump(mode="json")
    kind = parameters.pop("kind")
    say = SENTENCES.get(kind)
    return say(scene, parameters) if say else (general(kind, parameters),)


def general(kind: str, parameters: Parameters) -> str:
    """A sentence for a kind of check that has none of its own."""
    for name in ("condition", "expression", "expr", "cel", "when"):
        if isinstance(parameters.get(name), str):
            return f"this condition is true: {parameters[name]}"
    told = ", ".join(f"{name} = {_listed(value)}" for name, value in parameters.items() if value not in (None, [], ""))
    return f"the check {kind} holds" + (f" ({told})" if told else "")


def _listed(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def _one_of(values: Iterable[object]) -> str:
    items = [str(value) for value in values]
    return items[0] if len(items) == 1 else "one of " + ", ".join(items) if items else "(no value is accepted)"


# --- facts
def _fact_in(scene: Scene, p: Parameters) -> tuple[str, ...]:
    final = ", on final words" if p.get("final") else ""
    return (f"{p['fact']} is {_one_of(p['values'])}{final} (was: {scene.now(p['fact'])})",)


def _fact_not_in(scene: Scene, p: Parameters) -> tuple[str, ...]:
    return (f"{p['fact']} is not {_one_of(p['values'])} any more (was: {scene.now(p['fact'])})",)


def _fact_absent(scene: Scene, p: Parameters) -> tuple[str, ...]:
    return (f"{p['fact']} is not set any more (was: {scene.now(p['fact'])})",)


def _fact_present(scene: Scene, p: Parameters) -> tuple[str, ...]:
    return (f"{p['fact']} is known",)


def _intent_confirmed(scene: Scene, p: Parameters) -> tuple[str, ...]:
    fact = f"intent.{p['intent']}"
    signals = scene.bundle.signals
    kinds = [kind for kind, intent in signals.intents.items() if intent == p["intent"]]
    limit = signals.thresholds.get(kinds[0], signals.threshold) if kinds else signals.threshold
    found = [f"{fact} is confirmed: {_takes(kinds, limit)} (was: {scene.now(fact)})"]
    if scene.now(fact) == "paused":
        found.append("the objection that paused it is resolved")
    return tuple(found)


def _takes(kinds: list[SignalType], limit: Threshold) -> str:
    return (
        f"a {_one_of(kinds)} signal on final words, with confidence of at least {limit.min_confidence:g} "
        f"and recognition confidence of at least {limit.min_asr_confidence:g}"
    )


def _stage_reached(scene: Scene, p: Parameters) -> tuple[str, ...]:
    names = [stage.name for stage in scene.bundle.stages]
    needed = names.index(scene.bundle.actions[scene.decision.action].stage)
    now = scene.now("stage")
    reached = names.index(now) if now in names else 0
    found = [f"the lead has reached the stage {names[needed]} (was: {names[reached]})"]
    for stage in scene.bundle.stages[reached + 1 : needed + 1]:
        found += [
            f"for {stage.name}: {condition.fact} is {_one_of(condition.values)} (was: {scene.now(condition.fact)})"
            for condition in stage.earned_by
        ]
    return tuple(found)


def _conversation_live(scene: Scene, p: Parameters) -> tuple[str, ...]:
    named = scene.decision.conversation_id
    if named is None:
        return ("the request names an answered conversation",)
    return (f"conversation {named} is answered (was: {scene.now('conversation.phase')})",)


# --- role
def _action_in_role(scene: Scene, p: Parameters) -> tuple[str, ...]:
    able = [name for name, role in scene.bundle.roles.items() if scene.decision.action in role.actions]
    return (f"an agent whose role is {_one_of(able)} asks for {scene.decision.action}",)


def _channel_in_role(scene: Scene, p: Parameters) -> tuple[str, ...]:
    return (f"the channel is {_one_of(scene.bundle.roles[scene.decision.role].channels)}",)


def _tool_in_role(scene: Scene, p: Parameters) -> tuple[str, ...]:
    tools = scene.bundle.roles[scene.decision.role].tools
    asked = f" (asked: {scene.request.tool})" if scene.request else ""
    return (f"the request names {'no tool, or ' + _one_of(tools) if tools else 'no tool'}{asked}",)


def _fields_in_role(scene: Scene, p: Parameters) -> tuple[str, ...]:
    allowed = scene.bundle.roles[scene.decision.role].crm_fields
    found = [f"the request writes only fields of its role: {', '.join(allowed) or 'it has none'}"]
    outside = sorted(set(scene.request.crm_fields) - set(allowed)) if scene.request else []
    if outside:
        found.append(f"{', '.join(outside)} is left out")
    return tuple(found)


def _within_authority(scene: Scene, p: Parameters) -> tuple[str, ...]:
    name, limit = p["parameter"], p["limit"]
    most = getattr(scene.bundle.roles[scene.decision.role], limit)
    asked = f" (asked: {scene.request.parameters.get(name, 'nothing')})" if scene.request else ""
    higher = [
        f"{other} (up to {getattr(role, limit)})"
        for other, role in scene.bundle.roles.items()
        if getattr(role, limit) > most and scene.decision.action in role.actions
    ]
    above = f", or a role with more authority asks: {', '.join(higher)}" if higher else ""
    return (f"{name} is a whole number from 0 to {most}{asked}{above}",)


# --- contact
def _calling_hours(scene: Scene, p: Parameters) -> tuple[str, ...]:
    rules = [
        f"{name}: " + "; ".join(f"{' '.join(w.days)} {w.start}-{w.end}" for w in rule.windows) + f" [{rule.source}]"
        for name, rule in _jurisdictions(scene)
    ]
    zones = scene.now("lead.time_zones")
    return (f"the hour is allowed by the person's own clock (time zones: {zones})", *rules)


def _attempts(scene: Scene, p: Parameters) -> tuple[str, ...]:
    contact = scene.bundle.contact
    rules = [
        f"{name}: at most {rule.max_attempts} attempts in {_span(rule.attempts_window_s)} [{rule.source}]"
        for name, rule in _jurisdictions(scene)
    ]
    made = [a.at for a in scene.state.attempts if a.channel == scene.decision.channel] if scene.state else []
    tried = [f"attempts made on {scene.decision.channel}: " + ", ".join(map(scene.tell, made[-5:]))] if made else []
    return (f"the last attempt is at least {_span(contact.min_gap_s)} ago", *rules, *tried)


def _jurisdictions(scene: Scene) -> list[tuple[str, Any]]:
    contact = scene.bundle.contact
    names = [contact.default_jurisdiction, *scene.now("lead.jurisdictions").split(",")]
    return [(name, contact.jurisdictions[name]) for name in dict.fromkeys(names) if name in contact.jurisdictions]


def _span(seconds: int) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= size and seconds % size == 0:
            count = seconds // size
            return f"{count} {unit if count > 1 else unit[:-1]}"
    return f"{seconds} seconds"


def _consent(scene: Scene, p: Parameters) -> tuple[str, ...]:
    contact, channel = scene.bundle.contact, scene.decision.channel
    fact = f"consent.{channel.lower()}.{contact.consent_purpose}"
    return (f"{fact} is {_one_of(contact.consent.get(channel, ()))} (was: {scene.now(fact)})",)


# --- contention and noes
def _floor_free(scene: Scene, p: Parameters) -> tuple[str, ...]:
    floor = scene.state.floor if scene.state else None
    held = f"; {floor.agent_id} has it until {scene.tell(floor.until)} at the latest" if floor else ""
    return (f"the floor is free or {scene.decision.agent_id}'s own (was: {scene.now('floor')}){held}",)


def _effect_free(scene: Scene, p: Parameters) -> tuple[str, ...]:
    effect = scene.bundle.actions[scene.decision.action].effect
    open_grants = scene.state.permissions if scene.state else ()
    found = [f"no permitted action with the effect {effect} waits for its outcome"]
    found += [
        f"{grant.agent_id} may still do {grant.action} until {scene.tell(grant.expires_at)}, unless it reports before"
        for grant in open_grants
        if grant.effect == effect and grant.status is PermissionStatus.GRANTED
    ]
    return tuple(found)


def _effect_not_refused(scene: Scene, p: Parameters) -> tuple[str, ...]:
    effect = scene.bundle.actions[scene.decision.action].effect
    found = [f"the effect {effect} is not refused any more, by whatever action or channel"]
    for refusal in scene.state.refusals if scene.state else ():
        if refusal.effect == effect:
            until = f"until {scene.tell(refusal.until)}" if refusal.until is not None else "without an end"
            lifted = f", or until {_listed(refusal.lifted_by)}" if refusal.lifted_by else ""
            found.append(f"refused by {refusal.by} ({refusal.code}) {until}{lifted}")
    return tuple(found)


def _not_suspended(scene: Scene, p: Parameters) -> tuple[str, ...]:
    action = scene.decision.action
    found = [f"no open case suspends {action}"]
    found += [
        f"a person resolves the case {case.case_id} ({case.cause}; {case.status}, due {scene.tell(case.deadline)})"
        for case in (scene.state.cases if scene.state else ())
        if action in case.suspended
    ]
    return tuple(found)


def _in_time(scene: Scene, p: Parameters) -> tuple[str, ...]:
    decision, limit = scene.decision, scene.bundle.limits.request_max_age_s
    found = [f"the request is judged within {limit} s of its requested_at (asked {scene.tell(decision.requested_at)})"]
    if scene.request is not None and scene.request.deadline is not None:
        found.append(f"and before its own deadline, {scene.tell(scene.request.deadline)}")
    return tuple(found)


SENTENCES: dict[str, Callable[[Scene, Parameters], tuple[str, ...]]] = {
    say.__name__.removeprefix("_"): say
    for say in (
        _fact_in, _fact_not_in, _fact_absent, _fact_present, _intent_confirmed, _stage_reached, _conversation_live,
        _action_in_role, _channel_in_role, _tool_in_role, _fields_in_role, _within_authority, _calling_hours,
        _attempts, _consent, _floor_free, _effect_free, _effect_not_refused, _not_suspended, _in_time,
    )
}  # fmt: skip
"""What each kind of check takes, by its name in a bundle."""
