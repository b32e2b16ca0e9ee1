"""Whether an agent is who it says.

Kafka shows a consumer no principal, so an agent that the policy registers signs what it asks and reports, and is heard
only with a signature by one of its keys. It is checked here, in the fold, so that a replay checks it again.
"""

from cryptography.exceptions import InvalidSignature

from processors.law import Law
from schemas.records import AgentOutcome, AgentRequest
from schemas.signing import signed_text


def unproven(record: AgentRequest | AgentOutcome, law: Law | None) -> str | None:
    """Why its agent must not be heard; None when it is proven, or need not be.

    What costs least is looked at first: only a signature with a known key is verified. law: None = nothing is
    permitted anyway.
    """
    if law is None:
        return None
    who = record.agent_id
    registered = law.bundle.agents.get(who)
    if registered is None:
        return f"the policy registers no agent {who!r}, and hears no other" if law.bundle.identity.required else None
    if isinstance(record, AgentRequest) and record.role not in registered.roles:
        return f"{who} is not registered for the role {record.role!r}"
    if record.signature is None:
        return f"{who} is a registered agent, and this is not signed"
    key = law.agent_keys.get((who, record.signature.kid))
    if key is None:
        return f"the policy knows no key {record.signature.kid!r} of {who}"
    try:
        key.verify(record.signature.signature, signed_text(record))
    except InvalidSignature:
        return f"the signature is not by the key {record.signature.kid!r} of {who} over exactly this"
    return None
