"""The synchronous client."""

import queue
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
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

_REPORT_S = 35.0  # more than the producer's delivery timeout: the future is done by then


class MandateClient:
    """Proposes actions of one agent and awaits the verdicts.

    Thread-safe: many threads may propose for many leads at once. It connects with the first call, or with
    `connect`. Close it, or use it in a `with` block: only `close` says that everything was acknowledged.
    """

    def __init__(self, config: AgentConfig, *, core: AgentCore | None = None) -> None:
        self._core = core or AgentCore(config)

    def connect(self) -> Self:
        """Connect now; raises MandateUnavailable."""
        self._core.connection.open()
        return self

    def acting_as(self, agent_id: str, role: str, signing_key: AgentKey | None = None) -> "MandateClient":
        """A client of another agent on this client's connection; this client's `close` ends that too.

        signing_key: the other agent's; None = it does not sign, unless it is this agent in another role.
        """
        core = self._core.view(agent_id, role, signing_key)
        return MandateClient(core.config, core=core)

    def propose(
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
        """Ask for one action and wait for the answer; no answer in time is BLOCK with `answered` False.

        deadline: moment of the agent's clock after which the answer is of no use; Mandate is told.
        text, prompt_scope, max_tokens: the wording, the part of the prompt and the longest answer in tokens that the
            agent means to use, to have them judged; None = not said.
        timeout: seconds to wait; None = the configuration's. wait: after a DEFER, await its end too.
        request_id: the same one when the same request is sent again; None = a new one.
        Raises ValueError for what can't be proposed, MandateUnavailable when there is no connection.
        """
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
        verdict = self._await(proposal, proposal.first, self._core.patience(timeout, deadline))
        return self.await_end(verdict) if wait and verdict.deferred else verdict

    def await_end(self, verdict: Verdict, *, timeout: float | None = None) -> Verdict:
        """The verdict that ends a DEFER: Mandate gives one at the latest at the defer's deadline.

        timeout: seconds to wait at most; None = to the deadline. Giving up is for good, and is BLOCK: the request is
            withdrawn.
        """
        proposal = self._core.deferred(verdict)
        return self._await(proposal, proposal.final, self._core.patience_to_the_end(verdict, timeout))

    def abandon(self, verdict: Verdict) -> None:
        """Withdraw a request that got DEFER, or give an unused PERMIT back, so that others need not wait for it.

        Returns when Kafka has it, else raises MandateUnavailable. The BLOCK that ends the defer on the log
        (REQUEST_CANCELLED) needs nothing of the caller.
        """
        if (sent := self._core.abandon(verdict)) is not None:
            sent.result(_REPORT_S)

    def enforce(
        self,
        verdict: Verdict,
        *,
        parameters: Parameters | None = None,
        crm_fields: Mapping[str, str] | None = None,
        tool: str | None = None,
        conversation_id: str | None = None,
    ) -> Grant | Refusal:
        """Verify the grant right before the effect; a Refusal is false, and the effect must not happen.

        Give what is about to be done; None = exactly as proposed. Uses up a single-use grant.
        """
        return self._core.enforce(verdict, parameters, crm_fields, tool, conversation_id)

    def report(
        self,
        verdict: Verdict,
        result: OutcomeResult | str,
        *,
        fulfilled: Sequence[str] = (),
        detail: str | None = None,
        conversation_id: str | None = None,
    ) -> None:
        """Say what became of a permit; returns when Kafka has it, else raises MandateUnavailable.

        result: DONE, FAILED (tried, it did not work), ABANDONED (not tried), or DECLINED: it was put to the buyer,
            who said no. DECLINED bars the effect for every agent, on every channel and in every wording.
        conversation_id: the one that the effect began; None = the request's.
        """
        self._core.report(verdict, result, fulfilled, detail, conversation_id).result(_REPORT_S)

    def directives(self) -> "Directives":
        """The directives for this agent from now on; iterate in a thread of its own. Ends with `close`."""
        return Directives(self._core)

    def follow(self, lead_id: str) -> None:
        """Take in directives about a lead that this agent has not proposed anything for yet."""
        self._core.follow(lead_id)

    def speech_mode(self, lead_id: str, conversation_id: str | None = None) -> SpeechMode:
        """What may be said now, as last known; SILENT when nothing is known."""
        return self._core.speech_mode(lead_id, conversation_id)

    def standing_order(self, lead_id: str, conversation_id: str | None = None) -> Directive | None:
        """The PAUSE, HOLD or STOP in force, as last known."""
        return self._core.conduct.standing_order(lead_id, conversation_id)

    def lead_state(self, lead_id: str) -> ExecutionState | None:
        """Mandate's public view of a lead, None when unknown. The first call reads all leads' states."""
        return self._core.connection.states().get(lead_id)

    def close(self) -> None:
        """End all waits (they become BLOCK) and return when everything is acknowledged; else MandateUnavailable."""
        self._core.close()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _await(self, proposal: Proposal, awaited: "Future[Decision]", patience: Patience) -> Verdict:
        try:
            while not awaited.done() and (wait_s := patience.next_wait_s()) > 0:
                try:
                    awaited.exception(wait_s)
                except FutureTimeout:
                    continue
            return self._core.conclude(proposal, awaited, patience)
        except BaseException:  # Ctrl-C: whatever comes now, nobody will use it
            self._core.connection.walk_away(proposal, "the agent was interrupted while it waited")
            raise


class Directives(Iterator[Directive]):
    """The directives for one agent, from the moment this was made."""

    def __init__(self, core: AgentCore) -> None:
        self._queue: queue.SimpleQueue[Directive | None] = queue.SimpleQueue()
        self._stop = core.subscribe(self._queue.put)

    def __next__(self) -> Directive:
        directive = self._queue.get()
        if directive is CLOSED:
            self.close()
            raise StopIteration
        return directive

    def close(self) -> None:
        """Stop following: the iteration ends, in whichever thread it is."""
        self._stop()
        self._queue.put(CLOSED)
