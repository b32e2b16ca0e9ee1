"""Many agents, one lead: somebody always gets on, nobody waits for ever, and the order is fair."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processors import requests
from processors.hearing import Situation
from processors.judge import judge
from processors.law import compile_law
from schemas.records import (
    AgentOutcome,
    AgentRequest,
    CallEvent,
    CallEventType,
    Channel,
    Decision,
    Deferral,
    Fact,
    LeadState,
    OutcomeResult,
    Record,
    Speaker,
    Tick,
    Verdict,
)
from tests.core.simulation.bodies import bundle, policy
from tests.core.story import SECOND, Story

LAW = compile_law(policy(0).bundle, policy(0).digest)
FAIR_WAIT = bundle().limits.fair_wait_s * SECOND
WANTED = (
    ("booking", "confirm_availability"), ("booking", "schedule_meeting"), ("transfer", "route_call"),
    ("transfer", "route_to_human"), ("closing", "discuss_price"), ("closing", "offer_discount"),
    ("closing", "request_commitment"), ("operator", "discuss_price"), ("executive", "offer_discount"),
)  # fmt: skip
MOVES: st.SearchStrategy[list[tuple[Any, ...]]] = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 5), st.sampled_from(WANTED)),
        st.tuples(st.just("ask"), st.integers(0, 5), st.sampled_from(WANTED)),
        st.tuples(st.just("report"), st.integers(0, 3), st.sampled_from(("DONE", "FAILED", "ABANDONED"))),
        st.tuples(
            st.just("call"), st.sampled_from(("SILENCE", "AGENT_DISENGAGED", "SPEECH_STARTED", "SPEECH_STOPPED"))
        ),
        st.tuples(st.just("wait"), st.sampled_from((1, 10, 20, 61, 181))),
        st.tuples(st.just("late tick"), st.sampled_from((5, 70, 200))),
    ),
    min_size=5,
    max_size=40,
)  # fmt: skip


CROWDED: tuple[tuple[Any, ...], ...] = (
    ("ask", 0, ("closing", "discuss_price")), ("ask", 1, ("closing", "request_commitment")),
    ("ask", 2, ("booking", "confirm_availability")), ("ask", 3, ("operator", "discuss_price")),
    ("report", 0, "DONE"), ("report", 0, "DONE"),
)  # fmt: skip
"""Several wait for one floor, which is given up."""


class Queue:
    """A lead in an answered call that has reached the closing stage, and the agents who want it."""

    def __init__(self) -> None:
        self.story = Story(policy=False, known=False)
        self.story.tell(policy(0))
        self.story.known()
        self.story.ready_to_close()
        self.deadlines: dict[str, int] = {}
        self.answers: dict[str, list[Decision]] = {}
        self.permits: list[Decision] = []

    def move(self, move: tuple[Any, ...]) -> None:
        body = self._body(move)
        if move[0] == "late tick":  # time passes, and no worker says so before the next entry
            self.story.now += move[1] * SECOND
        elif body is not None:
            self.tell(body)

    def tell(self, body: Record) -> None:
        before = self.story.state()
        came = [value for value in self.story.tell(body) if isinstance(value, Decision)]
        after = self.story.state()
        for decision in came:
            self.answers.setdefault(decision.request_id, []).append(decision)
            if decision.verdict is Verdict.PERMIT:
                self.permits.append(decision)
        someone_gets_on(after)
        who_gets_on_is_first(before, after, came)
        nobody_is_overdue(after)

    def _body(self, move: tuple[Any, ...]) -> Record | None:
        story = self.story
        if move[0] == "ask":
            role, action = move[2]
            return AgentRequest(
                request_id=story.id("request"), lead_id=story.lead, conversation_id="c1", agent_id=f"{role}-{move[1]}",
                role=role, action=action, channel=Channel.VOICE, parameters={"discount_bp": 300},
                requested_at=story.now + SECOND,
            )  # fmt: skip
        if move[0] == "report" and move[1] < len(self.permits):
            of = self.permits[-1 - move[1]]
            return AgentOutcome(
                outcome_id=story.id("outcome"), lead_id=story.lead, conversation_id="c1", agent_id=of.agent_id,
                request_id=of.request_id, grant_id=of.grant_id or "", result=OutcomeResult(move[2]),
                occurred_at=story.now,
            )  # fmt: skip
        if move[0] == "call":
            return CallEvent(
                event_id=story.id("call"), lead_id=story.lead, conversation_id="c1", provider="p", call_id="c1",
                type=CallEventType(move[1]), speaker=Speaker.AGENT, duration_ms=20_000, received_at=story.now,
            )  # fmt: skip
        if move[0] == "wait":
            story.now += (move[1] - 1) * SECOND
            return Tick(tick_id=story.id("tick"), at=story.now + SECOND)
        return None


def play(moves: Iterable[tuple[Any, ...]]) -> Queue:
    """A queue after some moves."""
    queue = Queue()
    for move in moves:
        queue.move(move)
    return queue


def permits(waiting: Deferral, state: LeadState, without: frozenset[str] = frozenset()) -> bool:
    """Would this request be permitted as things stand, if some facts did not stand?"""
    facts: dict[str, Fact] = {name: fact for name, fact in state.facts.items() if name not in without}
    situation = Situation(facts, state.attempts, state.now, LAW)
    return judge(waiting.request, situation, waiting.deferred_at, waiting.deadline).verdict is Verdict.PERMIT


def someone_gets_on(after: LeadState) -> None:
    """No deadlock: nobody waits for what is free."""
    assert not [d.request.request_id for d in after.deferrals if permits(d, after)]


def who_gets_on_is_first(before: LeadState, after: LeadState, came: list[Decision]) -> None:
    """Of those who waited and could have had the lead, the one who got it was first in the fair order.

    Who has the lead already, or got it by an earlier request of its own in the same entry, need not wait for it.
    """
    holders = {before.floor.agent_id} if before.floor else set()
    for decision in (d for d in came if d.verdict is Verdict.PERMIT):
        winner = next((d for d in before.deferrals if d.request.request_id == decision.request_id), None)
        if winner is not None and decision.agent_id not in holders:
            taken = frozenset({"floor", f"pending.{LAW.bundle.actions[decision.action].effect}"})
            for other in after.deferrals:
                if other in before.deferrals and rank(other, after.now) < rank(winner, after.now):
                    assert not permits(other, after, taken), (other, winner)
        holders.add(decision.agent_id)


def rank(waiting: Deferral, now: int) -> tuple[bool, int, int]:
    """Who waited for long first, by the time of asking; then the later stage, then who asked first."""
    stages = ("closing", "transfer", "qualification", "contact")
    is_young = now - waiting.deferred_at < FAIR_WAIT
    stage = stages.index(LAW.bundle.actions[waiting.request.action].stage) if is_young else 0
    return (is_young, stage, waiting.request.requested_at)


def nobody_is_overdue(after: LeadState) -> None:
    """No starvation: who waits is answered by the deadline."""
    assert not [d for d in after.deferrals if d.deadline <= after.now]


FAST = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
SEEN: dict[str, int] = {"waited": 0, "got on": 0}


@FAST
@given(MOVES)
def moves_of_many_agents(moves: list[tuple[Any, ...]]) -> None:
    queue = play(moves)
    for _ in range(3):
        queue.move(("wait", 86_400))
    for answers in queue.answers.values():
        last = answers[-1]
        assert last.verdict is not Verdict.DEFER
        assert [a.verdict for a in answers[:-1]] in ([], [Verdict.DEFER])
        SEEN["waited"] += last.defer is not None
        if last.defer is not None and last.verdict is Verdict.PERMIT:
            SEEN["got on"] += 1
            assert last.at < last.defer.deadline


def test_agents_who_contend_for_a_lead_all_get_an_answer_in_fair_order_and_never_block_each_other() -> None:
    SEEN.update(dict.fromkeys(SEEN, 0))
    moves_of_many_agents()
    assert SEEN["got on"] > 5, SEEN
    assert SEEN["waited"] > SEEN["got on"], SEEN


@pytest.mark.parametrize("broken", ["_in_fair_order", "judge_again"])
def test_an_unfair_order_and_a_forgotten_request_are_found(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unfair = {"_in_fair_order": lambda draft, waiting: waiting[::-1], "judge_again": lambda draft, dirty: None}
    monkeypatch.setattr(requests, broken, unfair[broken])
    with pytest.raises(AssertionError):
        play(CROWDED)


def test_who_waits_for_long_goes_before_a_newcomer_of_a_later_stage() -> None:
    queue = Queue()
    queue.move(("ask", 0, ("closing", "discuss_price")))
    queue.move(("ask", 1, ("booking", "confirm_availability")))
    queue.move(("wait", 50))
    queue.move(("ask", 0, ("closing", "request_commitment")))
    waiting = queue.story.state().deferrals
    assert [d.request.role for d in waiting] == ["booking"], "the newcomer holds the lead already and goes on"
    queue.move(("ask", 2, ("closing", "request_commitment")))
    queue.move(("wait", 15))
    queue.move(("call", "SILENCE"))
    first = [d.agent_id for d in queue.permits if d.defer is not None]
    assert first[:1] == ["booking-1"]
