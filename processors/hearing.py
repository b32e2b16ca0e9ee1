"""One request before the rules: what they may read, and a note of what they read."""

from typing import NamedTuple

import msgspec

from processors.draft import fact_ref
from processors.facts import scoped
from processors.law import Law
from processors.policy import Action, Role, Rule
from schemas.records import (
    AgentRequest,
    Attempt,
    Fact,
    FactRef,
    Override,
    ReasonCode,
    TimeUs,
    Verdict,
)


class Situation(NamedTuple):
    """A lead as it stands when a request is judged.

    attempts: to reach the lead. facts: all its facts by stored name. law: None = no policy is in force.
    """

    facts: dict[str, Fact]
    attempts: tuple[Attempt, ...]
    now: TimeUs
    law: Law | None


class Failure(NamedTuple):
    """Why a check does not hold. None in a field means: as the rule says.

    not_before: time from which it may hold. detail: what the rule's message can't know.
    """

    code: ReasonCode | None = None
    verdict: Verdict | None = None
    not_before: TimeUs | None = None
    detail: str = ""


FAILED = Failure()


class Finding(NamedTuple):
    """What a rule holds against a request.

    resume_when: stored fact names whose change may cure it. not_before: time that may cure it.
    """

    rule: Rule
    verdict: Verdict
    code: ReasonCode
    facts: tuple[FactRef, ...]
    resume_when: tuple[str, ...] = ()
    not_before: TimeUs | None = None
    detail: str = ""


_SCOPED: dict[str, bool] = {}
"""Which of the names that rules have given belong to a conversation; as many as policies name."""


class Hearing:
    """A request with the state it is judged on. Facts are read through it, so that the read set is complete."""

    def __init__(self, request: AgentRequest, situation: Situation, law: Law, first_heard_at: TimeUs) -> None:
        self.request = request
        self.attempts = situation.attempts
        self.now = situation.now
        self.law = law
        self.first_heard_at = first_heard_at
        self.action: Action = law.bundle.actions[request.action]
        self.role: Role = law.bundle.roles[request.role]
        self.read_set: dict[str, FactRef] = {}
        self._facts = situation.facts
        self._suffix = f"/{request.conversation_id or ''}"
        self._read_by_rule: list[FactRef] = []

    def read(self, name: str) -> Fact | None:
        """A fact by the name a rule gives it, in the request's conversation; None when it is not set."""
        is_scoped = _SCOPED.get(name)
        if is_scoped is None:
            is_scoped = _SCOPED[name] = scoped(name, None) != name
        stored = name + self._suffix if is_scoped else name
        reference = self.read_set.get(stored)
        if reference is None:
            reference = self.read_set[stored] = fact_ref(self._facts, stored)
        self._read_by_rule.append(reference)
        return self._facts.get(stored)

    def value(self, name: str) -> str:
        """Value of a fact; empty when it is not set."""
        fact = self.read(name)
        return fact.value if fact else ""

    def rest_on_override(self, override: Override) -> None:
        """Notes that the judgement rests on this override, and on no other of the same action."""
        name = f"override.{override.action}"
        self.read_set[name] = msgspec.structs.replace(fact_ref(self._facts, name), value=override.override_id)

    def pass_read(self) -> None:
        """Forgets what was read since the last call: nothing will be said of it."""
        self._read_by_rule.clear()

    def take_read(self) -> tuple[FactRef, ...]:
        """Facts read since the last call, each once, in order."""
        read, self._read_by_rule = self._read_by_rule, []
        return tuple({reference.name: reference for reference in read}.values())
