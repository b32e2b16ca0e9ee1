"""What the topics hold after a run, by lead. Everything that the summary says is counted from here and the stores."""

from collections import Counter
from dataclasses import dataclass, field

from deploy.demo.kinds import KINDS, Kind
from schemas.records import (
    AgentRequest,
    CrmResult,
    CrmUpdate,
    CrmWriteResult,
    DeadLetter,
    Decision,
    Directive,
    EscalationCase,
    Record,
    Revocation,
    RevocationScope,
    Transition,
    Verdict,
)
from schemas.records import ReasonCode as Code

SYSTEM_ROLE = "mandate"
READ: tuple[type[Record], ...] = (
    AgentRequest, Decision, Revocation, Directive, Transition, EscalationCase, CrmUpdate, CrmResult, DeadLetter,
)  # fmt: skip
"""Records that are read whole; of the other topics, offsets suffice."""


@dataclass(slots=True)
class LeadEvidence:
    """What became of one lead, in the order of its topics. Repeated records count once."""

    lead_id: str
    requests: dict[str, AgentRequest] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    revocations: dict[str, Revocation] = field(default_factory=dict)
    directives: dict[str, Directive] = field(default_factory=dict)
    transitions: dict[str, Transition] = field(default_factory=dict)
    cases: list[EscalationCase] = field(default_factory=list)
    updates: dict[str, CrmUpdate] = field(default_factory=dict)
    applied: set[str] = field(default_factory=set)

    @property
    def agents_decisions(self) -> list[Decision]:
        """Decisions on agents' requests; Mandate's own are apart."""
        return [decision for decision in self.decisions.values() if decision.role != SYSTEM_ROLE]

    @property
    def permits(self) -> list[Decision]:
        """Permits for agents."""
        return [decision for decision in self.agents_decisions if decision.verdict is Verdict.PERMIT]

    @property
    def case_ids(self) -> set[str]:
        """Cases that were opened."""
        return {case.case_id for case in self.cases}

    def changes(self, fact: str) -> list[Transition]:
        """Changes of a fact, or of a family of facts that ends with a slash, in journal order."""
        of_family = fact.endswith("/")
        found = (t for t in self.transitions.values() if t.fact == fact or (of_family and t.fact.startswith(fact)))
        return sorted(found, key=lambda transition: transition.position.offset)

    def codes(self) -> Counter[Code]:
        """Reason codes of blocks and defers."""
        return Counter(
            reason.code
            for decision in self.agents_decisions
            for criterion in decision.criteria
            if decision.verdict is not Verdict.PERMIT and criterion.verdict is decision.verdict
            for reason in criterion.reasons
        )


@dataclass(slots=True)
class Evidence:
    """All leads, and what belongs to none."""

    leads: dict[str, LeadEvidence] = field(default_factory=dict)
    dead_letters: dict[str, DeadLetter] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Takes in a record of one of the topics in `READ`."""
        if isinstance(record, DeadLetter):
            self.dead_letters[record.dead_letter_id] = record
            return
        if isinstance(record, Revocation) and record.scope is RevocationScope.HEARTBEAT:
            return
        lead_id: str = record.lead_id  # type: ignore[attr-defined]
        lead = self.leads.setdefault(lead_id, LeadEvidence(lead_id))
        if isinstance(record, AgentRequest):
            lead.requests[record.request_id] = record
        elif isinstance(record, Decision):
            lead.decisions[record.decision_id] = record
        elif isinstance(record, Revocation):
            lead.revocations[record.revocation_id] = record
        elif isinstance(record, Directive):
            lead.directives[record.directive_id] = record
        elif isinstance(record, Transition):
            lead.transitions[record.transition_id] = record
        elif isinstance(record, EscalationCase):
            lead.cases.append(record)
        elif isinstance(record, CrmUpdate):
            lead.updates[record.update_id] = record
        elif isinstance(record, CrmResult) and record.result is CrmWriteResult.APPLIED:
            lead.applied.add(record.update_id)

    def by_kind(self) -> dict[Kind, list[LeadEvidence]]:
        """Leads by kind, which their ids tell."""
        kinds = {kind.name: kind for kind in KINDS}
        found: dict[Kind, list[LeadEvidence]] = {kind: [] for kind in KINDS}
        for lead_id in sorted(self.leads):
            kind = kinds.get(lead_id.rpartition("-")[0].replace("-", "_"))
            if kind is not None:
                found[kind].append(self.leads[lead_id])
        return found

    def undecided(self) -> list[str]:
        """Requests that no decision answers."""
        decided = {d.request_id for lead in self.leads.values() for d in lead.decisions.values()}
        asked = (request_id for lead in self.leads.values() for request_id in lead.requests)
        return [request_id for request_id in asked if request_id not in decided]

    def open_defers(self) -> list[str]:
        """Requests whose last decision is a DEFER: a defer always ends, so there should be none."""
        last: dict[str, Decision] = {}
        for lead in self.leads.values():
            for decision in sorted(lead.agents_decisions, key=lambda d: d.position.offset):
                last[decision.request_id] = decision
        return [request_id for request_id, decision in last.items() if decision.verdict is Verdict.DEFER]

    def total(self) -> Counter[str]:
        """Counts over all leads."""
        counts: Counter[str] = Counter()
        for lead in self.leads.values():
            counts["requests"] += len(lead.requests)
            counts["revocations"] += len(lead.revocations)
            counts["escalations"] += len(lead.case_ids)
            counts["system_decisions"] += len(lead.decisions) - len(lead.agents_decisions)
            for decision in lead.agents_decisions:
                counts[decision.verdict.value] += 1
        return counts
