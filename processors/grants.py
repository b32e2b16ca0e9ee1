"""Grants: the signed token behind a permit, and how a permission ends.

A grant is exact (one action with its parameters), bound (role, lead, conversation, channel), short, single use where
the action is irreversible, and revoked when a fact of its read set changes, and only then.
"""

from typing import Any

import msgspec

from processors import timing
from processors.authority import AUDIENCE, ISSUER
from processors.draft import Draft
from processors.lead import SECOND
from processors.policy import Action
from schemas.digest import parameters_digest
from schemas.records import (
    AgentRequest,
    Channel,
    ConversationId,
    FactRef,
    GrantId,
    Permission,
    PermissionStatus,
    ReasonCode,
    Revocation,
    RevocationScope,
)

KEPT_AFTER_END_S = 600
"""An ended permission is kept this long, so that an outcome reported late still finds it."""


def request_digest(draft: Draft, request: AgentRequest) -> str:
    """Digest of what exactly is asked for; the grant holds for nothing else. Made once for each request object."""
    digest = draft.digests.get(id(request))
    if digest is None:
        digest = parameters_digest(request.parameters, request.crm_fields, request.tool)
        draft.digests[id(request)] = digest
    return digest


def lifetime_s(draft: Draft, request: AgentRequest, action: Action) -> int:
    """Seconds a grant holds: never past the hours in which the person may be contacted, where those are asked for."""
    assert draft.law is not None
    rules = draft.law.rules_for(request.action, request.role, draft.now)
    if not any(rule.check.kind == "calling_hours" for rule in rules):
        return action.grant_ttl_s
    zones = [place for name in draft.value("lead.time_zones").split(",") if (place := timing.zone(name)) is not None]
    hours = timing.rules_of(draft.law.bundle.contact, draft.value("lead.jurisdictions").split(","))
    end = timing.closes(draft.now, zones, hours)
    return action.grant_ttl_s if end is None else max(1, min(action.grant_ttl_s, (end - draft.now) // SECOND))


def sign_grant(draft: Draft, request: AgentRequest, action: Action, grant_id: GrantId) -> str:
    """The JWT behind a permit. Claims stand in a fixed order: the same permit gives the same bytes."""
    issued = draft.now // SECOND
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "sub": request.agent_id,
        "aud": AUDIENCE,
        "iat": issued,
        "nbf": issued,
        "exp": issued + lifetime_s(draft, request, action),
        "jti": grant_id,
        "act": request.action,
        "pdg": request_digest(draft, request),
        "chn": request.channel.value,
        "lead": request.lead_id,
        "conv": request.conversation_id,
        "role": request.role,
        "req": request.request_id,
        "one": action.single_use,
        "epoch": draft.get("epoch"),
        "pol": draft.law.digest if draft.law else "",
        "rev": draft.law.revision if draft.law else 0,
        "obl": list(action.obligations),
    }
    return draft.court.signer.sign(claims)


def permission_of(
    draft: Draft, request: AgentRequest, action: Action, grant_id: GrantId, read_set: tuple[FactRef, ...]
) -> Permission:
    """The row's note of a grant. What it rests on is taken as it stands after the permit's own effects."""
    return Permission(
        grant_id=grant_id, request_id=request.request_id, agent_id=request.agent_id, role=request.role,
        action=request.action, effect=action.effect, channel=request.channel,
        conversation_id=request.conversation_id, single_use=action.single_use, issued_at=draft.now,
        expires_at=(draft.now // SECOND + lifetime_s(draft, request, action)) * SECOND, obligations=action.obligations,
        read_set=tuple(_standing(draft, fact) for fact in read_set), status=PermissionStatus.GRANTED,
        policy=draft.law.digest if draft.law else "",
    )  # fmt: skip


def _standing(draft: Draft, fact: FactRef) -> FactRef:
    """A fact that was read, as it stands now. Of the overrides of an action only the one that was read counts."""
    now = draft.ref(fact.name)
    return msgspec.structs.replace(now, value=fact.value) if _is_override(fact) else now


def _is_override(fact: FactRef) -> bool:
    return fact.name.startswith("override.")


def in_force(draft: Draft) -> tuple[Permission, ...]:
    """Grants that hold now."""
    return tuple(p for p in draft.get("permissions") if p.status is PermissionStatus.GRANTED)


def end(draft: Draft, permission: Permission, status: PermissionStatus | None) -> None:
    """Ends a permission: None = it was used and is done with. Frees its effect when nobody else has it."""
    kept = []
    for other in draft.get("permissions"):
        if other.grant_id != permission.grant_id:
            kept.append(other)
        elif status is not None:
            until = draft.now + KEPT_AFTER_END_S * SECOND
            kept.append(msgspec.structs.replace(other, status=status, expires_at=until, read_set=()))
    draft.put("permissions", tuple(kept))
    if not any(other.effect == permission.effect for other in in_force(draft)):
        draft.drop_fact(f"pending.{permission.effect}")


def report(draft: Draft, permission: Permission) -> None:
    """Its outcome is known. A single-use permission is remembered as used, so that a second use is seen."""
    end(draft, permission, PermissionStatus.USED)
    draft.put(
        "permissions",
        tuple(
            msgspec.structs.replace(p, reported=True) if p.grant_id == permission.grant_id else p
            for p in draft.get("permissions")
        ),
    )


def use_shown(draft: Draft, shown_by: str, channel: Channel, conversation_id: ConversationId | None) -> None:
    """Uses up the grants whose effect an event shows: a call that began, a conversation that ended."""
    for permission in in_force(draft):
        action = draft.law.bundle.actions.get(permission.action) if draft.law else None
        same = permission.channel == channel and permission.conversation_id in (None, conversation_id)
        if action is not None and action.shown_by == shown_by and same:
            end(draft, permission, PermissionStatus.USED)


def revoke_changed(draft: Draft, dirty: set[str]) -> None:
    """Revokes every grant of whose read set a fact is not as it was."""
    for permission in in_force(draft):
        changed = tuple(
            now for fact in permission.read_set if fact.name in dirty and _is_other((now := draft.ref(fact.name)), fact)
        )
        if changed:
            revoke(draft, permission, _why(changed), f"{changed[0].name} changed", changed)


def _is_other(now: FactRef, then: FactRef) -> bool:
    """Did a fact change for a grant that rests on it? What becomes of other overrides takes nothing away."""
    if (now.version, now.offset) == (then.version, then.offset):
        return False
    return not (_is_override(then) and then.value in now.value.split(","))


def _why(changed: tuple[FactRef, ...]) -> ReasonCode:
    names = {fact.name for fact in changed}
    if "do_not_contact" in names:
        return ReasonCode.OPT_OUT
    if "paused" in names:
        return ReasonCode.STOPPED_BY_HUMAN
    if any(_is_override(fact) for fact in changed):
        return ReasonCode.OVERRIDE_WITHDRAWN
    if any(name.startswith("execution.locked/") for name in names):
        return ReasonCode.EXECUTION_LOCKED
    if any(fact.name.startswith("conversation.phase/") and fact.value == "ended" for fact in changed):
        return ReasonCode.CONVERSATION_ENDED
    if any(fact.name.startswith("intent.") and fact.value != "confirmed" for fact in changed):
        return ReasonCode.EVIDENCE_CHANGED
    return ReasonCode.FACT_CHANGED


def revoke(
    draft: Draft, permission: Permission, code: ReasonCode, message: str, facts: tuple[FactRef, ...] = ()
) -> None:
    """Revokes one grant and tells every enforcer."""
    end(draft, permission, PermissionStatus.REVOKED)
    revocation_id = draft.derive("revocation", permission.grant_id)
    revocation = Revocation(
        revocation_id=revocation_id, scope=RevocationScope.GRANT, subject=permission.grant_id,
        lead_id=draft.base.lead_id, epoch=0, code=code, message=message, facts=facts, position=draft.position,
        at=draft.now,
    )  # fmt: skip
    draft.emit(revocation_id, revocation, key=f"{RevocationScope.GRANT}:{permission.grant_id}")


def revoke_cut_off(draft: Draft) -> None:
    """Revokes what agents, roles and policies hold that the policy in force cuts off."""
    if draft.law is None or not draft.law.cuts_off:
        return
    cut = draft.law.bundle.cut_off
    for permission in in_force(draft):
        if permission.agent_id in cut.agents or permission.role in cut.roles or permission.policy in cut.policies:
            revoke(draft, permission, ReasonCode.CUT_OFF, "The policy in force cuts its holder off.")


def cut_off(draft: Draft, code: ReasonCode, message: str, fact: str) -> None:
    """Voids every grant of the lead issued so far, whoever holds it. fact: the one that says why."""
    facts = (draft.ref(fact),)
    for permission in in_force(draft):
        revoke(draft, permission, code, message, facts)
    epoch = draft.get("epoch") + 1
    draft.put("epoch", epoch)
    revocation_id = draft.derive("cut-off", epoch)
    revocation = Revocation(
        revocation_id=revocation_id, scope=RevocationScope.LEAD, subject=draft.base.lead_id,
        lead_id=draft.base.lead_id, epoch=epoch, code=code, message=message, facts=facts, position=draft.position,
        at=draft.now,
    )  # fmt: skip
    draft.emit(revocation_id, revocation, key=f"{RevocationScope.LEAD}:{draft.base.lead_id}")
