"""What comes of checking a grant, and the memory of used ones."""

import heapq
import threading
from dataclasses import dataclass

from schemas.records import AgentId, ConversationId, GrantId, LeadId, ReasonCode, RequestId, TimeUs


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A grant that held when it was checked."""

    grant_id: GrantId
    agent_id: AgentId
    role: str
    action: str
    channel: str
    lead_id: LeadId
    conversation_id: ConversationId | None
    request_id: RequestId
    single_use: bool
    epoch: int
    policy_digest: str
    revision: int
    obligations: tuple[str, ...]
    not_before: TimeUs
    expires_at: TimeUs


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the effect must not happen; the message is for the agent's developer."""

    code: ReasonCode
    message: str

    def __bool__(self) -> bool:
        """False, so that `if grant:` can't let a refusal through."""
        return False


class UsedGrants:
    """Ids of used single-use grants, until they expire. When full it refuses: it never forgets early."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: set[str] = set()
        self._ends: list[tuple[TimeUs, str]] = []
        self._lock = threading.Lock()

    def refuses(self, grant: Grant, now: TimeUs) -> Refusal | None:
        with self._lock:
            return self._refuses(grant, now)

    def take(self, grant: Grant, now: TimeUs) -> Refusal | None:
        with self._lock:
            refusal = self._refuses(grant, now)
            if refusal is None:
                self._ids.add(grant.grant_id)
                heapq.heappush(self._ends, (grant.expires_at, grant.grant_id))
            return refusal

    def _refuses(self, grant: Grant, now: TimeUs) -> Refusal | None:
        while self._ends and self._ends[0][0] <= now:
            self._ids.discard(heapq.heappop(self._ends)[1])
        if grant.grant_id in self._ids:
            return Refusal(ReasonCode.GRANT_REUSED, "the grant allows one effect and was used: propose again")
        if len(self._ids) >= self._limit:
            return Refusal(ReasonCode.GRANT_REUSED, f"too many to tell apart: {self._limit} used grants in force")
        return None
