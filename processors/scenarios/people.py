"""The people of scenarios: one published key signs for all of them, so that it is worth nothing anywhere else."""

from base64 import urlsafe_b64encode
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import structs

from processors.authority import override_text
from schemas.records import HumanIntervention, PolicySignature

_KEY = Ed25519PrivateKey.from_private_bytes(b"mandate scenario: not secret key")
PLACEHOLDER = "scenario"
"""What a scenario writes for the public key of a person."""


def public_key() -> str:
    """The raw public key, base64url."""
    raw = _KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def with_keys(change: Any) -> Any:
    """A change of a bundle in which each `public_key: scenario` is the key."""
    if isinstance(change, dict):
        return {
            key: public_key() if key == "public_key" and value == PLACEHOLDER else with_keys(value)
            for key, value in change.items()
        }
    return [with_keys(item) for item in change] if isinstance(change, list) else change


def signed(intervention: HumanIntervention) -> HumanIntervention:
    """The intervention with its author's signature."""
    signature = PolicySignature(key_id=intervention.author, signature=_KEY.sign(override_text(intervention)))
    return structs.replace(intervention, signature=signature)
