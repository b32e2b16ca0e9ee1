"""When control is behind, requests that can't be answered in time are not judged; events are folded all the same."""

import msgspec

from processors.fold import step
from processors.law import compile_law
from processors.lead import new_lead
from schemas.codec import KIND_OF
from schemas.records import (
    AgentId,
    AgentRequest,
    CallEvent,
    CallEventType,
    Channel,
    Decision,
    JournalEntry,
    LeadId,
    Position,
    Record,
    RequestId,
    Verdict,
)
from schemas.rows import encode_row
from tests.core.story import COURT, SECOND, Story, activation

LEAD = LeadId("lead-1")
POLICY = activation()
LAW = compile_law(POLICY.bundle, POLICY.digest, POLICY.revision)


def told() -> Story:
    """A lead who may be written to."""
    return Story()


def entry(story: Story, body: Record, behind_s: float = 0.0) -> JournalEntry:
    return JournalEntry(
        entry_id="e", lead_id=LEAD, kind=KIND_OF[type(body)], at=story.now, source_topic="", source_partition=0,
        source_offset=0, behind_us=round(behind_s * SECOND), body=body,
    )  # fmt: skip


def asked(story: Story, deadline_s: float | None = None, asked_s: float = 0.0) -> AgentRequest:
    return AgentRequest(
        request_id=RequestId("r1"), lead_id=LEAD, agent_id=AgentId("booking-1"), role="booking", action="send_message",
        channel=Channel.SMS, text="Hello.", requested_at=story.now - round(asked_s * SECOND),
        deadline=None if deadline_s is None else story.now + round(deadline_s * SECOND),
    )  # fmt: skip


def answer(story: Story, given: JournalEntry) -> Decision:
    outputs = story.partition.apply(given, len(story.journal))
    (decision,) = [output.value for output in outputs if isinstance(output.value, Decision)]
    return decision


def codes(decision: Decision) -> set[str]:
    return {reason.code for criterion in decision.criteria for reason in criterion.reasons}


def test_a_request_that_will_be_answered_in_time_is_judged_though_control_is_behind():
    story = told()
    decision = answer(story, entry(story, asked(story, deadline_s=5), behind_s=4.9))
    assert decision.verdict is Verdict.PERMIT


def test_a_request_whose_deadline_is_over_before_control_comes_to_it_is_not_judged():
    story = told()
    decision = answer(story, entry(story, asked(story, deadline_s=5), behind_s=5))
    assert (decision.verdict, codes(decision)) == (Verdict.BLOCK, {"TOO_LATE"})
    assert decision.grant is None
    assert not decision.read_set
    assert all(criterion.verdict is Verdict.BLOCK for criterion in decision.criteria)
    assert "5.0 s behind" in decision.criteria[0].reasons[0].message


def test_the_policys_age_is_the_deadline_of_a_request_that_has_none():
    for asked_s, behind_s, verdict in ((0, 29, Verdict.PERMIT), (0, 31, Verdict.BLOCK), (20, 11, Verdict.BLOCK)):
        story = told()
        decision = answer(story, entry(story, asked(story, asked_s=asked_s), behind_s=behind_s))
        assert decision.verdict is verdict, (asked_s, behind_s)


def test_an_event_is_folded_however_far_behind_control_is():
    story = told()
    event = CallEvent(
        event_id="c1", lead_id=LEAD, provider="twilio", call_id="CA1", type=CallEventType.CALL_RINGING,
        received_at=story.now,
    )  # fmt: skip
    position = Position(partition=0, offset=0)
    rows = [
        encode_row(step(new_lead(LEAD), entry(story, event, behind_s), position, COURT, LAW).state)
        for behind_s in (0.0, 3_600.0)
    ]
    assert rows[0] == rows[1] != encode_row(new_lead(LEAD))


def test_the_measure_is_part_of_the_entry_so_a_replay_gives_the_same_bytes():
    answers = []
    for _ in range(2):
        story = told()
        answers.append(msgspec.msgpack.encode(answer(story, entry(story, asked(story, deadline_s=5), behind_s=7))))
    assert answers[0] == answers[1]


def test_a_late_request_that_comes_again_gets_no_second_answer():
    story = told()
    late = entry(story, asked(story, deadline_s=5), behind_s=7)
    answer(story, late)
    again = msgspec.structs.replace(late, behind_us=0)
    outputs = story.partition.apply(again, len(story.journal) + 1)
    assert not [output for output in outputs if isinstance(output.value, Decision)]
