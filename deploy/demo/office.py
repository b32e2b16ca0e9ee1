"""The simulated agents: each is a client of `agents`, used as anybody's agent would use it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

from agents.grant import Grant, Refusal
from agents.verdict import Verdict
from schemas.digest import Parameters
from schemas.records import (
    Channel,
    Directive,
    DirectiveType,
    OutcomeResult,
    ReasonCode,
    SpeechMode,
    TimeUs,
)

ROLES = ("booking", "qualification", "transfer", "closing")
AGENTS_PER_ROLE = 3
_ORDERS_WITHIN_S = 5.0
_FEED_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.01


class Client(Protocol):
    """What the play uses of `agents.AsyncMandateClient`."""

    def acting_as(self, agent_id: str, role: str) -> Self: ...
    async def propose(
        self,
        lead_id: str,
        action: str,
        *,
        channel: Channel | str,
        parameters: Parameters | None = None,
        crm_fields: Mapping[str, str] | None = None,
        tool: str | None = None,
        conversation_id: str | None = None,
        request_id: str | None = None,
        deadline: TimeUs | None = None,
        traceparent: str | None = None,
    ) -> Verdict: ...
    async def await_end(self, verdict: Verdict) -> Verdict: ...
    async def abandon(self, verdict: Verdict) -> None: ...
    def enforce(self, verdict: Verdict) -> Grant | Refusal: ...
    async def report(
        self,
        verdict: Verdict,
        result: OutcomeResult | str,
        *,
        fulfilled: Sequence[str] = (),
        detail: str | None = None,
        conversation_id: str | None = None,
    ) -> None: ...
    def directives(self) -> AsyncIterator[Directive]: ...
    def follow(self, lead_id: str) -> None: ...
    def speech_mode(self, lead_id: str, conversation_id: str | None = None) -> SpeechMode: ...
    def standing_order(self, lead_id: str, conversation_id: str | None = None) -> Directive | None: ...


@dataclass(slots=True)
class Tally:
    """What the play did, as seen by itself: for the progress display, and for what only it can time.

    latencies_ms: from the call of `propose` to its first verdict in hand, by the wall clock. unanswered: requests
    whose answer did not reach their agent.
    """

    sent: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    directives: int = 0
    unanswered: list[str] = field(default_factory=list)


class Agent:
    """One agent at work on many leads."""

    def __init__(self, client: Client, agent_id: str, role: str, tally: Tally) -> None:
        self.client = client
        self.agent_id = agent_id
        self.role = role
        self._tally = tally
        self._orders: dict[str, list[Directive]] = {}
        self._arrived = asyncio.Event()

    async def watch(self) -> None:
        """Takes directives in as they come."""
        async for directive in self.client.directives():
            self._tally.directives += 1
            self._orders.setdefault(directive.lead_id, []).append(directive)
            self._arrived.set()

    async def ordered(self, lead_id: str, kind: DirectiveType) -> Directive | None:
        """The order of a kind about a lead; None when it does not come within some seconds."""
        try:
            async with asyncio.timeout(_ORDERS_WITHIN_S):
                while True:
                    found = next((d for d in self._orders.get(lead_id, ()) if d.type is kind), None)
                    if found is not None:
                        return found
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return None

    async def may_speak(self, lead_id: str, conversation_id: str | None) -> bool:
        """Whether this agent may speak now. What just happened may not have reached it: it gives that a moment."""
        self.client.follow(lead_id)
        for _ in range(int(_ORDERS_WITHIN_S / _LOOK_EVERY_S)):
            order = self.client.standing_order(lead_id, conversation_id)
            if order is not None and order.type is DirectiveType.STOP:
                return False
            if self.client.speech_mode(lead_id, conversation_id) is not SpeechMode.SILENT:
                return True
            await asyncio.sleep(_LOOK_EVERY_S)
        return False

    async def enforce(self, verdict: Verdict) -> bool:
        """Verifies the grant right before the effect; a revocation feed that lags is given some seconds."""
        looks = int(_FEED_WITHIN_S / _LOOK_EVERY_S)
        found = self.client.enforce(verdict)
        while isinstance(found, Refusal) and found.code is ReasonCode.REVOCATION_FEED_STALE and looks:
            looks -= 1
            await asyncio.sleep(_LOOK_EVERY_S)
            found = self.client.enforce(verdict)
        if isinstance(found, Refusal):
            self._tally.refused[found.code.value] += 1
        return isinstance(found, Grant)


class Office:
    """All agents, on one connection."""

    def __init__(self, client: Client, tally: Tally) -> None:
        self._agents = {
            role: [Agent(client.acting_as(name, role), name, role, tally) for name in _names(role)] for role in ROLES
        }
        self._watching: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Begins to follow directives."""
        agents = (agent for team in self._agents.values() for agent in team)
        self._watching = [asyncio.create_task(agent.watch(), name=agent.agent_id) for agent in agents]

    def close(self) -> None:
        """Ends that."""
        for task in self._watching:
            task.cancel()

    def crew(self, number: int) -> dict[str, Agent]:
        """One agent of each role for a lead."""
        return {role: team[number % AGENTS_PER_ROLE] for role, team in self._agents.items()}

    def rival(self, number: int) -> Agent:
        """A booking agent beside the crew's."""
        return self._agents["booking"][(number + 1) % AGENTS_PER_ROLE]


def _names(role: str) -> list[str]:
    return [f"{role}-{number}" for number in range(1, AGENTS_PER_ROLE + 1)]
