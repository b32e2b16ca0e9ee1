"""The invariants of DESIGN section 3 as functions, each on one entry of one lead: what was, what came out, what is.

They know facts and records and not the code that makes them; where they need a rule they have a simpler one.
"""

from collections.abc import Callable
from typing import NamedTuple

from processors.hearing import Situation
from processors.judge import judge
from processors.law import Law, compile_law
from processors.policy import Action
from processors.scenarios import people
from schemas.records import (
    AgentOutcome,
    AgentRequest,
    CriterionName,
    Decision,
    EntryKind,
    Fact,
    HumanIntervention,
    InterventionType,
    JournalEntry,
    LeadState,
    Permission,
    PermissionStatus,
    PolicyActivation,
    ReasonCode,
    Record,
    SegmentStatus,
    Signal,
    SignalType,
    TranscriptSegment,
    Transition,
    Verdict,
)
from tests.core.simulation.owners import Broken
from tests.core.story import COURT

SETTLED = (SegmentStatus.FINAL, SegmentStatus.CORRECTED)
HEARD_AGAIN = 60
"""A request id that was used so many requests ago may be judged anew."""


class PolicyMemory:
    """Which policy is in force, told by a rule of its own: signed by the approver, and newer."""

    def __init__(self) -> None:
        self.law: Law | None = None
        self._revision = -1
        self._next: Law | None = None

    def hear(self, entry: JournalEntry, offset: int) -> None:
        """An activation counts for the entries after it."""
        self.law = self._next
        body = entry.body
        if isinstance(body, PolicyActivation) and body.revision > self._revision and COURT.approved(body):
            self._revision = body.revision
            self._next = compile_law(body.bundle, body.digest, body.revision)


class Memory:
    """What the checks remember of one lead."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self.answers: dict[str, list[Decision]] = {}
        self.asked: list[str] = []
        self.opted_out = False
        self.barred: dict[str, list[tuple[int, int | None]]] = {}
        self.ended: dict[str, int] = {}
        self.paused = False
        self.proven: set[str] = set()
        """Ids of the requests that their agent signed."""


class Seen(NamedTuple):
    """One entry as it met one lead. before, after: the row; None when there is none."""

    entry: JournalEntry
    offset: int
    before: LeadState | None
    after: LeadState | None
    outputs: tuple[Record, ...]
    memory: Memory
    policy: PolicyMemory

    @property
    def law(self) -> Law | None:
        return self.policy.law

    @property
    def now(self) -> int:
        return max(self.before.now if self.before else 0, self.entry.at)

    @property
    def decisions(self) -> list[Decision]:
        return [value for value in self.outputs if isinstance(value, Decision)]

    @property
    def permits(self) -> list[Decision]:
        return [decision for decision in self.decisions if decision.verdict is Verdict.PERMIT]

    def action(self, decision: Decision) -> Action:
        assert self.law is not None
        return self.law.bundle.actions[decision.action]


def check(seen: Seen) -> None:
    """Every invariant, in the order in which they stand in the design."""
    for invariant in INVARIANTS:
        invariant(seen)


def in_force(state: LeadState | None) -> list[Permission]:
    """Grants that hold."""
    return [p for p in state.permissions if p.status is PermissionStatus.GRANTED] if state else []


def fact(state: LeadState | None, name: str) -> str:
    """Value of a fact; empty when it does not stand."""
    found = state.facts.get(name) if state else None
    return found.value if found else ""


def must(holds: bool, invariant: Callable[..., None], what: object) -> None:
    if not holds:
        raise Broken(f"{invariant.__name__}: {what}")


# --- 1, 2
def three_criteria_are_reported(seen: Seen) -> None:
    for d in seen.decisions:
        must([c.name for c in d.criteria] == list(CriterionName), three_criteria_are_reported, d)
        none_fails = all(c.verdict is Verdict.PERMIT and not c.reasons for c in d.criteria)
        must((d.verdict is Verdict.PERMIT) == none_fails, three_criteria_are_reported, d)
        must(all((c.verdict is Verdict.PERMIT) != bool(c.reasons) for c in d.criteria), three_criteria_are_reported, d)
        must((d.grant is not None) == (d.verdict is Verdict.PERMIT), three_criteria_are_reported, d)


def the_default_is_block(seen: Seen) -> None:
    for d in seen.permits:
        must(seen.law is not None, the_default_is_block, "a permit without a policy")
        assert seen.law is not None
        bundle = seen.law.bundle
        is_own = d.role == "mandate" and d.agent_id == "mandate" and bool(fact(seen.after, "do_not_contact"))
        known = d.action in bundle.actions and d.role in bundle.roles and (d.role != "mandate" or is_own)
        must(known and d.action in bundle.roles[d.role].actions, the_default_is_block, (d.role, d.action))
        cut = d.agent_id in bundle.cut_off.agents or d.role in bundle.cut_off.roles
        must(not cut and d.policy_digest == seen.law.digest, the_default_is_block, (d.agent_id, d.policy_digest))


# --- 3
def stage_of(facts: dict[str, Fact]) -> int:
    """How far the facts carry, by the sentences of the design and not by the bundle."""

    def stands(name: str, *values: str) -> bool:
        return name in facts and facts[name].final and facts[name].value in values

    if not stands("contact.reached", "yes"):
        return 0
    if not (stands("intent.timing_acceptance", "confirmed") and stands("intent.scope", "confirmed")):
        return 1
    commits = stands("intent.language_commitment", "confirmed", "paused")
    return 3 if stands("intent.readiness", "confirmed") and commits else 2


_NEEDS = {"contact": 0, "qualification": 1, "transfer": 2, "closing": 3}


def authority_is_earned_per_stage(seen: Seen) -> None:
    law, after = seen.law, seen.after
    if law is None or after is None:
        return
    for p in in_force(after):
        action = law.bundle.actions[p.action]
        must(
            stage_of(after.facts) >= _NEEDS[action.stage],
            authority_is_earned_per_stage,
            (p.action, fact(after, "stage")),
        )
    for d in seen.permits:
        read = {reference.name: reference.value for reference in d.read_set}
        needed = _NEEDS[seen.action(d).stage]
        must(needed == 0 or _NEEDS[read.get("stage", "contact")] >= needed, authority_is_earned_per_stage, d)


# --- 4
_ASKS = {"probe_intent": "timing_acceptance", "probe_scope": "scope", "validate_readiness": "readiness"}
_CLAIMS = {
    SignalType.LANGUAGE_COMMITMENT: "language_commitment", SignalType.TIMING_ACCEPTANCE: "timing_acceptance",
    SignalType.SCOPE_CONFIRMED: "scope", SignalType.READINESS: "readiness",
}  # fmt: skip
_CONTRARY = {
    SignalType.NOT_NOW: ("timing_acceptance", "language_commitment"),
    SignalType.DISENGAGEMENT: ("language_commitment",),
    SignalType.OBJECTION_RAISED: ("language_commitment",),
    SignalType.DECLINED: ("language_commitment",),
}


def what_is_confirmed_is_not_asked_again(seen: Seen) -> None:
    for p in in_force(seen.after):
        asked = _ASKS.get(p.action)
        must(
            asked is None or fact(seen.after, f"intent.{asked}") != "confirmed", what_is_confirmed_is_not_asked_again, p
        )


def intent_is_lowered_by_contrary_words_only(seen: Seen) -> None:
    if seen.before is None or seen.after is None or seen.before is seen.after:
        return
    for name, old in seen.before.facts.items():
        if name.startswith("intent.") and old.value == "confirmed" and fact(seen.after, name) != "confirmed":
            allowed = _may_lower(seen, name.removeprefix("intent."), old)
            must(allowed, intent_is_lowered_by_contrary_words_only, (name, seen.entry.body))


def _may_lower(seen: Seen, intent: str, old: Fact) -> bool:
    body = seen.entry.body
    if old.until is not None and old.until <= seen.now:
        return True  # too old to rest on, whatever the entry is
    if isinstance(body, TranscriptSegment):
        assert seen.before is not None
        objections = [f for n, f in seen.before.facts.items() if n.startswith("objection.about.")]
        pausing = intent == "language_commitment" and any(body.segment_id in f.evidence for f in objections)
        return body.status is not SegmentStatus.INTERIM and (body.segment_id in old.evidence or pausing)
    if not isinstance(body, Signal):
        return False
    if body.type in _CLAIMS:
        return _CLAIMS[body.type] == intent and body.denies
    return intent in _CONTRARY.get(body.type, ()) and not body.denies


# --- 5
def every_deferral_ends_by_its_deadline(seen: Seen) -> None:
    after = seen.after
    if after is not None and after is not seen.before:
        overdue = [d for d in after.deferrals if d.deadline <= after.now]
        must(not overdue, every_deferral_ends_by_its_deadline, overdue)
    for d in seen.decisions:
        if d.defer is not None and d.verdict is Verdict.PERMIT:
            must(d.at < d.defer.deadline, every_deferral_ends_by_its_deadline, f"a permit by timeout: {d}")


def one_final_decision_a_request(seen: Seen) -> None:
    memory = seen.memory
    if seen.entry.kind is EntryKind.REQUEST and seen.entry.body.request_id not in memory.asked[-HEARD_AGAIN:]:
        memory.asked.append(seen.entry.body.request_id)
        memory.answers.pop(memory.asked[-1], None)
    for d in seen.decisions:
        codes = {r.code for c in d.criteria for r in c.reasons}
        is_unheard = ReasonCode.IDENTITY_UNPROVEN in codes and d.defer is None
        if ReasonCode.REQUEST_CONFLICT in codes or is_unheard or d.role == "mandate":
            continue
        earlier = memory.answers.setdefault(d.request_id, [])
        if earlier:
            waited = earlier[-1].verdict is Verdict.DEFER and d.verdict is not Verdict.DEFER
            must(waited, one_final_decision_a_request, (earlier[-1].verdict, d))
            assert earlier[-1].defer is not None
            same = d.defer is not None and d.defer.defer_id == earlier[-1].defer.defer_id
            must(same, one_final_decision_a_request, (earlier[-1].defer, d.defer))
            assert d.defer is not None
            must(d.defer.deadline == earlier[-1].defer.deadline, one_final_decision_a_request, "the deadline moved")
        earlier.append(d)


# --- who asks
def a_registered_agent_signs(seen: Seen) -> None:
    """Checked by making the signature again: Ed25519 gives one for a text and a key."""
    body = seen.entry.body
    if isinstance(body, AgentRequest | AgentOutcome):
        mine = people.signed_by_agent(body, f"{body.agent_id}/k1").signature == body.signature
        if isinstance(body, AgentRequest) and mine:
            seen.memory.proven.add(body.request_id)
        is_heard = mine or seen.law is None or body.agent_id not in seen.law.bundle.agents
        if isinstance(body, AgentOutcome) and not is_heard:
            held = {p.grant_id for p in in_force(seen.before) if p.expires_at > seen.now}
            ended = {p.grant_id for p in seen.after.permissions if p.reported} if seen.after else set()
            were = {p.grant_id for p in seen.before.permissions if p.reported} if seen.before else set()
            must(not held & (ended - were), a_registered_agent_signs, body)
    for d in seen.permits:
        registered = seen.law.bundle.agents.get(d.agent_id) if seen.law else None
        must(registered is None or d.request_id in seen.memory.proven, a_registered_agent_signs, d)
        must(registered is None or d.role in registered.roles, a_registered_agent_signs, d)


def nothing_is_overdue_after_a_tick(state: LeadState, at: int) -> None:
    overdue = [d for d in state.deferrals if d.deadline <= at]
    overdue_grants = [p for p in in_force(state) if p.expires_at <= at]
    must(not overdue and not overdue_grants, nothing_is_overdue_after_a_tick, (overdue, overdue_grants))


def nothing_waits_for_ever(state: LeadState, memory: Memory) -> None:
    must(not state.deferrals and not in_force(state) and state.floor is None, nothing_waits_for_ever, state)
    open_ones = [a[-1] for a in memory.answers.values() if a[-1].verdict is Verdict.DEFER]
    must(not open_ones, nothing_waits_for_ever, open_ones)


def nobody_waits_in_vain(seen: Seen) -> None:
    """A waiting request of which all conditions hold was permitted by the entry that made them hold."""
    after, law = seen.after, seen.law
    if after is None or law is None or after is seen.before or seen.entry.kind is EntryKind.POLICY:
        return
    situation = Situation(after.facts, after.attempts, after.now, law)
    for waiting in after.deferrals:
        verdict = judge(waiting.request, situation, waiting.deferred_at, waiting.deadline).verdict
        must(verdict is not Verdict.PERMIT, nobody_waits_in_vain, waiting)


# --- 6
def irreversible_rests_on_final_facts(seen: Seen) -> None:
    for d in seen.permits:
        if seen.action(d).irreversible:
            interim = [
                r for r in d.read_set if r.version and not r.final and r.name.startswith(("intent.", "consent."))
            ]
            must(not [r for r in interim if r.value == "confirmed"], irreversible_rests_on_final_facts, interim)
            must(not any(r.name.startswith("consent.") for r in interim), irreversible_rests_on_final_facts, interim)
    if seen.after is None or seen.after is seen.before:
        return
    segments = {s.segment_id: s for s in seen.after.segments}
    for name, found in seen.after.facts.items():
        if name in _WORDED and found.value in ("confirmed", "paused"):
            for segment_id in found.evidence:
                status = segments[segment_id].status if segment_id in segments else None
                must(found.final and status in SETTLED, irreversible_rests_on_final_facts, (name, segment_id, status))


_WORDED = {f"intent.{name}" for name in _CLAIMS.values()}


def corrected_words_revoke(seen: Seen) -> None:
    body = seen.entry.body
    if not isinstance(body, TranscriptSegment) or seen.before is None or seen.after is None:
        return
    was = next((s for s in seen.before.segments if s.segment_id == body.segment_id), None)
    now = next((s for s in seen.after.segments if s.segment_id == body.segment_id), None)
    if was is None or now is None or (was.text, was.status is SegmentStatus.WITHDRAWN) == (
        now.text, now.status is SegmentStatus.WITHDRAWN
    ):  # fmt: skip
        return
    rested = {
        n
        for n, f in seen.before.facts.items()
        if n in _WORDED and body.segment_id in f.evidence and f.value == "confirmed"
    }
    held = {p.grant_id for p in in_force(seen.before) if rested & {r.name for r in p.read_set}}
    must(not held & {p.grant_id for p in in_force(seen.after)}, corrected_words_revoke, (rested, held))


# --- 7
_FREE = ("update_crm", "end_conversation", "route_to_human", "escalate")
"""Actions that a do-not-contact leaves open."""
_OUTSIDE = ("initiate_contact", "send_message")
"""Actions outside of a conversation, which a halt called in one does not lock."""


_WAYS_OUT = ("end_conversation", "route_to_human", "escalate")
"""A pause leaves the buyer a way out of a silent line."""


def a_no_binds_by_its_effect(seen: Seen) -> None:
    _remember_no(seen)
    after, memory = seen.after, seen.memory
    if after is None:
        return
    for p in in_force(after):
        must(f"refused.{p.effect}" not in after.facts or p.issued_at < after.facts[f"refused.{p.effect}"].at,
             a_no_binds_by_its_effect, ("refused", p.action))  # fmt: skip
        contacting = p.action not in _FREE
        must(not (contacting and fact(after, "do_not_contact")), a_no_binds_by_its_effect, ("do_not_contact", p.action))
        channel = fact(after, f"do_not_contact.{p.channel.lower()}")
        must(not (contacting and channel), a_no_binds_by_its_effect, (channel, p.action))
        by_a_person = any(f.name.startswith("override.") for f in p.read_set)
        suspended = fact(after, f"suspended.{p.action}") and not by_a_person
        must(not suspended, a_no_binds_by_its_effect, ("suspended", p.action))
        must(p.action in _WAYS_OUT or not fact(after, "paused"), a_no_binds_by_its_effect, ("paused", p.action))
        locked = (
            p.action not in (*_FREE, *_OUTSIDE)
            and p.conversation_id
            and fact(after, f"execution.locked/{p.conversation_id}")
        )
        must(not locked, a_no_binds_by_its_effect, ("locked", p.action))
    for d in seen.permits:
        effect = seen.action(d).effect
        barred = [b for b in memory.barred.get(effect, ()) if b[0] <= d.at and (b[1] is None or d.at < b[1])]
        of_an_agent = d.role != "mandate"  # which records the buyer's no whatever else is barred
        must(not (of_an_agent and barred), a_no_binds_by_its_effect, ("a person's no", d.action, barred))
        must(not (memory.opted_out and d.action not in _FREE and of_an_agent), a_no_binds_by_its_effect, d.action)


def _remember_no(seen: Seen) -> None:
    """The no's of buyers and people, noted from the journal alone."""
    body, memory = seen.entry.body, seen.memory
    if seen.law is None or seen.after is seen.before:
        return
    if isinstance(body, Signal) and body.type is SignalType.OPT_OUT and not body.denies and body.confidence >= 0.3:
        memory.opted_out = True
    if not isinstance(body, HumanIntervention) or seen.after is None or seen.after.applied_offset != seen.offset:
        return
    is_known = set(body.effects) <= {action.effect for action in seen.law.bundle.actions.values()}
    if body.type is InterventionType.REFUSE and is_known and (body.until is None or body.until > seen.now):
        for effect in body.effects:
            memory.barred.setdefault(effect, []).append((body.since or 0, body.until))
    elif body.type is InterventionType.REFUSAL_LIFTED:
        for effect in body.effects:
            memory.barred.pop(effect, None)


# --- 11, 12
def ended_conversations_stay_ended(seen: Seen) -> None:
    if seen.after is None or seen.after is seen.before:
        return
    remembered = {c.conversation_id for c in seen.after.conversations}
    for forgotten in seen.memory.ended.keys() - remembered:
        del seen.memory.ended[forgotten]  # the row keeps the last few conversations
    for c in seen.after.conversations:
        known = seen.memory.ended.get(c.conversation_id)
        must(known is None or c.ended_at == known, ended_conversations_stay_ended, (c, known))
        if c.ended_at is not None:
            seen.memory.ended[c.conversation_id] = c.ended_at
            phase = fact(seen.after, f"conversation.phase/{c.conversation_id}")
            must(phase == "ended", ended_conversations_stay_ended, (c.conversation_id, phase))


_LISTS = {
    "conversations": lambda item: (item.conversation_id, (item.agent_id, item.turn, item.barge_ins, len(item.legs))),
    "signals": lambda item: (str(item.offset), item.type),
    "refusals": lambda item: (f"{item.effect}/{item.by}", (item.count, item.since, item.until)),
    "permissions": lambda item: (item.grant_id, item.status),
    "deferrals": lambda item: (item.defer_id, ""),
    "overrides": lambda item: (item.override_id, item.status),
    "segments": lambda item: (item.segment_id, item.status),
    "attempts": lambda item: (item.conversation_id, item.outcome),
}
"""State that is no fact: each list's ids, and what of an item is told."""
_LISTED = (*(f"{name}/" for name in _LISTS), "epoch")


def transitions_tell_every_change(seen: Seen) -> None:
    memory = seen.memory
    for t in seen.outputs:
        if isinstance(t, Transition) and not t.fact.startswith(_LISTED):
            must(memory.facts.get(t.fact, "") == t.old_value, transitions_tell_every_change, t)
            memory.facts[t.fact] = t.new_value
            if not t.new_value:
                del memory.facts[t.fact]
    if seen.after is not None and seen.after is not seen.before:
        values = {name: found.value for name, found in seen.after.facts.items()}
        differing = {n for n in {*values, *memory.facts} if values.get(n) != memory.facts.get(n)}
        must(not differing, transitions_tell_every_change, differing)
        told = {t.fact for t in seen.outputs if isinstance(t, Transition)}
        changed = {f"{name}/{item_id}" for name in _LISTS for item_id in _changed(seen.before, seen.after, name)}
        must(changed <= told, transitions_tell_every_change, changed - told)


def _changed(before: LeadState | None, after: LeadState, name: str) -> set[str]:
    were = dict(map(_LISTS[name], getattr(before, name))) if before is not None else {}
    are = dict(map(_LISTS[name], getattr(after, name)))
    return {item_id for item_id in {*were, *are} if were.get(item_id) != are.get(item_id)}


# --- contention and grants
def one_grant_an_irreversible_effect(seen: Seen) -> None:
    held = in_force(seen.after)
    for p in held:
        if seen.law is not None and seen.law.bundle.actions[p.action].irreversible:
            same = [other.action for other in held if other.effect == p.effect]
            must(len(same) == 1, one_grant_an_irreversible_effect, (p.effect, same))


def a_grant_rests_on_what_stands(seen: Seen) -> None:
    after = seen.after
    for p in in_force(after):
        assert after is not None
        for r in p.read_set:
            found = after.facts.get(r.name)
            now = (found.version, found.offset) if found else (0, -1)
            # Of the overrides of an action it is the one that lifted that must stand, whatever becomes of others.
            is_named = r.name.startswith("override.") and found and r.value in found.value.split(",")
            must(is_named or now == (r.version, r.offset), a_grant_rests_on_what_stands, (p.action, r.name))


def the_floor_has_one_holder(seen: Seen) -> None:
    after = seen.after
    if after is None or after is seen.before:
        return
    holder = after.floor.agent_id if after.floor else ""
    must(holder == fact(after, "floor"), the_floor_has_one_holder, (holder, fact(after, "floor")))
    for p in in_force(after):
        if seen.law is not None and seen.law.bundle.actions[p.action].takes_floor:
            must(p.agent_id == holder, the_floor_has_one_holder, (p.action, p.agent_id, holder))


def one_open_case_a_cause(seen: Seen) -> None:
    if seen.after is not None and seen.after is not seen.before:
        causes = [case.cause for case in seen.after.cases]
        must(len(set(causes)) == len(causes), one_open_case_a_cause, causes)
        suspended = {f"suspended.{action}" for case in seen.after.cases for action in case.suspended}
        facts = {name for name in seen.after.facts if name.startswith("suspended.")}
        must(facts == suspended, one_open_case_a_cause, facts ^ suspended)


INVARIANTS: tuple[Callable[[Seen], None], ...] = (
    three_criteria_are_reported, the_default_is_block, authority_is_earned_per_stage,
    what_is_confirmed_is_not_asked_again, intent_is_lowered_by_contrary_words_only,
    every_deferral_ends_by_its_deadline, one_final_decision_a_request, nobody_waits_in_vain,
    irreversible_rests_on_final_facts, corrected_words_revoke, a_no_binds_by_its_effect,
    ended_conversations_stay_ended, transitions_tell_every_change, one_grant_an_irreversible_effect,
    a_grant_rests_on_what_stands, the_floor_has_one_holder, one_open_case_a_cause, a_registered_agent_signs,
)  # fmt: skip
