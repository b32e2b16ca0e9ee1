"""Whose word counts: the key that signs grants and the keys whose signature puts a policy in force."""

import base64
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import jwt
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from schemas.records import HumanIntervention, PolicyActivation

ISSUER = "mandate"
AUDIENCE = "mandate-enforcers"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unbase64url(text: str) -> bytes:
    """Bytes of unpadded base64url; ValueError when it is none."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def public_jwk(key: Ed25519PublicKey) -> dict[str, str]:
    """The key as a JWK with its RFC 7638 thumbprint as `kid`."""
    x = _base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
    members = {"crv": "Ed25519", "kty": "OKP", "x": x}
    thumbprint = _base64url(sha256(json.dumps(members, separators=(",", ":")).encode()).digest())
    return {**members, "kid": thumbprint, "alg": "EdDSA", "use": "sig"}


def public_key_of(text: str) -> Ed25519PublicKey:
    """A key of the policy, raw base64url; ValueError when it is none."""
    return Ed25519PublicKey.from_public_bytes(unbase64url(text))


class Signer:
    """Signs grants. Ed25519 is deterministic: the same claims give the same token."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.kid = public_jwk(key.public_key())["kid"]
        self._headers = {"kid": self.kid}

    def sign(self, claims: dict[str, Any]) -> str:
        """A JWT (EdDSA) over the claims in their order."""
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers=self._headers)

    def approve(self, digest: str, revision: int = 1) -> bytes:
        """An approver's signature that puts a policy digest into force as a revision."""
        return self._key.sign(approval(digest, revision))


def approval(digest: str, revision: int) -> bytes:
    """What an approver signs. The revision is in it: an old bundle can't be brought back under a new number."""
    return f"{revision}:{digest}".encode()


def override_text(intervention: HumanIntervention) -> bytes:
    """What the author of an override, or of its withdrawal, signs: the intervention without the signature."""
    parts = (
        intervention.intervention_id, intervention.lead_id, intervention.type, intervention.author,
        intervention.author_role, intervention.request_id or "", intervention.override_id or "",
        "" if intervention.until is None else str(intervention.until), intervention.reason,
    )  # fmt: skip
    return rfc8785.dumps(list(parts))


def approved(activation: PolicyActivation, approvers: Mapping[str, Ed25519PublicKey]) -> bool:
    """True when at least one of the approvers signed the activation's digest and revision."""
    signed = approval(activation.digest, activation.revision)
    for signature in activation.signatures:
        key = approvers.get(signature.key_id)
        if key is None:
            continue
        try:
            key.verify(signature.signature, signed)
        except InvalidSignature:
            continue
        return True
    return False


class Court:
    """What control judges with beside policy: the signer of grants and the approvers of policies."""

    def __init__(self, signer: Signer, approvers: Mapping[str, Ed25519PublicKey]) -> None:
        self.signer = signer
        self.approvers = approvers

    @classmethod
    def from_keys(cls, signing: Ed25519PrivateKey, approvers: Sequence[Ed25519PublicKey]) -> "Court":
        """A court from raw keys; approvers are known by their thumbprints."""
        return cls(Signer(signing), {public_jwk(key)["kid"]: key for key in approvers})

    def approved(self, activation: PolicyActivation) -> bool:
        """True when at least one known approver signed the activation's digest and revision."""
        return approved(activation, self.approvers)
