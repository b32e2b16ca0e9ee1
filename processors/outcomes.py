"""What agents report: the end of an action, and the obligations they fulfilled."""

from processors import grants
from processors.conversation import release_floor
from processors.draft import Draft
from schemas.records import AgentOutcome, DirectiveType, OutcomeResult, PermissionStatus, ReasonCode


def on_outcome(draft: Draft, outcome: AgentOutcome) -> None:
    """Folds one outcome. One that no grant covers changes nothing and stops the agent."""
    permission = next((p for p in draft.get("permissions") if p.grant_id == outcome.grant_id), None)
    if permission is None or permission.agent_id != outcome.agent_id:
        _object(draft, outcome, ReasonCode.GRANT_INVALID, "No grant of this agent covers this outcome.")
        return
    if permission.status is PermissionStatus.REVOKED:
        grants.end(draft, permission, None)
        if outcome.result is OutcomeResult.DONE:
            _object(draft, outcome, ReasonCode.GRANT_REVOKED, "This was done under a grant that had been revoked.")
        return
    grants.end(draft, permission, None)
    action = draft.law.bundle.actions.get(permission.action) if draft.law else None
    if outcome.result is OutcomeResult.DONE:
        _fulfil(draft, outcome, permission.obligations)
        for fact in sorted(action.establishes) if action else ():
            assert action is not None
            draft.set_fact(fact, action.establishes[fact])
    keeps = action is not None and action.keeps_floor and outcome.result is OutcomeResult.DONE
    if draft.value("floor") == outcome.agent_id and not keeps:
        release_floor(draft)


def _fulfil(draft: Draft, outcome: AgentOutcome, obligations: tuple[str, ...]) -> None:
    for obligation in outcome.fulfilled:
        if obligation in obligations:
            draft.set_fact(f"obligation.{obligation}", "fulfilled", conversation_id=outcome.conversation_id)


def _object(draft: Draft, outcome: AgentOutcome, code: ReasonCode, message: str) -> None:
    draft.direct(
        DirectiveType.STOP, code, message, conversation_id=outcome.conversation_id, agent_id=outcome.agent_id
    )  # fmt: skip
