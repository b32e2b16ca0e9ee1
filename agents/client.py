"""What the synchronous and the asyncio client share: everything but the waiting."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Final, Self

from agents.conduct import Conduct
from agents.config import AgentConfig
from agents.connection import Connection
from agents.grant import Grant, Refusal
from agents.messages import make_outcome, make_request
from agents.proposals import GivenUp, Proposal
from agents.signing import AgentKey
from agents.verdict import Verdict
from schemas.digest import Parameters
from schemas.records import (
    Channel,
    Decision,
    Directive,
    OutcomeResult,
    ReasonCode,
    SpeechMode,
    TimeUs,
)

_MAX_LEADS = 100_000
_SLICE_S = 0.05
CLOSED: Final = None
"""What ends a stream of directives."""

Subscriber = Callable[[Directive | None], None]


class Patience:
    """How long to wait: until a wall-clock timeout, or a moment of the agent's clock and a grace after it.

    timeout_s: None = the moment alone decides. until: None = the timeout alone decides.
    """

    def __init__(self, config: AgentConfig, timeout_s: float | None, until: TimeUs | None, grace_s: float) -> None:
        self._now = config.now
        self._until = until
        self.over_because = "the deadline passed" if timeout_s is None else f"{timeout_s:g} s passed"
        self._grace_s = grace_s
        self._end = None if timeout_s is None else time.monotonic() + timeout_s

    def next_wait_s(self) -> float:
        """Seconds to wait before asking again; 0 when it is over. Short, as the agent's clock may be driven."""
        if self._until is not None and self._now() >= self._until:
            self.over_because = "the deadline passed"
            end = time.monotonic() + self._grace_s
            self._end = end if self._end is None else min(self._end, end)
            self._until = None
        left = _SLICE_S if self._end is None else max(0.0, self._end - time.monotonic())
        return left if self._until is None else min(left, _SLICE_S)


class AgentCore:
    """One agent's view of a connection: its requests, its conduct, the directives for it."""

    def __init__(self, config: AgentConfig, connection: Connection | None = None) -> None:
        config.public_keys()  # a missing key file is the caller's mistake: said at once
        self.config = config
        self.connection = connection or Connection(config)
        if config.signing_key is not None:
            self.connection.sign_as(config.agent_id, config.signing_key)
        self.conduct = Conduct()
        self._owns_connection = connection is None
        self._leads: OrderedDict[str, None] = OrderedDict()
        self._subscribers: list[Subscriber] = []
        self.connection.listen(self._take)

    def view(self, agent_id: str, role: str, signing_key: AgentKey | None = None) -> Self:
        """Another agent on the same connection, or this one in another role; each signs with its own key only."""
        if signing_key is None and agent_id == self.config.agent_id:
            signing_key = self.config.signing_key
        config = replace(self.config, agent_id=agent_id, role=role, signing_key=signing_key)
        return type(self)(config, self.connection)

    def ask(
        self,
        lead_id: str,
        action: str,
        *,
        channel: Channel | str,
        parameters: Parameters | None,
        crm_fields: Mapping[str, str] | None,
        tool: str | None,
        conversation_id: str | None,
        request_id: str | None,
        deadline: TimeUs | None,
        text: str | None,
        prompt_scope: str | None,
        max_tokens: int | None,
        traceparent: str | None,
    ) -> Proposal:
        """Send one request; ValueError when it can't be one."""
        request = make_request(
            self.config,
            lead_id,
            action,
            channel,
            parameters or {},
            crm_fields or {},
            tool,
            conversation_id,
            request_id,
            deadline,
            text,
            prompt_scope,
            max_tokens,
        )
        self.connection.open()
        self.follow(lead_id)
        return self.connection.ask(request, traceparent)

    def patience(self, timeout_s: float | None, deadline: TimeUs | None) -> Patience:
        """Patience for a first answer."""
        return Patience(self.config, self.config.answer_timeout_s if timeout_s is None else timeout_s, deadline, 0.0)

    def patience_to_the_end(self, verdict: Verdict, timeout_s: float | None) -> Patience:
        """Patience for the end of a defer: it is decided at its deadline, and the answer takes its while."""
        until = verdict.defer.deadline if verdict.defer else None
        return Patience(self.config, timeout_s, until, self.config.answer_timeout_s)

    def deferred(self, verdict: Verdict) -> Proposal:
        """The proposal behind a DEFER; ValueError when its end is not to be awaited here."""
        if not verdict.deferred:
            raise ValueError(f"only a DEFER has an end to await; this verdict is {verdict.answer.value}")
        proposal = self.connection.proposals.claim_end(verdict.request.request_id)
        if proposal is None:
            raise ValueError("the end of this defer was awaited or given up before, or belongs to another client")
        return proposal

    def conclude(self, proposal: Proposal, awaited: "Future[Decision]", patience: Patience) -> Verdict:
        """The verdict of a wait that is over; gives the proposal up when its answer has not come."""
        trouble = f" (trouble: {self.connection.trouble})" if self.connection.trouble else ""
        why = f"{patience.over_because} without it{trouble}; no permit that comes later will be used"
        self.connection.give_up(proposal, awaited, why)
        try:
            return Verdict(proposal.request, awaited.result(0))
        except GivenUp as given_up:
            return Verdict(proposal.request, None, str(given_up))

    def enforce(
        self,
        verdict: Verdict,
        parameters: Parameters | None,
        crm_fields: Mapping[str, str] | None,
        tool: str | None,
        conversation_id: str | None,
    ) -> Grant | Refusal:
        """Verify the grant for what is about to happen; what is None happens as it was proposed."""
        request = verdict.request
        if not verdict.permitted:
            return Refusal(verdict.code or ReasonCode.UNKNOWN, verdict.message)
        return self.connection.verifier.check(
            verdict.grant,
            action=request.action,
            lead_id=request.lead_id,
            agent_id=request.agent_id,
            role=request.role,
            channel=request.channel.value,
            conversation_id=conversation_id if conversation_id is not None else request.conversation_id,
            parameters=request.parameters if parameters is None else parameters,
            crm_fields=request.crm_fields if crm_fields is None else crm_fields,
            tool=request.tool if tool is None else tool,
            now=self.config.now(),
        )

    def report(
        self,
        verdict: Verdict,
        result: OutcomeResult | str,
        fulfilled: Sequence[str],
        detail: str | None,
        conversation_id: str | None,
    ) -> "Future[None]":
        """Send what became of a permit."""
        outcome = make_outcome(verdict, result, fulfilled, detail, conversation_id, self.config.now())
        return self.connection.tell(outcome)

    def abandon(self, verdict: Verdict) -> "Future[None] | None":
        """Withdraw a request that waits, or give an unused permit back; None when there is nothing to say."""
        if verdict.deferred:
            return self.connection.walk_away(self.deferred(verdict), "the agent gave up the defer")
        if verdict.permitted:
            return self.report(verdict, OutcomeResult.ABANDONED, (), None, None)
        return None

    def follow(self, lead_id: str) -> None:
        """Count a lead among this agent's, as every proposal does."""
        self._leads[lead_id] = None
        self._leads.move_to_end(lead_id)
        if len(self._leads) > _MAX_LEADS:
            self._leads.popitem(last=False)

    def speech_mode(self, lead_id: str, conversation_id: str | None) -> SpeechMode:
        """The last known speech mode; SILENT when nothing is known."""
        return self.conduct.speech_mode(lead_id, conversation_id) or SpeechMode.SILENT

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Hand over each directive from here on, and CLOSED at the end; returns what ends that."""
        self.connection.open()
        self._subscribers.append(subscriber)

        def stop() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return stop

    def close(self) -> None:
        """End the streams, and the connection if it is this client's own. Raises MandateUnavailable."""
        self._tell_subscribers(CLOSED)
        if self._owns_connection:
            self.connection.close()

    def _take(self, record: Decision | Directive) -> None:
        if isinstance(record, Decision):
            if record.agent_id == self.config.agent_id:
                self.conduct.observe_decision(record)
            return
        is_ours = record.agent_id == self.config.agent_id
        if is_ours or (record.agent_id is None and record.lead_id in self._leads):
            self.conduct.observe_directive(record)
            self._tell_subscribers(record)

    def _tell_subscribers(self, directive: Directive | None) -> None:
        for subscriber in list(self._subscribers):
            subscriber(directive)
