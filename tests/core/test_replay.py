"""Same journal, same bytes: through redelivery, crashes at any write, and a second owner of the partition."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processors.offline import MemoryRows
from processors.partition import Gap, Partition
from schemas.codec import KIND_OF, encode
from schemas.jsonio import parse_time
from schemas.records import (
    AgentRequest,
    AnsweredBy,
    CallEvent,
    CallEventType,
    Channel,
    Consent,
    ConsentType,
    CrmEvent,
    CrmEventType,
    Decision,
    EntryKind,
    JournalEntry,
    LeadState,
    Record,
    SegmentStatus,
    Signal,
    SignalType,
    Speaker,
    Tick,
    TranscriptSegment,
    Verdict,
)
from schemas.rows import decode_row
from tests.core.story import COURT, SECOND, Story, activation, default_bundle

START = parse_time("2026-11-18T17:00:00Z")
LEADS = ("ann", "bob")
ACTIONS = [(role, action) for role, envelope in default_bundle().roles.items() for action in envelope.actions]
WORDS = ("yes that works", "stop calling me", "talk to a human", "let us do it", "hello")


def entries() -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """Moves of a journal, as plain tuples that shrink well."""
    lead, conversation = st.sampled_from(LEADS), st.sampled_from(("c1", "c2"))
    call = st.tuples(st.just("call"), lead, conversation, st.sampled_from(list(CallEventType)))
    says = st.tuples(
        st.just("says"),
        lead,
        conversation,
        st.integers(0, 3),
        st.sampled_from(list(SegmentStatus)),
        st.sampled_from(WORDS),
    )
    signal = st.tuples(
        st.just("signal"),
        lead,
        conversation,
        st.sampled_from(list(SignalType)),
        st.integers(0, 3),
        st.sampled_from((0.2, 0.95)),
    )
    ask = st.tuples(st.just("ask"), lead, conversation, st.sampled_from(ACTIONS))
    tick = st.tuples(st.just("tick"), st.sampled_from((1, 30, 200, 4000)))
    return st.lists(st.one_of(call, says, signal, ask, ask, tick), max_size=40)


def journal_of(moves: list[tuple[Any, ...]]) -> list[JournalEntry]:
    """A journal: policy and two known leads, then the moves."""
    bodies: list[tuple[int, Record]] = [(0, activation())]
    for lead in LEADS:
        bodies.append(
            (
                1,
                CrmEvent(
                    event_id=f"u-{lead}",
                    lead_id=lead,
                    type=CrmEventType.LEAD_UPSERTED,
                    external_id=lead,
                    time_zones=("America/New_York",),
                    received_at=START,
                ),
            )
        )
        consent = Consent(channel=Channel.VOICE, type=ConsentType.EXPRESS_WRITTEN)
        bodies.append(
            (
                1,
                CrmEvent(
                    event_id=f"c-{lead}",
                    lead_id=lead,
                    type=CrmEventType.CONSENT_RECORDED,
                    consent=consent,
                    received_at=START,
                ),
            )
        )
    now = START
    journal = []
    for move in moves:
        bodies.append((move[1] if move[0] == "tick" else 1, _body(move, len(bodies))))
    for offset, (after, body) in enumerate(bodies):
        now += after * SECOND
        body = Tick(tick_id=str(offset), at=now) if isinstance(body, Tick) else body
        if isinstance(body, AgentRequest):
            body = AgentRequest(**{f: getattr(body, f) for f in body.__struct_fields__} | {"requested_at": now})
        journal.append(
            JournalEntry(
                entry_id=str(offset),
                lead_id=getattr(body, "lead_id", ""),
                kind=KIND_OF[type(body)],
                at=now,
                source_topic="",
                source_partition=0,
                source_offset=offset,
                body=body,
            )
        )
    return journal


def _body(move: tuple[Any, ...], number: int) -> Record:
    kind = move[0]
    if kind == "call":
        return CallEvent(
            event_id=f"e{number}",
            lead_id=move[1],
            conversation_id=move[2],
            provider="p",
            call_id=move[2],
            type=move[3],
            speaker=Speaker.LEAD,
            answered_by=AnsweredBy.HUMAN,
            duration_ms=20_000,
            received_at=START,
        )
    if kind == "says":
        return TranscriptSegment(
            event_id=f"e{number}",
            lead_id=move[1],
            conversation_id=move[2],
            provider="p",
            call_id=move[2],
            segment_id=f"s{move[3]}",
            status=move[4],
            text=move[5],
            speaker=Speaker.LEAD,
            confidence=0.9,
            received_at=START,
        )
    if kind == "signal":
        return Signal(
            event_id=f"e{number}",
            lead_id=move[1],
            conversation_id=move[2],
            type=move[3],
            confidence=move[5],
            detector="d",
            evidence=(f"s{move[4]}",),
            received_at=START,
        )
    if kind == "ask":
        role, action = move[3]
        parameters = {"discount_bp": 500, "price_minor": 100}
        return AgentRequest(
            request_id=f"r{number}",
            lead_id=move[1],
            conversation_id=move[2],
            agent_id=f"{role}-agent",
            role=role,
            action=action,
            channel=Channel.VOICE,
            parameters=parameters,
            crm_fields={"meeting_at": "x"} if action == "update_crm" else {},
            requested_at=START,
        )
    return Tick(tick_id="", at=START)


def fold(journal: list[JournalEntry]) -> tuple[list[tuple[str, bytes]], dict[bytes, bytes]]:
    """An undisturbed run: outputs as (id, bytes), rows."""
    rows = MemoryRows()
    partition = Partition(0, rows, COURT)
    outputs = [(o.id, encode(o.value)) for i, entry in enumerate(journal) for o in partition.apply(entry, i)]
    rows.rows.update(partition.take_writes())
    return outputs, rows.rows


FAST = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@FAST
@given(entries(), st.data())
def test_crashes_between_any_two_writes_change_no_output_and_no_row(
    moves: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    journal = journal_of(moves)
    expected, expected_rows = fold(journal)
    rows, committed = MemoryRows(), 0
    seen: list[tuple[str, bytes]] = []
    for _ in range(data.draw(st.integers(1, 4), label="crashes")):
        committed = _run_until_crash(journal, rows, committed, seen, data)
    _run(journal, rows, committed, len(journal), seen)
    assert list(dict.fromkeys(seen)) == list(dict.fromkeys(expected))
    assert len({output_id for output_id, _ in seen}) == len(set(seen))
    leads = {key: value for key, value in rows.rows.items() if key.startswith((b"l/", b"p", b"y"))}
    assert leads == {key: value for key, value in expected_rows.items() if key.startswith((b"l/", b"p", b"y"))}


def _run(
    journal: list[JournalEntry], rows: MemoryRows, start: int, end: int, seen: list[tuple[str, bytes]]
) -> list[tuple[bytes, bytes]]:
    """One batch by a new owner: outputs are acknowledged, then rows are given back to be written."""
    partition = Partition(0, rows, COURT)
    for offset in range(start, end):
        seen += [(o.id, encode(o.value)) for o in partition.apply(journal[offset], offset)]
    writes = partition.take_writes()
    rows.rows.update(writes)
    return writes


def _run_until_crash(
    journal: list[JournalEntry], rows: MemoryRows, committed: int, seen: list[tuple[str, bytes]], data: st.DataObject
) -> int:
    """Batches, the last of which dies with a prefix of its rows written and nothing committed."""
    batches = data.draw(st.lists(st.integers(1, 8), max_size=4), label="batches")
    for size in batches:
        end = min(committed + size, len(journal))
        _run(journal, rows, committed, end, seen)
        committed = end
    before = dict(rows.rows)
    end = min(committed + data.draw(st.integers(0, 8), label="dying batch"), len(journal))
    writes = _run(journal, rows, committed, end, seen)
    kept = data.draw(st.integers(0, len(writes)), label="writes that survived")
    rows.rows = before | dict(writes[:kept])
    return committed


@FAST
@given(entries())
def test_a_decision_is_never_a_permit_for_what_its_role_may_not_ask(moves: list[tuple[Any, ...]]) -> None:
    partition = Partition(0, MemoryRows(), COURT)
    for offset, entry in enumerate(journal_of(moves)):
        for output in partition.apply(entry, offset):
            if isinstance(output.value, Decision) and output.value.verdict is Verdict.PERMIT:
                assert output.value.action in default_bundle().roles[output.value.role].actions
                assert output.value.grant
                assert all(not c.reasons for c in output.value.criteria)


@FAST
@given(entries())
def test_every_request_is_decided_and_every_defer_ends(moves: list[tuple[Any, ...]]) -> None:
    journal = journal_of(moves)
    last = journal[-1].at
    for days in range(1, 10):
        body = Tick(tick_id=f"end-{days}", at=last + days * 86_400 * SECOND)
        journal.append(
            JournalEntry(
                entry_id="",
                lead_id="",
                kind=EntryKind.TICK,
                at=body.at,
                source_topic="",
                source_partition=-1,
                source_offset=-1,
                body=body,
            )
        )
    partition, final = Partition(0, MemoryRows(), COURT), {}
    for offset, entry in enumerate(journal):
        for output in partition.apply(entry, offset):
            if isinstance(output.value, Decision):
                final[output.value.request_id] = output.value.verdict
    asked = {e.body.request_id for e in journal if isinstance(e.body, AgentRequest)}
    assert asked <= set(final)
    assert Verdict.DEFER not in final.values()


@FAST
@given(entries())
def test_no_permit_to_contact_follows_an_opt_out(moves: list[tuple[Any, ...]]) -> None:
    partition, out = Partition(0, MemoryRows(), COURT), set()
    for offset, entry in enumerate(journal_of(moves)):
        for output in partition.apply(entry, offset):
            value = output.value
            if isinstance(value, Decision) and value.verdict is Verdict.PERMIT and value.action == "initiate_contact":
                assert value.lead_id not in out
        rows = dict(partition.take_writes())
        for key, value in rows.items():
            if key.startswith(b"l/") and "do_not_contact" in decode_row(LeadState, value).facts:
                out.add(key[2:].decode())


def rich_journal() -> list[JournalEntry]:
    """A fixed journal in which defers, leases, grants, cases and policies begin and end."""
    story = Story()
    story.answered_call()
    story.ask("booking", "initiate_contact", conversation=None, agent="waits-for-the-call")
    story.ask("closing", "discuss_price")
    story.wait(30)
    story.tell(activation(default_bundle().model_copy(update={"version": "second"}), revision=2))
    story.confirm("TIMING_ACCEPTANCE", "SCOPE_CONFIRMED", "READINESS", "LANGUAGE_COMMITMENT")
    story.ask("closing", "request_commitment", agent="closer-2")
    story.ask("closing", "offer_discount", parameters={"discount_bp": 9000})
    story.wait(61)
    story.wait(130)
    story.call("BARGE_IN")
    story.ask("booking", "update_crm", conversation=None, channel=Channel.BACKEND, crm_fields={"meeting_at": "x"})
    story.ask("qualification", "probe_scope")
    story.hang_up()
    story.ask("booking", "initiate_contact", conversation=None, agent="too-soon")
    story.wait(1800)
    story.wait(2000)
    story.ask("booking", "initiate_contact", conversation=None, agent="again")
    story.call("CALL_INITIATED", "c2")
    story.wait(1000)
    story.says("stop calling", conversation="c2")
    story.wait(4000)
    return story.journal


@pytest.mark.parametrize("batch", [1, 2, 5, 9])
def test_a_crash_at_every_place_of_a_rich_journal_changes_nothing(batch: int) -> None:
    journal = rich_journal()
    expected, expected_rows = fold(journal)
    by_id = dict(expected)
    for committed in range(len(journal)):
        start = MemoryRows()
        _run(journal, start, 0, committed, [])
        end = min(committed + batch, len(journal))
        torn = MemoryRows()
        torn.rows = dict(start.rows)
        writes = _run(journal, torn, committed, end, [])
        for kept in range(len(writes) + 1):
            rows, seen = MemoryRows(), []
            rows.rows = start.rows | dict(writes[:kept])
            _run(journal, rows, committed, min(end + 3, len(journal)), seen)
            assert all(by_id[output_id] == value for output_id, value in seen), (committed, kept)
            after, again = MemoryRows(), []
            after.rows = rows.rows
            _run(journal, after, min(end + 3, len(journal)), len(journal), again)
            missing = {o for o, _ in expected if o not in dict(seen) and o not in dict(again)}
            assert missing <= {o for o, _ in fold(journal[:end])[0]}, (committed, kept)
            assert {k: v for k, v in after.rows.items() if k[:1] != b"t"} == {
                k: v for k, v in expected_rows.items() if k[:1] != b"t"
            }, (committed, kept)


def test_a_tick_that_meets_a_lead_too_early_changes_nothing_also_after_another_policy_came() -> None:
    # Nothing happens to the lead between the policy and the next call: only its timers, and only when they are due.
    story = Story()
    story.answered_call()
    story.ask("closing", "discuss_price")
    story.tell(activation(default_bundle().model_copy(update={"version": "second"}), revision=2))
    story.wait(1)
    story.wait(4000)
    journal = story.journal
    expected, expected_rows = fold(journal)
    for restart in range(len(journal)):
        rows, seen = MemoryRows(), []
        _run(journal, rows, 0, restart, seen)
        rows.rows.update({key: b"0" for key in rows.rows if key.startswith(b"t/")})
        _run(journal, rows, restart, len(journal), seen)
        assert seen == expected
        assert {k: v for k, v in rows.rows.items() if k[:2] != b"t/"} == {
            k: v for k, v in expected_rows.items() if k[:2] != b"t/"
        }


def test_an_entry_that_a_row_already_holds_gives_nothing_again() -> None:
    story = Story()
    story.ask("booking", "initiate_contact", conversation=None, request_id="r")
    story.ask("booking", "send_message", conversation=None, channel=Channel.SMS, request_id="r")
    conflict = len(story.journal) - 1
    story.call("CALL_INITIATED")
    next_owner = Partition(0, story.rows, COURT)
    assert next_owner.apply(story.journal[conflict], conflict) == []


def test_a_gap_in_the_journal_is_refused() -> None:
    journal = journal_of([("call", "ann", "c1", CallEventType.CALL_INITIATED)] * 3)
    partition = Partition(0, MemoryRows(), COURT)
    partition.apply(journal[0], 0)
    with pytest.raises(Gap, match="1 entries are missing"):
        partition.apply(journal[2], 2)
