"""Grants, updates and policies as control would issue them, for the tests of the sinks."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agents.feed import RevocationFeed, partition_of
from agents.verify import GrantVerifier
from processors.authority import Signer, public_jwk
from schemas.digest import parameters_digest
from schemas.records import (
    AgentId,
    CrmUpdate,
    DecisionId,
    LeadId,
    Position,
    ReasonCode,
    Revocation,
    RevocationScope,
)
from sinks.crm_judge import Bench
from sinks.policies import PolicyBook

SECOND = 1_000_000
NOON = 1_780_000_000 * SECOND
PARTITIONS = 4
POLICY = "p" * 64


class Control:
    """Issues what the CRM sink reads, with a key of its own."""

    def __init__(self, key: Ed25519PrivateKey | None = None, policy: str = POLICY) -> None:
        self.signer = Signer(key or Ed25519PrivateKey.generate())
        self.policy = policy
        self.jwks = {"keys": [public_jwk(self.signer._key.public_key())]}

    def grant(self, fields: dict[str, str], *, lead: str, at: int = NOON, **claims: Any) -> str:
        """A grant for `update_crm` of these fields; `claims` overrides what it says."""
        issued = at // SECOND
        said: dict[str, Any] = {
            "iss": "mandate", "sub": "agent-1", "aud": "mandate-enforcers", "iat": issued, "nbf": issued,
            "exp": issued + 300, "jti": f"grant-{lead}-{at}", "act": "update_crm",
            "pdg": parameters_digest({}, fields, claims.pop("tool", None)), "chn": "BACKEND", "lead": lead,
            "conv": None, "role": "booking", "req": "request-1", "one": True, "epoch": 1, "pol": self.policy,
            "rev": 1, "obl": [],
        }  # fmt: skip
        return self.signer.sign(said | claims)

    def update(
        self,
        fields: dict[str, str],
        *,
        lead: str = "lead-1",
        update_id: str = "update-1",
        offset: int = 10,
        at: int = NOON,
        grant: str | None = None,
        **other: Any,
    ) -> CrmUpdate:
        """A covered update; `grant` and `other` replace what control would have written."""
        values: dict[str, Any] = {
            "update_id": update_id,
            "lead_id": LeadId(lead),
            "external_id": f"crm-{lead}",
            "fields": fields,
            "role": "booking",
            "agent_id": AgentId("agent-1"),
            "decision_id": DecisionId(f"decision-{update_id}"),
            "grant": grant or self.grant(fields, lead=lead, at=at, jti=f"grant-{update_id}"),
            "effective_offset": offset,
            "at": at,
        }
        return CrmUpdate(**values | other)


def policies() -> PolicyBook:
    """A book that knows one policy, `POLICY`."""
    book = PolicyBook({})
    book._fields[POLICY] = {
        "booking": frozenset({"meeting_at", "availability"}),
        "mandate": frozenset({"do_not_contact"}),
    }
    return book


def heartbeat(partition: int, at: int) -> Revocation:
    """A proof that a partition's feed is alive up to a time."""
    return Revocation(
        revocation_id=f"beat-{partition}-{at}", scope=RevocationScope.HEARTBEAT, subject=str(partition),
        lead_id=LeadId(""), epoch=0, code=ReasonCode.UNKNOWN, message="",
        position=Position(partition=partition, offset=0), at=at,
    )  # fmt: skip


def revocation(grant_id: str, lead: str, at: int = NOON) -> Revocation:
    """The end of one grant."""
    return Revocation(
        revocation_id=f"revoked-{grant_id}", scope=RevocationScope.GRANT, subject=grant_id, lead_id=LeadId(lead),
        epoch=0, code=ReasonCode.FACT_CHANGED, message="a fact changed", position=Position(partition=0, offset=0),
        at=at,
    )  # fmt: skip


def cut_off(scope: RevocationScope, subject: str, number: int, at: int = NOON) -> Revocation:
    """The end of all grants of a subject before an epoch (of a lead) or a revision of the policy (of the others)."""
    return Revocation(
        revocation_id=f"cut-off-{scope}-{subject}-{number}", scope=scope, subject=subject, lead_id=LeadId(""),
        epoch=number, code=ReasonCode.CUT_OFF, message="cut off", position=Position(partition=0, offset=0), at=at,
    )  # fmt: skip


def bench(control: Control, at: int = NOON, feed: RevocationFeed | None = None) -> Bench:
    """What the sink judges by, with a feed that is known up to `at`."""
    known = feed or RevocationFeed(PARTITIONS)
    for partition in range(PARTITIONS):
        known.observe(heartbeat(partition, at), partition)
    return Bench(GrantVerifier(control.jwks, feed=None, lease_us=5 * SECOND), known, 5 * SECOND, policies())


def partition(lead: str) -> int:
    """Partition of a lead."""
    return partition_of(lead, PARTITIONS)
