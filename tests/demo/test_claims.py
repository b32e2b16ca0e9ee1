"""Each claim fails on evidence that breaks it: a checker that never fails checks nothing."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from deploy.demo import claims
from deploy.demo.cast import Lead, make_cast
from deploy.demo.evidence import LeadEvidence
from deploy.demo.office import Tally
from deploy.demo.play import Play
from schemas.records import Decision, Position, ReasonCode, Transition, Verdict
from tests.demo.memory import Memory

LATE = Position(partition=0, offset=1 << 40)


@pytest.fixture(scope="module")
def cast() -> dict[str, Lead]:
    return {lead.kind.name: lead for lead in make_cast(3) if lead.number == 0}


@pytest.fixture
def evidence(cast: dict[str, Lead]) -> dict[str, LeadEvidence]:
    memory = Memory()
    play = Play(memory, list(cast.values()), Tally(), lambda _: None)
    asyncio.run(play.give(memory.client(play.now)))
    return {kind: memory.evidence.leads[lead.lead_id] for kind, lead in cast.items()}


def permit(lead: LeadEvidence, **changes: Any) -> None:
    """Adds one more permit, like the lead's first but for the changes."""
    first = lead.permits[0]
    more: Decision = msgspec.structs.replace(first, decision_id="forged", **{"position": LATE, **changes})
    lead.decisions["forged"] = more


def change(lead: LeadEvidence, fact: str, value: str) -> None:
    """Adds one more change of a fact, after all others."""
    like: Transition = next(iter(lead.transitions.values()))
    lead.transitions["forged"] = msgspec.structs.replace(
        like, transition_id="forged", fact=fact, new_value=value, position=LATE
    )


def phase_of(lead: LeadEvidence) -> str:
    """The stored name of the phase of the lead's call."""
    return lead.changes(claims.PHASE)[0].fact


def conversation_of(lead: LeadEvidence) -> str:
    return phase_of(lead).removeprefix(claims.PHASE)


def forge_discount(lead: LeadEvidence) -> None:
    request = next(r for r in lead.requests.values() if r.parameters.get("discount_bp") == 2500)
    permit(lead, action="offer_discount", request_id=request.request_id)


def forge_case(lead: LeadEvidence) -> None:
    opened = lead.cases[0]
    permit(
        lead,
        action=opened.suspended[0],
        position=msgspec.structs.replace(opened.position, offset=opened.position.offset + 1),
    )


BREAKS: dict[str, Callable[[LeadEvidence], None]] = {
    "progress": lambda lead: lead.decisions.clear(),
    "voicemail": lambda lead: permit(lead, action="probe_intent"),
    "dropped": lambda lead: permit(lead, conversation_id=conversation_of(lead)),
    "timed_out": lambda lead: permit(lead, conversation_id=conversation_of(lead)),
    "barge_in": lambda lead: lead.directives.clear(),
    "silence": lambda lead: lead.directives.clear(),
    "low_confidence": lambda lead: permit(lead, action="schedule_meeting"),
    "interim_only": lambda lead: permit(lead, action="probe_intent"),
    "corrected": lambda lead: change(lead, "intent.commitment", "confirmed"),
    "duplicates": lambda lead: change(lead, "contact.attempts", "2"),
    "out_of_order": lambda lead: change(lead, phase_of(lead), "ringing"),
    "terminal_first": lambda lead: change(lead, phase_of(lead), "answered"),
    "opt_out": lambda lead: permit(lead, action="send_message"),
    "outside_hours": lambda lead: permit(lead, action="initiate_contact", at=lead.permits[0].at - 3_600_000_000),
    "rivals": lambda lead: permit(lead, action="initiate_contact"),
    "discount": forge_discount,
    "transfer_closes": lambda lead: permit(lead, role="transfer", action="capture_commitment"),
    "crm_fields": lambda lead: lead.updates.update(
        forged=msgspec.structs.replace(next(iter(lead.updates.values())), fields={"deal_status": "won"})
    ),
    "asks_for_human": forge_case,
}


@pytest.mark.parametrize("kind", sorted(claims.CLAIMS))
def test_a_claim_that_is_broken_fails(kind: str, evidence: dict[str, LeadEvidence], cast: dict[str, Lead]) -> None:
    claim, lead = claims.CLAIMS[kind], cast[kind]
    assert claim(evidence[kind], lead) == ""
    BREAKS[kind](evidence[kind])
    assert claim(evidence[kind], lead) != ""


def test_a_second_answer_to_one_request_is_noticed(evidence: dict[str, LeadEvidence], cast: dict[str, Lead]) -> None:
    permit(evidence["duplicates"])
    assert "answered 2 times" in claims.CLAIMS["duplicates"](evidence["duplicates"], cast["duplicates"])


def test_an_opt_out_that_the_crm_was_not_told_of_is_noticed(
    evidence: dict[str, LeadEvidence], cast: dict[str, Lead]
) -> None:
    evidence["opt_out"].applied.clear()
    assert claims.CLAIMS["opt_out"](evidence["opt_out"], cast["opt_out"]) == "the CRM was not told"


def test_a_transfer_agent_that_never_tried_proves_nothing(
    evidence: dict[str, LeadEvidence], cast: dict[str, Lead]
) -> None:
    lead = evidence["transfer_closes"]
    tried = [d for d in lead.decisions.values() if ReasonCode.ACTION_OUTSIDE_ROLE in codes(d)]
    for decision in tried:
        del lead.decisions[decision.decision_id]
    assert claims.CLAIMS["transfer_closes"](lead, cast["transfer_closes"]) == "nobody tried"


def codes(decision: Decision) -> set[ReasonCode]:
    return {
        reason.code
        for criterion in decision.criteria
        for reason in criterion.reasons
        if decision.verdict is not Verdict.PERMIT
    }
