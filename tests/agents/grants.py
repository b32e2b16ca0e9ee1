"""Keys and grants as control makes them, for the tests of whoever checks grants."""

import base64
import hashlib
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from schemas.digest import parameters_digest
from schemas.records import LeadId, Position, ReasonCode, Revocation, RevocationScope

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND
KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"a key of the tests").digest())
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"somebody else's key").digest())
PARAMETERS: dict[str, bool | int | str] = {"discount_bp": 500, "currency": "EUR", "recorded": True}
CRM_FIELDS = {"status": "qualified"}
EFFECT: dict[str, Any] = {
    "action": "offer_discount",
    "lead_id": "lead-1",
    "agent_id": "closer-1",
    "role": "closing",
    "conversation_id": "call-1",
    "channel": "VOICE",
    "parameters": PARAMETERS,
    "crm_fields": CRM_FIELDS,
    "tool": "quote",
}
"""What the grant of `claims()` covers, as `GrantVerifier.check` is asked about it."""


def jwk(key: Ed25519PrivateKey, kid: str) -> dict[str, str]:
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": "EdDSA", "use": "sig"}


JWKS = {"keys": [jwk(KEY, "key-1")]}


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good grant, from a second ago for half a minute, with these changes."""
    return {
        "iss": "mandate",
        "sub": "closer-1",
        "aud": "mandate-enforcers",
        "iat": NOW // SECOND - 1,
        "nbf": NOW // SECOND - 1,
        "exp": NOW // SECOND + 30,
        "jti": "grant-1",
        "act": "offer_discount",
        "pdg": parameters_digest(PARAMETERS, CRM_FIELDS, "quote"),
        "chn": "VOICE",
        "lead": "lead-1",
        "conv": "call-1",
        "role": "closing",
        "req": "request-1",
        "one": False,
        "epoch": 3,
        "pol": "policy-1",
        "rev": 7,
        "obl": ["disclose_ai"],
        **changes,
    }


def signed(payload: dict[str, Any], key: Ed25519PrivateKey = KEY, kid: str | None = "key-1") -> str:
    """Any payload as a properly signed token, also one that a JWT library would not make."""
    headers = {"kid": kid} if kid else {}
    return jwt.PyJWS().encode(json.dumps(payload).encode(), key, algorithm="EdDSA", headers=headers)


def token(key: Ed25519PrivateKey = KEY, kid: str | None = "key-1", **changes: Any) -> str:
    """A signed grant."""
    return signed(claims(**changes), key, kid)


def revocation(scope: RevocationScope, subject: str, *, epoch: int = 0, at: int = NOW) -> Revocation:
    return Revocation(
        revocation_id=f"{scope}:{subject}:{epoch}",
        scope=scope,
        subject=subject,
        lead_id=LeadId(""),
        epoch=epoch,
        code=ReasonCode.FACT_CHANGED,
        message="timing changed",
        position=Position(partition=0, offset=1),
        at=at,
    )
