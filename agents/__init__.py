"""What agents embed: propose an action, await the verdict, verify the grant, act, report."""

from agents.aio import AsyncMandateClient
from agents.config import AgentConfig
from agents.errors import MandateUnavailable
from agents.feed import RevocationFeed
from agents.grant import Grant, Refusal
from agents.signing import AgentKey
from agents.sync import MandateClient
from agents.tail import RevocationTail
from agents.verdict import Verdict
from agents.verify import GrantVerifier

__all__ = [
    "AgentConfig",
    "AgentKey",
    "AsyncMandateClient",
    "Grant",
    "GrantVerifier",
    "MandateClient",
    "MandateUnavailable",
    "Refusal",
    "RevocationFeed",
    "RevocationTail",
    "Verdict",
]
