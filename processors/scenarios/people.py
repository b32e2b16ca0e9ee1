"""Who signs in scenarios: people, all with one published key, and agents, each key made of its published name.

So they are worth nothing anywhere else.
"""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import structs

from processors.authority import override_text
from processors.policy import Bundle
from schemas.records import AgentOutcome, AgentRequest, AgentSignature, HumanIntervention, PolicySignature, Record
from schemas.signing import Signable, signed_text

_PEOPLE = b"mandate scenario: not secret key"
PLACEHOLDER = "scenario"
"""What a scenario writes for the public key of a person, or of an agent."""


def _key(name: str = "") -> Ed25519PrivateKey:
    """The key of all people, or the one of a name: `<agent>/<kid>`."""
    return Ed25519PrivateKey.from_private_bytes(sha256(_PEOPLE + name.encode()).digest() if name else _PEOPLE)


def public_key(name: str = "") -> str:
    """The raw public key, base64url."""
    raw = _key(name).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def with_keys(change: Any) -> Any:
    """A change of a bundle in which each `scenario` in the place of a public key is the key."""
    if not isinstance(change, dict):
        return [with_keys(item) for item in change] if isinstance(change, list) else change
    filled = {
        key: public_key() if key == "public_key" and value == PLACEHOLDER else with_keys(value)
        for key, value in change.items()
    }
    agents = filled.get("agents")
    for name, agent in agents.items() if isinstance(agents, dict) else ():
        keys = (agent or {}).get("public_keys") or {}
        keys.update({kid: public_key(f"{name}/{kid}") for kid, key in keys.items() if key == PLACEHOLDER})
    return filled


def signed(intervention: HumanIntervention) -> HumanIntervention:
    """The intervention with its author's signature."""
    signature = PolicySignature(key_id=intervention.author, signature=_key().sign(override_text(intervention)))
    return structs.replace(intervention, signature=signature)


def signed_by_agent(record: Signable, name: str) -> Signable:
    """A request or report signed with the key of a name, `<agent>/<kid>`, under that kid."""
    signature = _key(name).sign(signed_text(record))
    return structs.replace(record, signature=AgentSignature(kid=name.rpartition("/")[2], signature=signature))


def signed_as_told(body: Record, how: Any, bundle: Bundle, named: Mapping[str, Record]) -> Record:
    """The record with a signature; ValueError when there can't be one.

    how: true = with the key of its person or agent; of an agent also a kid, `<agent>/<kid>` for a key of another
    agent under its kid, or {of: NAME} for the very signature that another step bore.
    """
    if isinstance(body, HumanIntervention):
        return signed(body)
    assert isinstance(body, AgentRequest | AgentOutcome)
    if isinstance(how, dict):
        borrowed: AgentSignature | None = getattr(named.get(str(how.get("of"))), "signature", None)
        if borrowed is None or len(how) != 1:
            raise ValueError("signed: expected {of: NAME} of a step that is signed")
        return structs.replace(body, signature=borrowed)
    registered = bundle.agents.get(body.agent_id)
    usual = next(iter(registered.public_keys if registered else ()), "k1")
    owner, _, kid = (usual if how is True else str(how)).rpartition("/")
    return signed_by_agent(body, f"{owner or body.agent_id}/{kid}")
