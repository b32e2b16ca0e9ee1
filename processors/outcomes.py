"""What agents report: the end of an action, and the obligations they fulfilled."""

from processors import dialogue, grants, identity, requests, signals
from processors.conversation import release_floor
from processors.draft import Draft
from processors.lead import MAX_REASON
from schemas.records import (
    AgentId,
    AgentOutcome,
    DirectiveType,
    OutcomeResult,
    Permission,
    PermissionStatus,
    ReasonCode,
)


def on_outcome(draft: Draft, outcome: AgentOutcome) -> None:
    """Folds one outcome. One that no grant covers, or that comes again, is recorded and stops the agent."""
    permission = next((p for p in draft.get("permissions") if p.grant_id == outcome.grant_id), None)
    if outcome.result is OutcomeResult.CANCELLED and (_cancel(draft, outcome) or permission is None):
        # Nothing waits: the end of the wait and its withdrawal crossed on their ways, and no agent did wrong.
        return
    misuse = _misuse(outcome, permission)
    if misuse is not None:
        _object(draft, outcome, *misuse)
    if outcome.result is OutcomeResult.DECLINED and permission is not None and misuse is None:
        signals.decline(draft, permission.effect)  # A no counts, whatever became of the grant to ask.
    if permission is None or misuse is not None or permission.status is PermissionStatus.REVOKED or permission.reported:
        return
    grants.report(draft, permission)
    action = draft.law.bundle.actions.get(permission.action) if draft.law else None
    if outcome.result is OutcomeResult.DONE:
        _fulfil(draft, outcome, permission.obligations)
        for fact in sorted(action.establishes) if action else ():
            assert action is not None
            draft.set_fact(fact, action.establishes[fact])
    keeps = action is not None and action.keeps_floor and outcome.result is OutcomeResult.DONE
    if draft.value("floor") == outcome.agent_id and not keeps and not _goes_on(draft, outcome.agent_id):
        release_floor(draft)


def turned_away(draft: Draft, outcome: AgentOutcome) -> bool:
    """Is it not proven that the agent reported this? Then it is noted, and nothing else: no other is stopped for it."""
    why = identity.unproven(outcome, draft.law)
    if why is not None:
        draft.set_fact("outcome.rejected", f"{outcome.outcome_id}: {why}"[:MAX_REASON])
    return why is not None


def _goes_on(draft: Draft, agent_id: AgentId) -> bool:
    """Does the agent hold another grant that needs the lead? It is not taken away by the report of the first."""
    actions = draft.law.bundle.actions if draft.law else {}
    mine = (actions.get(p.action) for p in grants.in_force(draft) if p.agent_id == agent_id)
    return any(action.takes_floor for action in mine if action is not None)


def _cancel(draft: Draft, outcome: AgentOutcome) -> bool:
    """The agent withdraws a request that waits."""
    for deferral in draft.get("deferrals"):
        request = deferral.request
        if (request.request_id, request.agent_id) == (outcome.request_id, outcome.agent_id):
            requests.cancel(draft, deferral)
            return True
    return False


def _misuse(outcome: AgentOutcome, permission: Permission | None) -> tuple[ReasonCode, str] | None:
    """What is wrong with an outcome: nothing covers it, or it says that an effect took place twice."""
    if permission is None or permission.agent_id != outcome.agent_id:
        return ReasonCode.GRANT_INVALID, "No grant of this agent covers this outcome."
    if outcome.result is not OutcomeResult.DONE:
        return None
    if permission.status is PermissionStatus.REVOKED:
        return ReasonCode.GRANT_REVOKED, "This was done under a grant that had been revoked."
    if permission.reported and permission.single_use:
        return ReasonCode.GRANT_REUSED, "This grant allows one effect, and that was reported already."
    return None


def _fulfil(draft: Draft, outcome: AgentOutcome, obligations: tuple[str, ...]) -> None:
    for obligation in outcome.fulfilled:
        if obligation in obligations:
            dialogue.obligation_reported(draft, obligation, outcome.conversation_id)


def _object(draft: Draft, outcome: AgentOutcome, code: ReasonCode, message: str) -> None:
    draft.set_fact("grants.misused", str(int(draft.value("grants.misused") or 0) + 1))
    draft.direct(
        DirectiveType.STOP, code, message, conversation_id=outcome.conversation_id, agent_id=outcome.agent_id
    )  # fmt: skip
