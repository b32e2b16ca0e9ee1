"""The proposals of one client that are not over yet. Pure state, shared by the threads of a client."""

import threading
import time
from collections import Counter, OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field

from schemas.records import AgentRequest, Decision, RequestId
from schemas.records import Verdict as Answer

_MAX_GIVEN_UP = 10_000
_MAX_UNCLAIMED = 10_000


class GivenUp(Exception):  # noqa: N818  (a word between the threads of a client)
    """Inside the client: why a proposal will not be waited for any longer."""


def _answer() -> "Future[Decision]":
    future: Future[Decision] = Future()
    # From here on a waiter that is cancelled can't cancel the answer.
    future.set_running_or_notify_cancel()
    return future


@dataclass(slots=True)
class Proposal:
    """One request on its way: `first` is its first decision, `final` the one that is no DEFER."""

    request: AgentRequest
    first: "Future[Decision]" = field(default_factory=_answer)
    final: "Future[Decision]" = field(default_factory=_answer)
    claimed: bool = False
    given_up_at: float = 0.0

    @property
    def permit(self) -> Decision | None:
        """The final decision, when it has come and is PERMIT."""
        if not self.final.done() or self.final.exception() is not None:
            return None
        decision = self.final.result()
        return decision if decision.verdict is Answer.PERMIT else None

    @property
    def deferral(self) -> Decision | None:
        """The DEFER, when it has come and its end has not."""
        if self.final.done() or not self.first.done():
            return None
        return self.first.result()


class Proposals:
    """Matches decisions with the requests of this client.

    A request is open until its final decision, or until its waiter gives up. A PERMIT that comes after that is
    handed back by `take`, for the caller to report as abandoned. Repeated decisions change nothing.
    """

    def __init__(self) -> None:
        self._open: dict[RequestId, Proposal] = {}
        self._given_up: OrderedDict[RequestId, Proposal] = OrderedDict()
        self._unclaimed: OrderedDict[RequestId, Proposal] = OrderedDict()
        self._leads: Counter[str] = Counter()
        self._lock = threading.Lock()

    def open(self, request: AgentRequest) -> Proposal:
        """Begin to wait; ValueError when this request id is being waited for already."""
        with self._lock:
            if request.request_id in self._open or request.request_id in self._unclaimed:
                raise ValueError(f"request_id {request.request_id!r} is under way: give each request its own id")
            # The same request sent again, after nobody waited for it any longer, is waited for again.
            if self._given_up.pop(request.request_id, None) is None:
                self._leads[request.lead_id] += 1
            proposal = self._open[request.request_id] = Proposal(request)
            return proposal

    def concerns(self, lead_id: str) -> bool:
        """Whether a decision about this lead may be one of ours."""
        return lead_id in self._leads

    def awaits(self, request_id: str) -> bool:
        """Whether this request is ours and not over."""
        return request_id in self._open or request_id in self._given_up

    def take(self, decision: Decision) -> tuple[Decision, ...]:
        """Hand a decision to its waiter; returns permits that nobody waits for."""
        with self._lock:
            if decision.request_id in self._given_up:
                return self._late(decision)
            proposal = self._open.get(decision.request_id)
            if proposal is None:
                return ()
            if decision.verdict is Answer.DEFER:
                if not proposal.first.done():
                    proposal.first.set_result(decision)
                return ()
            return self._conclude(proposal, decision)

    def give_up(self, proposal: Proposal, awaited: "Future[Decision]", why: str) -> Decision | None:
        """Stop waiting, unless the awaited decision came meanwhile; either way `awaited` is done afterwards.

        Returns the DEFER whose end nobody awaits from now on, if that is what was given up.
        """
        with self._lock:
            return None if awaited.done() else self._abandon(proposal, why)

    def walk_away(self, proposal: Proposal, why: str) -> Decision | None:
        """Stop waiting whatever came; the PERMIT or DEFER that came meanwhile and that nobody will use, if any."""
        with self._lock:
            if not proposal.final.done():
                return self._abandon(proposal, why)
            self._unclaimed.pop(proposal.request.request_id, None)
            return proposal.permit

    def claim_end(self, request_id: str) -> Proposal | None:
        """The deferred proposal whose end is to be awaited; None when there is no such (any longer)."""
        with self._lock:
            key = RequestId(request_id)
            proposal = self._unclaimed.pop(key, None) or self._open.get(key)
            if proposal is not None:
                proposal.claimed = True
            return proposal

    def give_up_all(self, why: str) -> tuple[Decision, ...]:
        """Stop every wait; returns permits that nobody claimed, and DEFERs whose end nobody awaits from now on."""
        with self._lock:
            unused = [self._abandon(self._open[request_id], why) for request_id in list(self._open)]
            unused += [proposal.permit for proposal in self._unclaimed.values()]
            self._unclaimed.clear()
            return tuple(decision for decision in unused if decision is not None)

    def awaiting_late_answers(self, since: float) -> bool:
        """Whether first answers may still come to waits that were given up after `since` (monotonic seconds)."""
        with self._lock:
            return any(
                proposal.given_up_at >= since and proposal.first.exception() is not None
                for proposal in self._given_up.values()
            )

    def _late(self, decision: Decision) -> tuple[Decision, ...]:
        if decision.verdict is Answer.DEFER:
            return ()
        self._forget_lead(self._given_up.pop(decision.request_id))
        return (decision,) if decision.verdict is Answer.PERMIT else ()

    def _conclude(self, proposal: Proposal, decision: Decision) -> tuple[Decision, ...]:
        del self._open[decision.request_id]
        self._forget_lead(proposal)
        was_deferred = proposal.first.done()
        proposal.final.set_result(decision)
        if not was_deferred:
            proposal.first.set_result(decision)
        elif not proposal.claimed:
            self._unclaimed[decision.request_id] = proposal
        if len(self._unclaimed) <= _MAX_UNCLAIMED:
            return ()
        permit = self._unclaimed.popitem(last=False)[1].permit
        return (permit,) if permit else ()

    def _abandon(self, proposal: Proposal, why: str) -> Decision | None:
        deferral = proposal.deferral
        self._open.pop(proposal.request.request_id, None)
        for future in (proposal.first, proposal.final):
            if not future.done():
                future.set_exception(GivenUp(why))
        proposal.given_up_at = time.monotonic()
        self._given_up[proposal.request.request_id] = proposal
        if len(self._given_up) > _MAX_GIVEN_UP:
            self._forget_lead(self._given_up.popitem(last=False)[1])
        return deferral

    def _forget_lead(self, proposal: Proposal) -> None:
        lead = proposal.request.lead_id
        self._leads[lead] -= 1
        if self._leads[lead] <= 0:
            del self._leads[lead]
