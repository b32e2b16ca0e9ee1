"""The asyncio client: the same connection, threads inside, futures outside."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from agents.client import CLOSED, AgentCore, Patience
from agents.config import AgentConfig
from agents.grant import Grant, Refusal
from agents.proposals import Proposal
from agents.signing import AgentKey
from agents.verdict import Verdict
from schemas.digest import Parameters
from schemas.records import Channel, Decision, Directive, ExecutionState, OutcomeResult, SpeechMode, TimeUs


class AsyncMandateClient:
    """`MandateClient` for asyncio: the same methods and promises, on the loop that calls them.

    Many tasks may propose for many leads at once. Cancelling a task that waits gives its proposal up.
    """

    def __init__(self, config: AgentConfig, *, core: AgentCore | None = None) -> None:
        self._core = core or AgentCore(config)

    async def connect(self) -> Self:
        """Connect now; raises MandateUnavailable."""
        if not self._core.connection.is_open:
            await asyncio.to_thread(self._core.connection.open)
        return self

    def acting_as(self, agent_id: str, role: str, signing_key: AgentKey | None = None) -> "AsyncMandateClient":
        """A client of another agent on this client's connection; this client's `close` ends that too.

        signing_key: the other agent's; None = it does not sign, unless it is this agent in another role.
        """
        core = self._core.view(agent_id, role, signing_key)
        return AsyncMandateClient(core.config, core=core)

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
        text: str | None = None,
        prompt_scope: str | None = None,
        max_tokens: int | None = None,
        timeout: float | None = None,
        wait: bool = False,
        traceparent: str | None = None,
    ) -> Verdict:
        """Ask for one action and wait for the answer, as `MandateClient.propose`."""
        await self.connect()
        proposal = self._core.ask(
            lead_id,
            action,
            channel=channel,
            parameters=parameters,
            crm_fields=crm_fields,
            tool=tool,
            conversation_id=conversation_id,
            request_id=request_id,
            deadline=deadline,
            text=text,
            prompt_scope=prompt_scope,
            max_tokens=max_tokens,
            traceparent=traceparent,
        )
        verdict = await self._await(proposal, proposal.first, self._core.patience(timeout, deadline))
        return await self.await_end(verdict) if wait and verdict.deferred else verdict

    async def await_end(self, verdict: Verdict, *, timeout: float | None = None) -> Verdict:
        """The verdict that ends a DEFER, as `MandateClient.await_end`."""
        proposal = self._core.deferred(verdict)
        return await self._await(proposal, proposal.final, self._core.patience_to_the_end(verdict, timeout))

    async def abandon(self, verdict: Verdict) -> None:
        """Withdraw a request that got DEFER, or give an unused PERMIT back, as `MandateClient.abandon`."""
        if (sent := self._core.abandon(verdict)) is not None:
            await asyncio.wrap_future(sent)

    def enforce(
        self,
        verdict: Verdict,
        *,
        parameters: Parameters | None = None,
        crm_fields: Mapping[str, str] | None = None,
        tool: str | None = None,
        conversation_id: str | None = None,
    ) -> Grant | Refusal:
        """Verify the grant right before the effect, as `MandateClient.enforce`; waits for nothing."""
        return self._core.enforce(verdict, parameters, crm_fields, tool, conversation_id)

    async def report(
        self,
        verdict: Verdict,
        result: OutcomeResult | str,
        *,
        fulfilled: Sequence[str] = (),
        detail: str | None = None,
        conversation_id: str | None = None,
    ) -> None:
        """Say what became of a permit, as `MandateClient.report`."""
        await asyncio.wrap_future(self._core.report(verdict, result, fulfilled, detail, conversation_id))

    async def directives(self) -> AsyncIterator[Directive]:
        """The directives for this agent from the first step of the iteration on. Ends with `close`."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Directive | None] = asyncio.Queue()
        await self.connect()

        def pass_on(directive: Directive | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(arrived.put_nowait, directive)

        stop = self._core.subscribe(pass_on)
        try:
            while (directive := await arrived.get()) is not CLOSED:
                yield directive
        finally:
            stop()

    def follow(self, lead_id: str) -> None:
        """Take in directives about a lead that this agent has not proposed anything for yet."""
        self._core.follow(lead_id)

    def speech_mode(self, lead_id: str, conversation_id: str | None = None) -> SpeechMode:
        """What may be said now, as last known; SILENT when nothing is known."""
        return self._core.speech_mode(lead_id, conversation_id)

    def standing_order(self, lead_id: str, conversation_id: str | None = None) -> Directive | None:
        """The PAUSE, HOLD or STOP in force, as last known."""
        return self._core.conduct.standing_order(lead_id, conversation_id)

    async def lead_state(self, lead_id: str) -> ExecutionState | None:
        """Mandate's public view of a lead, as `MandateClient.lead_state`."""
        states = await asyncio.to_thread(self._core.connection.states)
        return states.get(lead_id)

    async def close(self) -> None:
        """End all waits and return when everything is acknowledged, as `MandateClient.close`."""
        await asyncio.to_thread(self._core.close)

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(self.close())

    async def _await(self, proposal: Proposal, awaited: "Future[Decision]", patience: Patience) -> Verdict:
        answer = asyncio.wrap_future(awaited)
        answer.add_done_callback(_seen)
        try:
            while not awaited.done() and (wait_s := patience.next_wait_s()) > 0:
                await asyncio.wait({answer}, timeout=wait_s)
            return self._core.conclude(proposal, awaited, patience)
        except BaseException:  # cancelled: whatever comes now, nobody will use it
            self._core.connection.walk_away(proposal, "the agent's task was cancelled while it waited")
            raise


def _seen(answer: "asyncio.Future[Decision]") -> None:
    """Marks an error as looked at: `conclude` turns it into a verdict."""
    if not answer.cancelled():
        answer.exception()
