"""Verifies a grant offline, right before the effect: whoever acts on a grant calls this first.

Times are judged against the `now` that the caller passes in, never against the wall clock: journal time may
be driven.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt
import msgspec

from agents.feed import MAX_GRANT_LIFETIME_US, RevocationFeed
from agents.grant import Grant, Refusal, UsedGrants
from agents.keyring import Jwks, Keyring
from schemas.digest import Parameters, parameters_digest
from schemas.records import AgentId, ConversationId, GrantId, LeadId, ReasonCode, RequestId, TimeUs

__all__ = ["AUDIENCE", "Grant", "GrantVerifier", "Refusal"]

AUDIENCE = "mandate-enforcers"
ISSUER = "mandate"
SECOND_US = 1_000_000
_MAX_REMEMBERED = 200_000
# The checks of time and audience are ours, below: PyJWT knows the wall clock alone.
_UNCHECKED = ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")
_SIGNATURE_ONLY: Any = {"verify_signature": True, **{f"verify_{claim}": False for claim in _UNCHECKED}}


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    iss: str
    sub: str
    aud: str | list[str]
    iat: int
    nbf: int
    exp: int
    jti: str
    act: str
    pdg: str
    chn: str
    lead: str
    conv: str | None
    role: str
    req: str
    one: bool
    epoch: int
    pol: str
    rev: int
    obl: tuple[str, ...]


class GrantVerifier:
    """Checks grants against the published keys, the revocation feed and its own memory of used grants.

    jwks: the published keys, or the path of their file, which is read again whenever it changed (`agents.keyring`).
    feed: None means that revocations are not known here; only for enforcers that the journal itself orders.
    lease_us: how old the newest heartbeat of the lead's partition may be; older is refused.
    leeway_us: how far `now` may run behind the journal before a fresh grant counts as not valid yet. The end
        of a grant gets no leeway.
    Single use holds within one verifier: an effect that must not happen twice across processes or restarts
    needs an idempotency key of its own (the grant's id serves). Safe to share between threads.
    """

    def __init__(
        self,
        jwks: Jwks | Path,
        *,
        feed: RevocationFeed | None,
        lease_us: int,
        audience: str = AUDIENCE,
        issuer: str = ISSUER,
        leeway_us: int = SECOND_US,
    ) -> None:
        self._keys = Keyring(jwks)
        self._feed = feed
        self._lease_us = lease_us
        self._audience = audience
        self._issuer = issuer
        self._leeway_us = leeway_us
        self._used = UsedGrants(_MAX_REMEMBERED)

    def check(
        self,
        token: str | None,
        *,
        action: str,
        lead_id: str,
        agent_id: str,
        now: TimeUs,
        parameters: Parameters | None = None,
        crm_fields: Mapping[str, str] | None = None,
        tool: str | None = None,
        role: str | None = None,
        conversation_id: str | None = None,
        channel: str | None = None,
        use: bool = True,
    ) -> Grant | Refusal:
        """The grant when it covers exactly this effect now, else the refusal with its first reason.

        role, conversation_id, channel: None = not checked. A grant without a conversation covers any.
        use: remember a single-use grant as used when it holds; False only looks.
        """
        claims = self._signed_claims(token)
        if isinstance(claims, Refusal):
            return claims
        grant = _grant(claims)
        expected = {
            "action": action,
            "lead": lead_id,
            "agent": agent_id,
            "role": role,
            "conversation": conversation_id,
            "channel": channel,
        }
        checks: tuple[Callable[[], Refusal | None], ...] = (
            lambda: self._wrong_party(claims),
            lambda: _wrong_time(claims, now, self._leeway_us),
            lambda: _wrong_effect(grant, expected),
            lambda: _wrong_parameters(claims, parameters or {}, crm_fields or {}, tool),
            lambda: self._revoked(grant, now),
            lambda: self._spent(grant, now, use),
        )
        # Not a chain of `or`: a refusal is false on purpose.
        return next((refusal for check in checks if (refusal := check()) is not None), grant)

    def _signed_claims(self, token: str | None) -> _Claims | Refusal:
        if not token:
            return _invalid("there is no grant: only a PERMIT carries one")
        try:
            header = jwt.get_unverified_header(token)
            kid = header.get("kid")
            if header.get("alg") != "EdDSA":
                return _invalid(f"the grant's alg is {header.get('alg')!r}; only EdDSA is taken")
            key = self._keys.get(kid)
            if key is None:
                return _invalid(f"the grant's key {kid!r} is not in the JWKS: fetch the published keys again")
            payload = jwt.decode(token, key, algorithms=["EdDSA"], options=_SIGNATURE_ONLY)
            return msgspec.convert(payload, _Claims, strict=True)
        except jwt.InvalidSignatureError:
            return _invalid("the grant's signature does not verify: changed, or signed by somebody else")
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            return _invalid(f"this is not a grant of Mandate ({error})")

    def _wrong_party(self, claims: _Claims) -> Refusal | None:
        if claims.iss != self._issuer:
            return _invalid(f"the grant was issued by {claims.iss!r}, not by {self._issuer!r}")
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if self._audience not in audience:
            return _invalid(f"the grant is for {', '.join(audience) or 'nobody'}, not for {self._audience!r}")
        return None

    def _revoked(self, grant: Grant, now: TimeUs) -> Refusal | None:
        if self._feed is None:
            return None
        if found := self._feed.is_void(grant):
            return Refusal(ReasonCode.GRANT_REVOKED, f"revoked, {found.code.value}: {found.message}")
        as_of = self._feed.as_of_lead(grant.lead_id)
        if as_of is None:
            return _stale("nothing has come from the revocation feed for this lead's partition yet")
        if now - as_of > self._lease_us:
            behind, allowed = (now - as_of) / SECOND_US, self._lease_us / SECOND_US
            return _stale(f"the revocation feed is {behind:.1f} s behind; {allowed:g} s are allowed")
        return None

    def _spent(self, grant: Grant, now: TimeUs, use: bool) -> Refusal | None:
        if not grant.single_use:
            return None
        return self._used.take(grant, now) if use else self._used.refuses(grant, now)


def _grant(claims: _Claims) -> Grant:
    return Grant(
        grant_id=GrantId(claims.jti),
        agent_id=AgentId(claims.sub),
        role=claims.role,
        action=claims.act,
        channel=claims.chn,
        lead_id=LeadId(claims.lead),
        conversation_id=ConversationId(claims.conv) if claims.conv is not None else None,
        request_id=RequestId(claims.req),
        single_use=claims.one,
        epoch=claims.epoch,
        policy_digest=claims.pol,
        revision=claims.rev,
        obligations=claims.obl,
        not_before=claims.nbf * SECOND_US,
        expires_at=claims.exp * SECOND_US,
    )


def _wrong_time(claims: _Claims, now: TimeUs, leeway_us: int) -> Refusal | None:
    start, end = max(claims.nbf, claims.iat) * SECOND_US, claims.exp * SECOND_US
    if now >= end:
        return Refusal(ReasonCode.GRANT_EXPIRED, f"the grant ended {(now - end) / SECOND_US:.1f} s ago: propose again")
    if now < start - leeway_us:
        return _invalid(f"the grant begins in {(start - now) / SECOND_US:.1f} s: check this machine's clock")
    if end - start > MAX_GRANT_LIFETIME_US:
        return _invalid(f"no grant may live longer than {MAX_GRANT_LIFETIME_US // SECOND_US} s; this one does")
    return None


def _wrong_effect(grant: Grant, expected: Mapping[str, str | None]) -> Refusal | None:
    granted = {
        "action": grant.action,
        "lead": grant.lead_id,
        "agent": grant.agent_id,
        "role": grant.role,
        "conversation": grant.conversation_id,
        "channel": grant.channel,
    }
    for name, wanted in expected.items():
        if wanted is None or (name == "conversation" and grant.conversation_id is None):
            continue
        if granted[name] != wanted:
            return _invalid(f"the grant is for {name} {granted[name]!r}, not for {str(wanted)!r}")
    return None


def _wrong_parameters(
    claims: _Claims, parameters: Parameters, crm_fields: Mapping[str, str], tool: str | None
) -> Refusal | None:
    try:
        digest = parameters_digest(parameters, crm_fields, tool)
    except ValueError as error:
        return _invalid(f"these parameters can't have been granted ({error})")
    if digest != claims.pdg:
        return _invalid("the grant is for other parameters, CRM fields or tool: do exactly what was proposed")
    return None


def _invalid(message: str) -> Refusal:
    return Refusal(ReasonCode.GRANT_INVALID, message)


def _stale(message: str) -> Refusal:
    return Refusal(ReasonCode.REVOCATION_FEED_STALE, message)
