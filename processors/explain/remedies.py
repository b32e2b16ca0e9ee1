"""What would make a failed rule hold: what its check demands, and what stood in the way at the time.

Nothing here knows a rule by its id. What a check demands is worded in `requirement`; here stands what only
the request and the lead's state can add: who holds the floor, which case suspends, what was tried before.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from processors.explain.requirement import requirement, span
from processors.facts import scoped
from processors.policy import Bundle, FactCondition, IntentConfirmed, Rule, WithinAuthority
from schemas.records import AgentRequest, Decision, FactRef, LeadState, PermissionStatus, TimeUs


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

    def read(self, fact: str) -> FactRef | None:
        """A fact as the judgement read it; None when it did not."""
        stored = scoped(fact, self.decision.conversation_id)
        refs = (*self.decision.read_set, *(f for c in self.decision.criteria for r in c.reasons for f in r.facts))
        return next((ref for ref in refs if ref.name == stored), None)

    def now(self, fact: str) -> str:
        """The same in words."""
        ref = self.read(fact)
        return "not read" if ref is None else ref.value or "(empty)" if ref.version else "not set"


class Remedy(NamedTuple):
    """demands: clauses that are true together when the rule holds. stood: what was in the way at the time."""

    demands: tuple[str, ...] = ()
    stood: tuple[str, ...] = ()


Details = Iterator[str]


def remedy(rule: Rule, scene: Scene) -> Remedy:
    """What would make a failed rule hold."""
    decision, kind = scene.decision, rule.check.kind
    details = _DETAILS.get(kind)
    stood = tuple(details(scene, rule.check)) if details else ()
    if kind in _BY_LEAD:
        return Remedy(tuple(_BY_LEAD[kind](scene)), stood)
    return Remedy((requirement(scene.bundle, rule, decision.action, decision.role, decision.channel),), stood)


# --- facts
def _intent_confirmed(scene: Scene, check: IntentConfirmed) -> Details:
    if scene.now(f"intent.{check.intent}") == "paused":
        yield "an objection or a contradiction had paused it, which must be resolved first"


def _stage_reached(scene: Scene, _: object) -> Details:
    names = [stage.name for stage in scene.bundle.stages]
    now = scene.now("stage")
    reached = names.index(now) if now in names else 0
    yield f"it was in the stage {names[reached]}"
    needed = names.index(scene.bundle.actions[scene.decision.action].stage)
    for stage in scene.bundle.stages[reached + 1 : needed + 1]:
        for condition in stage.earned_by:
            if not _holds(scene, condition):
                yield f"{stage.name} lacked {condition.fact} ({scene.now(condition.fact)})"


def _holds(scene: Scene, condition: FactCondition) -> bool:
    ref = scene.read(condition.fact)
    return ref is not None and ref.final and ref.value in condition.values


# --- role
def _tool_in_role(scene: Scene, _: object) -> Details:
    if scene.request and scene.request.tool:
        yield f"it asked for {scene.request.tool}"


def _fields_in_role(scene: Scene, _: object) -> Details:
    allowed = scene.bundle.roles[scene.decision.role].crm_fields
    outside = sorted(set(scene.request.crm_fields) - set(allowed)) if scene.request else []
    if outside:
        yield f"it asked for {', '.join(outside)}, which the role may not write"


def _within_authority(scene: Scene, check: WithinAuthority) -> Details:
    roles, limit = scene.bundle.roles, check.limit
    if scene.request:
        yield f"it asked for {scene.request.parameters.get(check.parameter, 'nothing')}"
    most = getattr(roles[scene.decision.role], limit)
    higher = [
        f"{name} (up to {getattr(role, limit)})"
        for name, role in roles.items()
        if getattr(role, limit) > most and scene.decision.action in role.actions
    ]
    if higher:
        yield f"roles with more authority: {', '.join(higher)}"


# --- contact: of the bundle's many rows, those of the lead
def _calling_hours(scene: Scene) -> Details:
    yield f"the hour is allowed by the person's own clock (time zones: {scene.now('lead.time_zones')})"
    for name, rule in _jurisdictions(scene):
        windows = "; ".join(f"{_days(window.days)} {window.start}-{window.end}" for window in rule.windows)
        yield f"{name}: {windows} [{rule.source}]"


def _days(days: tuple[str, ...]) -> str:
    return "daily" if len(days) == 7 else " ".join(days)


def _attempts(scene: Scene) -> Details:
    contact = scene.bundle.contact
    yield f"the last attempt is at least {span(contact.min_gap_s)} ago"
    for name, rule in _jurisdictions(scene):
        yield f"{name}: at most {rule.max_attempts} attempts in {span(rule.attempts_window_s)} [{rule.source}]"


def _tried(scene: Scene, _: object) -> Details:
    channel = scene.decision.channel
    made = [a for a in scene.state.attempts if a.channel == channel] if scene.state else []
    for attempt in made[-_SHOWN:]:
        yield f"tried on {channel} {scene.tell(attempt.at)}: {attempt.outcome}"


def _jurisdictions(scene: Scene) -> list[tuple[str, Any]]:
    contact = scene.bundle.contact
    names = [contact.default_jurisdiction, *scene.now("lead.jurisdictions").split(",")]
    return [(name, contact.jurisdictions[name]) for name in dict.fromkeys(names) if name in contact.jurisdictions]


# --- contention and noes
def _floor_free(scene: Scene, _: object) -> Details:
    floor = scene.state.floor if scene.state else None
    if floor:
        yield f"{floor.agent_id} had the lead, until {scene.tell(floor.until)} at the latest"


def _effect_free(scene: Scene, _: object) -> Details:
    effect = scene.bundle.actions[scene.decision.action].effect
    for grant in scene.state.permissions if scene.state else ():
        if grant.effect == effect and grant.status is PermissionStatus.GRANTED:
            until = scene.tell(grant.expires_at)
            yield f"{grant.agent_id} had a grant for {grant.action}, until {until} unless it reports before"


def _effect_not_refused(scene: Scene, _: object) -> Details:
    effect = scene.bundle.actions[scene.decision.action].effect
    for refusal in scene.state.refusals if scene.state else ():
        if refusal.effect == effect:
            until = f"until {scene.tell(refusal.until)}" if refusal.until is not None else "without an end"
            lifted = f", or until {', '.join(refusal.lifted_by)}" if refusal.lifted_by else ""
            yield f"refused by {refusal.by} ({refusal.code}) {until}{lifted}"


def _not_suspended(scene: Scene, _: object) -> Details:
    action = scene.decision.action
    for case in scene.state.cases if scene.state else ():
        if action in case.suspended or "*" in case.suspended:
            due = scene.tell(case.deadline)
            yield f"case {case.case_id} ({case.cause}, {case.status}, due {due}) waits for a person"


def _in_time(scene: Scene, _: object) -> Details:
    yield f"it was asked {scene.tell(scene.decision.requested_at)}"
    if scene.request is not None and scene.request.deadline is not None:
        yield f"its own deadline was {scene.tell(scene.request.deadline)}"


_SHOWN = 8
"""Newest attempts that are told."""
_BY_LEAD: dict[str, Callable[[Scene], Details]] = {"calling_hours": _calling_hours, "attempts": _attempts}
"""Checks whose demand is worded for the lead's jurisdictions alone."""
_DETAILS: dict[str, Callable[[Scene, Any], Details]] = {
    "intent_confirmed": _intent_confirmed,
    "stage_reached": _stage_reached,
    "tool_in_role": _tool_in_role,
    "fields_in_role": _fields_in_role,
    "within_authority": _within_authority,
    "attempts": _tried,
    "retries": _tried,
    "floor_free": _floor_free,
    "effect_free": _effect_free,
    "effect_not_refused": _effect_not_refused,
    "not_suspended": _not_suspended,
    "in_time": _in_time,
}
"""What the state adds, by kind of check; a kind without details is told by its demand alone."""
