"""Whether a CRM write may happen: what the sink checks before the effect, as one pure function.

The write's own bytes are not trusted: whoever can write to crm.updates can put anything there. What counts is the
grant's signature, and what it binds: action, fields and their values, role, agent, lead, policy.
"""

from dataclasses import dataclass

from agents.feed import RevocationFeed
from agents.verify import Grant, GrantVerifier, Refusal
from processors.policy.names import CRM_ACTION
from schemas.records import CrmUpdate, ReasonCode, RevocationScope, TimeUs
from sinks.policies import PolicyBook

SYSTEM_ROLE = "mandate"

MAX_LATE_US = 24 * 3600 * 1_000_000
"""How long after its journal time a write is still made. A revocation feed keeps revocations an hour longer."""

MAX_SKEW_US = 2_000_000
"""`at` must be the time of the grant, give or take: control issues both at once, and the grant's time is signed."""

MAX_ID, MAX_FIELDS = 200, 200


@dataclass(frozen=True, slots=True)
class NotYet:
    """The revocation feed is not known as far as the update's time: judge it again when it is."""

    message: str


@dataclass(frozen=True, slots=True)
class Bench:
    """What a write is judged by. verifier: one without a feed; how far that is known is asked last, and here."""

    verifier: GrantVerifier
    feed: RevocationFeed
    lease_us: int
    policies: PolicyBook


def judge(update: CrmUpdate, bench: Bench, now: TimeUs) -> Grant | Refusal | NotYet:
    """The grant that covers this write, why nothing does, or that it can't be told yet.

    now: the sink's clock. The grant must have been valid at the update's `at`; being late is refused only after
    MAX_LATE_US, so that an outage of the sink costs no write, and never for Mandate's own writes: an opt-out must
    reach the CRM however late. What is refused for itself never waits for the feed.
    """
    # A Refusal is false, so that nobody lets one through: it is told apart by its type here.
    malformed = _malformed(update)
    if malformed is not None:
        return malformed
    grant = _covered(update, bench.verifier)
    if isinstance(grant, Refusal):
        return grant
    refusal = _wrong_time(update, grant, now)
    if refusal is None:
        refusal = _outside_role(update, grant, bench.policies)
    if refusal is not None:
        return refusal
    standing = _standing(grant, update.at, bench)
    return grant if standing is None else standing


def _wrong_time(update: CrmUpdate, grant: Grant, now: TimeUs) -> Refusal | None:
    if abs(update.at - grant.not_before) > MAX_SKEW_US:
        return Refusal(ReasonCode.GRANT_INVALID, "the update's time is not the grant's: control did not write it")
    if now - update.at > MAX_LATE_US and grant.role != SYSTEM_ROLE:
        return Refusal(ReasonCode.GRANT_EXPIRED, "the write came more than a day late: propose it again")
    return None


def _covered(update: CrmUpdate, verifier: GrantVerifier) -> Grant | Refusal:
    return verifier.check(
        update.grant,
        action=CRM_ACTION,
        lead_id=update.lead_id,
        agent_id=update.agent_id,
        role=update.role,
        now=update.at,
        parameters=update.parameters,
        crm_fields=update.fields,
        tool=update.tool,
        use=False,
    )


def _outside_role(update: CrmUpdate, grant: Grant, policies: PolicyBook) -> Refusal | None:
    fields = policies.fields(grant.policy_digest)
    if fields is None:
        return Refusal(
            ReasonCode.POLICY_UNVERIFIED,
            f"no approved policy has the digest {grant.policy_digest} that the grant names",
        )
    outside = sorted(set(update.fields) - fields.get(grant.role, frozenset()))
    if outside:
        return Refusal(ReasonCode.CRM_FIELD_OUTSIDE_ROLE, f"role {grant.role} may not write {', '.join(outside[:5])}")
    return None


def _standing(grant: Grant, at: TimeUs, bench: Bench) -> Refusal | NotYet | None:
    """Whether the grant was revoked; None when it is known that it was not.

    A cut-off of the lead or of the policy stops agents, never Mandate's own writes: they restrain.
    """
    found = bench.feed.is_void(grant)
    if found is not None and (found.scope is RevocationScope.GRANT or grant.role != SYSTEM_ROLE):
        return Refusal(ReasonCode.GRANT_REVOKED, f"revoked, {found.code.value}: {found.message}")
    as_of = bench.feed.as_of_lead(grant.lead_id)
    if as_of is None:
        return NotYet("nothing is known from the revocation feed of this lead's partition")
    if at - as_of > bench.lease_us:
        return NotYet(f"the revocation feed is {(at - as_of) / 1_000_000:.1f} s behind")
    return None


def _malformed(update: CrmUpdate) -> Refusal | None:
    ids = (update.update_id, update.lead_id, update.external_id, update.role, update.agent_id, update.decision_id)
    if not all(0 < len(text) <= MAX_ID for text in ids):
        return _invalid(f"ids must have 1 to {MAX_ID} characters")
    if not 0 < len(update.fields) <= MAX_FIELDS or any(len(name) > MAX_ID for name in update.fields):
        return _invalid(f"an update writes 1 to {MAX_FIELDS} fields with names of at most {MAX_ID} characters")
    if any("\0" in text for text in (*ids, *update.fields, *update.fields.values())):
        return _invalid("text with a NUL character can't be stored")
    return None


def _invalid(message: str) -> Refusal:
    return Refusal(ReasonCode.PARAMETER_INVALID, message)
