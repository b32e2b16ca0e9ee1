"""Every decision reaches its waiter or counts as late: never both, never neither."""

from concurrent.futures import Future

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Drawn
from hypothesis.stateful import RuleBasedStateMachine, consumes, invariant, rule

from agents.proposals import GivenUp, Proposal, Proposals
from schemas.records import Decision, Verdict
from tests.agents.records import decision, request

PERMIT, DEFER, BLOCK = Verdict.PERMIT, Verdict.DEFER, Verdict.BLOCK


def gave_up(future: "Future[Decision]") -> bool:
    return future.done() and isinstance(future.exception(), GivenUp)


def test_an_answer_ends_the_wait_and_its_repetition_changes_nothing() -> None:
    proposals = Proposals()
    proposal = proposals.open(request())
    permit = decision(request(), PERMIT)
    assert proposals.take(permit) == ()
    assert proposal.first.result(0) == proposal.final.result(0) == permit
    assert proposals.take(permit) == ()
    assert not proposals.concerns("lead-1")


def test_an_answer_to_somebody_elses_request_is_not_ours() -> None:
    proposals = Proposals()
    proposals.open(request())
    assert proposals.take(decision(request("request-2"), PERMIT)) == ()


def test_a_defer_is_the_first_answer_and_the_end_comes_by_itself() -> None:
    proposals = Proposals()
    proposal = proposals.open(request())
    proposals.take(decision(request(), DEFER, 1))
    assert proposal.first.result(0).verdict is DEFER
    assert not proposal.final.done()
    assert proposals.claim_end("request-1") is proposal
    proposals.take(decision(request(), PERMIT, 2))
    assert proposal.first.result(0).verdict is DEFER
    assert proposal.final.result(0).verdict is PERMIT
    assert proposals.give_up_all("closed") == (), "its waiter has it: it is not unclaimed"


def test_the_end_of_a_defer_is_kept_until_somebody_asks_for_it() -> None:
    proposals = Proposals()
    proposals.open(request())
    proposals.take(decision(request(), DEFER, 1))
    proposals.take(decision(request(), PERMIT, 2))
    claimed = proposals.claim_end("request-1")
    assert claimed is not None
    assert claimed.final.result(0).verdict is PERMIT
    assert proposals.claim_end("request-1") is None
    assert proposals.give_up_all("closed") == ()


def test_a_permit_that_comes_after_the_wait_is_handed_back_once() -> None:
    proposals = Proposals()
    proposal = proposals.open(request())
    proposals.give_up(proposal, proposal.first, "time is over")
    assert gave_up(proposal.first)
    permit = decision(request(), PERMIT)
    assert proposals.take(permit) == (permit,)
    assert proposals.take(permit) == ()


def test_a_block_that_comes_after_the_wait_needs_nothing() -> None:
    proposals = Proposals()
    proposal = proposals.open(request())
    proposals.give_up(proposal, proposal.first, "time is over")
    assert proposals.take(decision(request(), BLOCK)) == ()
    assert not proposals.concerns("lead-1")


def test_a_defer_that_comes_after_the_wait_is_followed_to_its_permit() -> None:
    proposals = Proposals()
    proposal = proposals.open(request())
    proposals.give_up(proposal, proposal.first, "time is over")
    assert proposals.take(decision(request(), DEFER, 1)) == ()
    permit = decision(request(), PERMIT, 2)
    assert proposals.take(permit) == (permit,)


def test_giving_up_a_moment_after_the_answer_keeps_the_answer() -> None:
    proposals = Proposals()
    proposal = proposals.open(request())
    proposals.take(decision(request(), PERMIT))
    proposals.give_up(proposal, proposal.first, "time is over")
    assert proposal.first.result(0).verdict is PERMIT


def test_giving_up_a_moment_after_a_defer_still_awaits_its_end() -> None:
    proposals = Proposals()
    proposal = proposals.open(request())
    proposals.take(decision(request(), DEFER, 1))
    proposals.give_up(proposal, proposal.first, "time is over")
    assert proposals.claim_end("request-1") is proposal


def test_walking_away_from_a_permit_hands_it_back() -> None:
    proposals = Proposals()
    proposal = proposals.open(request())
    assert proposals.walk_away(proposal, "interrupted") is None
    other = proposals.open(request("request-2"))
    permit = decision(request("request-2"), PERMIT)
    proposals.take(permit)
    assert proposals.walk_away(other, "interrupted") == permit


def test_walking_away_from_a_defer_hands_it_back_once_to_be_withdrawn() -> None:
    proposals = Proposals()
    proposal = proposals.open(request())
    defer = decision(request(), DEFER, 1)
    proposals.take(defer)
    assert proposals.walk_away(proposal, "no need") == defer
    assert proposals.walk_away(proposal, "no need") is None
    assert proposals.take(decision(request(), BLOCK, 2)) == (), "its end on the log needs nothing"
    assert not proposals.concerns("lead-1")


def test_giving_up_the_end_of_a_defer_hands_it_back_and_giving_up_a_first_answer_does_not() -> None:
    proposals = Proposals()
    proposal, unheard = proposals.open(request()), proposals.open(request("request-2"))
    defer = decision(request(), DEFER, 1)
    proposals.take(defer)
    assert proposals.give_up(proposal, proposal.final, "time is over") == defer
    assert proposals.give_up(unheard, unheard.first, "time is over") is None


def test_a_permit_that_crossed_the_withdrawal_of_its_defer_is_handed_back() -> None:
    proposals = Proposals()
    proposal = proposals.open(request())
    proposals.take(decision(request(), DEFER, 1))
    proposals.walk_away(proposal, "no need")
    permit = decision(request(), PERMIT, 2)
    assert proposals.take(permit) == (permit,)


def test_closing_ends_every_wait_and_hands_back_permits_that_nobody_asked_for() -> None:
    proposals = Proposals()
    waiting, deferred = proposals.open(request()), proposals.open(request("request-2"))
    proposals.take(decision(request("request-2"), DEFER, 1))
    permit = decision(request("request-2"), PERMIT, 2)
    proposals.take(permit)
    assert proposals.give_up_all("closed") == (permit,)
    assert gave_up(waiting.first)
    assert deferred.first.result(0).verdict is DEFER


def test_closing_hands_back_the_defers_whose_end_nobody_awaits_from_now_on() -> None:
    proposals = Proposals()
    deferred = proposals.open(request())
    defer = decision(request(), DEFER, 1)
    proposals.take(defer)
    assert proposals.give_up_all("closed") == (defer,)
    assert proposals.give_up_all("closed") == ()
    assert deferred.first.result(0).verdict is DEFER


def test_a_request_id_under_way_can_not_be_used_for_another_wait() -> None:
    proposals = Proposals()
    proposals.open(request())
    with pytest.raises(ValueError, match="under way"):
        proposals.open(request())


def test_a_request_that_was_given_up_can_be_sent_again_and_gets_its_answer() -> None:
    proposals = Proposals()
    first = proposals.open(request())
    proposals.give_up(first, first.first, "time is over")
    again = proposals.open(request())
    assert proposals.take(decision(request(), PERMIT)) == ()
    assert again.first.result(0).verdict is PERMIT
    assert not proposals.concerns("lead-1")


class Fates(RuleBasedStateMachine):
    """Answers, repetitions, waits that end and closings in any order: each permit has exactly one fate."""

    proposed = Drawn("proposed")

    def __init__(self) -> None:
        super().__init__()
        self.proposals = Proposals()
        self.opened: dict[str, Proposal] = {}
        self.handed_back: list[str] = []
        self.received: set[str] = set()
        self.finals: dict[str, Decision] = {}

    @rule(target=proposed)
    def propose(self) -> str:
        request_id = f"request-{len(self.opened)}"
        self.opened[request_id] = self.proposals.open(request(request_id))
        return request_id

    @rule(request_id=proposed, verdict=st.sampled_from(Verdict))
    def answer(self, request_id: str, verdict: Verdict) -> None:
        found = self.finals.get(request_id) or decision(request(request_id), verdict)
        if found.verdict is not DEFER:
            self.finals[request_id] = found
        self.handed_back += [permit.request_id for permit in self.proposals.take(found)]

    @rule(request_id=proposed)
    def wait_for_the_first_answer(self, request_id: str) -> None:
        proposal = self.opened[request_id]
        self.proposals.give_up(proposal, proposal.first, "time is over")
        if not gave_up(proposal.first) and proposal.first.result(0).verdict is PERMIT:
            self.received.add(request_id)

    @rule(request_id=proposed)
    def wait_for_the_end(self, request_id: str) -> None:
        proposal = self.opened[request_id]
        claimed = self.proposals.claim_end(request_id)
        if claimed is not None and not gave_up(proposal.first):
            self.proposals.give_up(proposal, proposal.final, "time is over")
            if not gave_up(proposal.final) and proposal.final.result(0).verdict is PERMIT:
                self.received.add(request_id)

    @rule(request_id=consumes(proposed))
    def walk_away(self, request_id: str) -> None:
        proposal = self.opened[request_id]
        if request_id not in self.received and request_id not in self.handed_back:
            permit = self.proposals.walk_away(proposal, "interrupted")
            self.handed_back += [permit.request_id] if permit and permit.verdict is PERMIT else []

    @invariant()
    def no_permit_has_two_fates(self) -> None:
        assert len(self.handed_back) == len(set(self.handed_back))
        assert not self.received & set(self.handed_back)

    def teardown(self) -> None:
        unused = self.proposals.give_up_all("closed")
        self.handed_back += [permit.request_id for permit in unused if permit.verdict is PERMIT]
        self.no_permit_has_two_fates()
        for request_id, final in self.finals.items():
            proposal = self.opened[request_id]
            unread = not gave_up(proposal.first) and proposal.first.result(0) == final
            if final.verdict is PERMIT and not unread:
                assert request_id in self.received | set(self.handed_back)


TestFates = Fates.TestCase
TestFates.settings = settings(max_examples=60, deadline=None)
