"""Which CRM fields each role may write, by policy: from activations whose approval verifies, and from nothing else."""

import base64
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from processors.authority import approved
from processors.policy import Bundle, PolicyError, parse_bundle
from schemas.records import PolicyActivation

Fields = Mapping[str, frozenset[str]]
"""Fields that a role may write, by role."""


class PolicyBook:
    """Approved policies by digest.

    A write is held to the policy that its grant was judged by, which the grant names: the same update has the same
    outcome whenever it is read. When that policy is withdrawn, control revokes the grants that rest on it.
    """

    def __init__(self, approvers: Mapping[str, Ed25519PublicKey]) -> None:
        self._approvers = approvers
        self._fields: dict[str, Fields] = {}

    def observe(self, activation: PolicyActivation) -> bool:
        """Takes an activation; False when its digest, its approval or its bundle does not hold."""
        if activation.digest in self._fields:
            return True
        if sha256(activation.bundle.encode()).hexdigest() != activation.digest or not approved(
            activation, self._approvers
        ):
            return False
        try:
            self.trust(parse_bundle(activation.bundle), activation.digest)
        except PolicyError:
            return False
        return True

    def trust(self, bundle: Bundle, digest: str) -> None:
        """Takes a bundle whose approval the caller vouches for."""
        self._fields[digest] = {name: frozenset(role.crm_fields) for name, role in bundle.roles.items()}

    def fields(self, digest: str) -> Fields | None:
        """Fields by role under a policy; None when no approved policy has this digest."""
        return self._fields.get(digest)


def approvers_of(jwks: Mapping[str, Any]) -> dict[str, Ed25519PublicKey]:
    """Ed25519 public keys by key id, from a JWKS."""
    return {key["kid"]: Ed25519PublicKey.from_public_bytes(_unpadded(key["x"])) for key in jwks["keys"]}


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
