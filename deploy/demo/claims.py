"""What must hold of the leads of each kind, checked on the evidence. A claim that fails fails the run."""

from collections import Counter
from collections.abc import Callable, Mapping
from zoneinfo import ZoneInfo

from deploy.demo.broken import TITLES
from deploy.demo.cast import Lead
from deploy.demo.evidence import Evidence, LeadEvidence
from deploy.demo.kinds import MALFORMED_EACH
from deploy.demo.office import ROLES
from deploy.demo.times import moment
from schemas.records import CaseStatus, DirectiveType, RevocationScope, Verdict
from schemas.records import ReasonCode as Code

CONTACT_STAGE = frozenset(
    {"initiate_contact", "send_message", "leave_voicemail", "confirm_availability", "update_crm", "end_conversation",
     "route_to_human", "escalate"}
)  # fmt: skip
CLOSING = frozenset({"discuss_price", "offer_discount", "request_commitment", "capture_commitment"})
PHASE, ENDED = "conversation.phase/", "ended"
_PHASES = ("", "initiated", "ringing", "answered", ENDED)
_HIGHEST_DISCOUNT_BP = 1000

Claim = Callable[[LeadEvidence, Lead], str]


def _permitted(lead: LeadEvidence) -> set[str]:
    return {decision.action for decision in lead.permits}


def _captured(lead: LeadEvidence) -> bool:
    return any(change.new_value == "confirmed" for change in lead.changes("intent.commitment"))


def _ends(lead: LeadEvidence) -> dict[str, int]:
    """Journal offset at which each conversation ended."""
    found = (change for change in lead.changes(PHASE) if change.new_value == ENDED)
    return {change.fact.removeprefix(PHASE): change.position.offset for change in found}


def _permit_after_end(lead: LeadEvidence) -> str:
    ends = _ends(lead)
    if not ends:
        return "no conversation ended"
    late = [p for p in lead.permits if p.position.offset > ends.get(p.conversation_id or "", p.position.offset)]
    return f"{late[0].action} was permitted after the end" if late else ""


def progress(lead: LeadEvidence, _: Lead) -> str:
    missing = set(ROLES) - {decision.role for decision in lead.permits}
    if missing:
        return f"no permit for {', '.join(sorted(missing))}"
    return "" if _captured(lead) else "no commitment was captured"


def voicemail(lead: LeadEvidence, _: Lead) -> str:
    allowed = {"initiate_contact", "leave_voicemail", "end_conversation", "update_crm", "send_message"}
    if extra := _permitted(lead) - allowed:
        return f"{', '.join(sorted(extra))} was permitted with a machine on the line"
    left = sum(decision.action == "leave_voicemail" for decision in lead.permits)
    return "" if left == 1 else f"{left} voicemails were permitted"


def dropped(lead: LeadEvidence, _: Lead) -> str:
    return _permit_after_end(lead)


def timed_out(lead: LeadEvidence, _: Lead) -> str:
    return _permit_after_end(lead)


def barge_in(lead: LeadEvidence, _: Lead) -> str:
    return "" if _directed(lead, DirectiveType.HOLD) else "no agent was told to hold"


def silence(lead: LeadEvidence, _: Lead) -> str:
    return "" if _directed(lead, DirectiveType.PAUSE) else "no agent was told to pause"


def _directed(lead: LeadEvidence, kind: DirectiveType) -> bool:
    return any(directive.type is kind for directive in lead.directives.values())


def low_confidence(lead: LeadEvidence, _: Lead) -> str:
    if "schedule_meeting" in _permitted(lead):
        return "a meeting was booked on unclear words"
    return "" if "schedule_meeting" in _asked(lead) else "nobody asked for a meeting"


def interim_only(lead: LeadEvidence, _: Lead) -> str:
    if extra := _permitted(lead) - CONTACT_STAGE:
        return f"{', '.join(sorted(extra))} was permitted on interim words"
    if lead.changes("stage"):
        return "a stage was earned by interim words"
    return "" if "probe_intent" in _asked(lead) else "nobody asked"


def corrected(lead: LeadEvidence, _: Lead) -> str:
    if _captured(lead):
        return "a commitment was captured on words that were taken back"
    fell = {r.code for r in lead.revocations.values() if r.scope is RevocationScope.GRANT}
    return "" if Code.EVIDENCE_CHANGED in fell else "no grant was revoked for its evidence"


def duplicates(lead: LeadEvidence, _: Lead) -> str:
    attempts = [change.new_value for change in lead.changes("contact.attempts")]
    if attempts != ["1"]:
        return f"one call was counted as {attempts[-1] if attempts else 'none'}"
    answers = Counter(d.request_id for d in lead.agents_decisions if d.verdict is not Verdict.DEFER)
    return next((f"{request} was answered {count} times" for request, count in answers.items() if count > 1), "")


def out_of_order(lead: LeadEvidence, _: Lead) -> str:
    phases = [_PHASES.index(change.new_value) for change in lead.changes(PHASE)]
    if phases != sorted(phases):
        return "a phase went backwards"
    return "" if phases and phases[-1] == _PHASES.index(ENDED) else "the call did not end"


def terminal_first(lead: LeadEvidence, _: Lead) -> str:
    phases = [change.new_value for change in lead.changes(PHASE)]
    if not phases or phases[-1] != ENDED or ENDED in phases[:-1]:
        return f"the call went through {', '.join(phases) or 'nothing'}"
    return _permit_after_end(lead)


def opt_out(lead: LeadEvidence, _: Lead) -> str:
    noticed = lead.changes("do_not_contact")
    if not noticed:
        return "the opt-out was not noticed"
    late = [permit for permit in lead.permits if permit.position.offset > noticed[0].position.offset]
    if late:
        return f"{late[0].action} was permitted after the opt-out"
    told = [u for u in lead.updates.values() if "do_not_contact" in u.fields and u.update_id in lead.applied]
    return "" if told else "the CRM was not told"


def outside_hours(lead: LeadEvidence, person: Lead) -> str:
    zone = ZoneInfo(person.zone)
    calls = [moment(p.at).astimezone(zone) for p in lead.permits if p.action == "initiate_contact"]
    early = [call for call in calls if not 8 <= call.hour < 21]
    if early:
        return f"a call was permitted at {early[0]:%H:%M} over there"
    return "" if Code.OUTSIDE_CALLING_HOURS in lead.codes() else "no call was held back"


def rivals(lead: LeadEvidence, _: Lead) -> str:
    asked = {request.agent_id for request in lead.requests.values() if request.action == "initiate_contact"}
    permitted = sum(permit.action == "initiate_contact" for permit in lead.permits)
    placed = len({change.fact for change in lead.changes(PHASE)})
    if (len(asked), permitted, placed) == (2, 1, 1):
        return ""
    return f"{len(asked)} agents asked, {permitted} permits, {placed} calls"


def discount(lead: LeadEvidence, _: Lead) -> str:
    asked = [lead.requests[permit.request_id] for permit in lead.permits if permit.action == "offer_discount"]
    offers = [request.parameters["discount_bp"] for request in asked]
    if any(isinstance(offer, int) and offer > _HIGHEST_DISCOUNT_BP for offer in offers):
        return "a discount above the authority was permitted"
    return "" if any(case.cause == "discount_exception" for case in lead.cases) else "no case was opened"


def transfer_closes(lead: LeadEvidence, _: Lead) -> str:
    if bad := [p.action for p in lead.permits if p.role == "transfer" and p.action in CLOSING]:
        return f"{bad[0]} was permitted to a transfer agent"
    return "" if Code.ACTION_OUTSIDE_ROLE in lead.codes() else "nobody tried"


def crm_fields(lead: LeadEvidence, _: Lead) -> str:
    written = {name for update in lead.updates.values() for name in update.fields}
    if outside := written & {"deal_status", "quoted_price"}:
        return f"{', '.join(sorted(outside))} was written"
    return "" if Code.CRM_FIELD_OUTSIDE_ROLE in lead.codes() else "nobody tried"


def asks_for_human(lead: LeadEvidence, _: Lead) -> str:
    opened = next((case for case in lead.cases if case.cause == "asks_for_human"), None)
    if opened is None:
        return "no case was opened"
    same = (case for case in lead.cases if case.case_id == opened.case_id)
    until = min((case.position.offset for case in same if case.status is CaseStatus.RESOLVED), default=1 << 62)
    during = (p for p in lead.permits if opened.position.offset < p.position.offset < until)
    return next((f"{p.action} was permitted while suspended" for p in during if p.action in opened.suspended), "")


def _asked(lead: LeadEvidence) -> set[str]:
    return {request.action for request in lead.requests.values()}


CLAIMS: Mapping[str, Claim] = {
    claim.__name__: claim
    for claim in (
        progress, voicemail, dropped, timed_out, barge_in, silence, low_confidence, interim_only, corrected,
        duplicates, out_of_order, terminal_first, opt_out, outside_hours, rivals, discount, transfer_closes,
        crm_fields, asks_for_human,
    )
}  # fmt: skip


def failures(evidence: Evidence, cast: Mapping[str, Lead]) -> dict[str, list[str]]:
    """What does not hold, by kind: `lead: why`. Every lead of the cast must be there."""
    found: dict[str, list[str]] = {}
    for lead_id, person in cast.items():
        seen = evidence.leads.get(lead_id)
        why = CLAIMS[person.kind.name](seen, person) if seen is not None else "nothing is known of this lead"
        if why:
            found.setdefault(person.kind.name, []).append(f"{lead_id}: {why}")
    return found


def malformed_failures(evidence: Evidence) -> list[str]:
    """Kinds of malformed records that did not all become dead letters, and other dead letters."""
    counted = Counter(letter.code for letter in evidence.dead_letters.values())
    wrong = [f"{code.value}: {counted[code]} of {MALFORMED_EACH}" for code in TITLES if counted[code] != MALFORMED_EACH]
    others = ((code, count) for code, count in counted.items() if code not in TITLES)
    return wrong + [f"{code.value}: {count} that nobody meant to send" for code, count in others]
