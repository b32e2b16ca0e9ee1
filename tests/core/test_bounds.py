"""A row stays under 64 KiB whatever comes, and what must not be forgotten is not forgotten."""

from collections.abc import Callable
from random import Random

import pytest

from processors.draft import Output
from processors.fold import step
from processors.law import compile_law
from processors.lead import MAX_JUDGED, new_lead
from schemas.codec import KIND_OF
from schemas.jsonio import parse_time
from schemas.records import (
    AgentOutcome,
    AgentRequest,
    CallEvent,
    CallEventType,
    Channel,
    Consent,
    ConsentType,
    CrmEvent,
    CrmEventType,
    Decision,
    Directive,
    HumanIntervention,
    InterventionType,
    JournalEntry,
    LeadState,
    MessageEvent,
    MessageEventType,
    OutcomeResult,
    Position,
    ReasonCode,
    Record,
    SegmentStatus,
    Signal,
    SignalType,
    Speaker,
    TranscriptSegment,
    Transition,
    Verdict,
)
from schemas.rows import encode_row
from tests.core.simulation.bodies import bundle
from tests.core.simulation.moves import ASKED, EFFECTS
from tests.core.story import COURT, NOON_NEW_YORK, SECOND, Story, activation

EVENTS = 100_000
BOUND = 64 * 1024
LONG = "x" * 160
"""With a number behind it, about the longest id that intake takes."""
LEAD = "lead-1"


class Row:
    """One lead's row, folded entry by entry without a partition around it."""

    def __init__(self) -> None:
        policy = activation(bundle())
        self.law = compile_law(policy.bundle, policy.digest)
        self.state: LeadState = new_lead(LEAD)
        self.now = parse_time(NOON_NEW_YORK)
        self.offset = 0
        self.permits: list[Decision] = []
        self.last: Record = _crm(self, CrmEventType.UNKNOWN)

    def fold(self, body: Record, after_s: float = 1) -> tuple[Output, ...]:
        self.now += int(after_s * SECOND)
        self.offset += 1
        self.last = body
        entry = JournalEntry(
            entry_id="", lead_id=LEAD, kind=KIND_OF[type(body)], at=self.now, source_topic="", source_partition=0,
            source_offset=self.offset, body=body,
        )  # fmt: skip
        change = step(self.state, entry, Position(partition=0, offset=self.offset), COURT, self.law)
        self.state = change.state
        found = [o.value for o in change.outputs if isinstance(o.value, Decision) and o.value.verdict is Verdict.PERMIT]
        self.permits = [*self.permits, *found][-20:]
        return change.outputs

    # --- hostile events; `n` is fresh
    def call(self, random: Random, n: int) -> Record:
        kind = random.choice(tuple(CallEventType))
        return CallEvent(
            event_id=f"e{n}", lead_id=LEAD, conversation_id=f"{LONG}{n // random.choice((1, 7, 50))}", provider="p",
            call_id=LONG, type=kind, leg_id=f"{LONG}{n}", sequence=n * 3, sequence_scope=f"{LONG}{n % 7}",
            agent_id=f"{LONG}{n % 3}", received_at=self.now,
        )  # fmt: skip

    def says(self, random: Random, n: int) -> Record:
        text = random.choice(
            ("stop talking", "guaranteed results", "this call is recorded, I am an AI", "")
        ) + "語" * random.choice((0, 300, 7_900))
        return TranscriptSegment(
            event_id=f"e{n}", lead_id=LEAD, conversation_id=f"{LONG}{n // random.choice((1, 7, 50))}", provider="p",
            call_id=LONG, segment_id=f"{LONG}{n % 500}", status=random.choice(tuple(SegmentStatus)), text=text,
            speaker=random.choice((Speaker.LEAD, Speaker.AGENT)), confidence=0.9, received_at=self.now,
        )  # fmt: skip

    def interim(self, random: Random, n: int) -> Record:
        return TranscriptSegment(
            event_id=f"e{n}", lead_id=LEAD, conversation_id=LONG, provider="p", call_id=LONG, segment_id=f"{LONG}{n}",
            status=SegmentStatus.INTERIM, text=LONG, speaker=Speaker.LEAD, received_at=self.now,
        )  # fmt: skip

    def repeat(self, random: Random, n: int) -> Record:
        return self.last

    def message(self, random: Random, n: int) -> Record:
        return MessageEvent(
            event_id=f"e{n}", lead_id=LEAD, conversation_id=f"{LONG}m{n}", provider="p", message_id=f"{LONG}{n}",
            channel=Channel.SMS, type=random.choice(tuple(MessageEventType)), received_at=self.now,
            text="語" * random.choice((0, 300, 8_000)),
        )  # fmt: skip

    def signal(self, random: Random, n: int) -> Record:
        kinds = [kind for kind in SignalType if kind not in (SignalType.OPT_OUT, SignalType.CONSENT_WITHDRAWN)]
        return Signal(
            event_id=f"e{n}", lead_id=LEAD, conversation_id=f"{LONG}{n // 9}", type=random.choice(kinds),
            subject=f"{LONG}{n}", confidence=0.99, detector=LONG, denies=random.choice((False, False, True)),
            evidence=tuple(f"{LONG}{random.randrange(500)}" for _ in range(random.choice((1, 5, 100)))),
            received_at=self.now,
        )  # fmt: skip

    def crm(self, random: Random, n: int) -> Record:
        kind = random.choice(
            (CrmEventType.LEAD_UPSERTED, CrmEventType.CONSENT_RECORDED, CrmEventType.CONSENT_WITHDRAWN)
        )
        consent = Consent(channel=Channel.EMAIL, purpose=f"{LONG}{n}", type=ConsentType.EXPRESS, proof=f"{LONG}{n}")
        names = tuple(f"{LONG}{i}" for i in range(100))
        return CrmEvent(
            event_id=f"e{n}", lead_id=LEAD, type=kind, external_id=f"{LONG}{n}", time_zones=names, jurisdictions=names,
            consent=consent, received_at=self.now,
        )  # fmt: skip

    def ask(self, random: Random, n: int) -> Record:
        role, action = random.choice(ASKED)
        conversations = [c.conversation_id for c in self.state.conversations if c.ended_at is None]
        return AgentRequest(
            request_id=f"{LONG}{n}", lead_id=LEAD, agent_id=f"{LONG}{n % 40}", role=role,
            action=random.choice((action, action, f"{LONG}{n}")),
            channel=random.choice((Channel.VOICE, Channel.BACKEND)),
            conversation_id=random.choice((None, *conversations)), requested_at=self.now,
            parameters={f"p{i}": LONG * 4 for i in range(random.choice((0, 1, 100)))} | {"discount_bp": 100},
            crm_fields={"deal_status": "x"} if action == "update_crm" else {},
        )  # fmt: skip

    def outcome(self, random: Random, n: int) -> Record:
        permit = random.choice(self.permits) if self.permits else None
        return AgentOutcome(
            outcome_id=f"{LONG}{n}", lead_id=LEAD, conversation_id=f"{LONG}{n}",
            agent_id=permit.agent_id if permit else LONG, request_id=permit.request_id if permit else LONG,
            grant_id=(permit.grant_id if permit else None) or LONG, result=random.choice(tuple(OutcomeResult)),
            fulfilled=permit.obligations if permit else (), detail="語" * 8_000, occurred_at=self.now,
        )  # fmt: skip

    def human(self, random: Random, n: int) -> Record:
        kinds = [k for k in InterventionType if k is not InterventionType.CASE_RESOLVED]
        waiting = [j.request_id for j in self.state.judged]
        return HumanIntervention(
            intervention_id=f"{LONG}{n}", lead_id=LEAD, author=LONG, author_role=LONG,
            type=random.choice((*kinds, InterventionType.RESUME)), reason="語" * 8_000,
            effects=random.choice((EFFECTS[:4], tuple(f"{LONG}{i}" for i in range(100)))),
            until=self.now + 3600 * SECOND, occurred_at=self.now, request_id=random.choice((*waiting, "none")),
        )  # fmt: skip


def told_first(row: Row) -> None:
    """What stands from the beginning and must stand at the end."""
    for channel in (Channel.VOICE, Channel.SMS):
        row.fold(_crm(row, CrmEventType.CONSENT_RECORDED, Consent(channel=channel, type=ConsentType.EXPRESS_WRITTEN)))
    row.fold(_crm(row, CrmEventType.DO_NOT_CONTACT_SET, scope="sms"))
    row.fold(_signal(row, SignalType.ASKS_FOR_HUMAN))
    row.fold(_signal(row, SignalType.OPT_OUT))
    row.fold(
        HumanIntervention(
            intervention_id="no", lead_id=LEAD, type=InterventionType.REFUSE, author="ann", author_role="supervisor",
            reason="because", effects=("discount",), occurred_at=row.now,
        )
    )  # fmt: skip


def _crm(row: Row, kind: CrmEventType, consent: Consent | None = None, scope: str = "") -> CrmEvent:
    name = f"{kind}-{row.offset}"
    return CrmEvent(event_id=name, lead_id=LEAD, type=kind, consent=consent, scope=scope, received_at=row.now)


def _signal(row: Row, kind: SignalType) -> Signal:
    return Signal(event_id=f"{kind}", lead_id=LEAD, type=kind, confidence=0.9, detector="d", received_at=row.now)


KINDS: tuple[Callable[[Row, Random, int], Record], ...] = (
    Row.call, Row.call, Row.says, Row.says, Row.message, Row.signal, Row.signal, Row.crm, Row.ask, Row.ask, Row.outcome,
    Row.human, Row.repeat, Row.interim, Row.interim, Row.interim, Row.interim, Row.interim, Row.interim,
)  # fmt: skip


def flood(row: Row, events: int) -> int:
    """Hostile events, one after the other; the largest that the row was."""
    random, largest = Random(4), 0
    for n in range(events):
        row.fold(random.choice(KINDS)(row, random, n), after_s=random.choice((0, 0, 0.1, 5)))
        if n % 1_000 == 0 or n < 2_000:
            largest = max(largest, len(encode_row(row.state)))
            assert largest < BOUND, n
    return largest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_hostile_events_stay_under_64_kib_and_no_no_no_consent_and_no_case_is_forgotten() -> None:
    row = Row()
    told_first(row)
    case = row.state.cases[0]
    assert flood(row, EVENTS) > BOUND // 4
    facts = {name: fact.value for name, fact in row.state.facts.items()}
    assert (facts["do_not_contact"], facts["do_not_contact.sms"]) == ("buyer", "crm")
    assert facts["refused.discount"] in ("human", "buyer")
    assert any((r.by, r.effect, r.until) == ("human", "discount", None) for r in row.state.refusals)
    assert (facts["consent.voice.sales"], facts["consent.sms.sales"]) == ("EXPRESS_WRITTEN", "EXPRESS_WRITTEN")
    assert case.case_id in {open_case.case_id for open_case in row.state.cases}


def test_a_lead_who_may_be_contacted_stays_under_64_kib_too() -> None:
    assert flood(Row(), 10_000) > BOUND // 4


def test_a_conversation_that_a_row_forgets_leaves_by_transitions() -> None:
    story = Story()
    for n in range(12):
        story.call("CALL_INITIATED", f"c{n}")
        story.hang_up(f"c{n}")
    told: dict[str, str] = {}
    for transition in story.of(Transition):
        told[transition.fact] = transition.new_value
    forgotten = {name for name in told if name.endswith("/c0") and not name.startswith("attempts/")}
    assert forgotten
    assert {told[name] for name in forgotten} == {""}
    assert {n: v for n, v in told.items() if v and "/" not in n} == {
        name: fact.value for name, fact in story.state().facts.items() if "/" not in name
    }


def test_two_orders_of_one_entry_for_one_call_are_two_records() -> None:
    story = Story()
    story.call("CALL_INITIATED", "c1")
    orders = [value for value in story.call("BARGE_IN", "c2") if isinstance(value, Directive)]
    assert [order.code for order in orders] == [ReasonCode.CALL_IN_PROGRESS, ReasonCode.LEAD_SPEAKING]
    assert len({order.directive_id for order in orders}) == 2


def test_of_conversations_that_never_end_the_silent_one_ends() -> None:
    story = Story()
    for n in range(5):
        story.call("CALL_INITIATED", f"c{n}")
    going_on = [c.conversation_id for c in story.state().conversations if c.ended_at is None]
    assert going_on == ["c2", "c3", "c4"]


def test_a_claim_that_rests_on_more_words_than_a_row_can_hold_confirms_nothing() -> None:
    story = Story()
    story.answered_call()
    said = [story.says(f"sentence {n}") for n in range(9)]
    story.signal("SCOPE_CONFIRMED", *said)
    assert story.fact("intent.scope") == ""
    story.signal("SCOPE_CONFIRMED", *said[:8])
    assert story.fact("intent.scope") == "confirmed"


def test_a_request_that_waits_is_known_however_many_come_after_it() -> None:
    story = Story()
    story.ready_to_close()
    story.ask("closing", "discuss_price", agent="first")
    waits = story.ask("closing", "request_commitment", agent="second", request_id="waits")
    assert waits.verdict is Verdict.DEFER
    for _ in range(MAX_JUDGED + 1):
        story.ask("wizard", "discuss_price", requested_at=story.now)
    body = next(e.body for e in story.journal if isinstance(e.body, AgentRequest) and e.body.request_id == "waits")
    assert [value for value in story.tell(body) if isinstance(value, Decision)] == [], "a repeat is answered by the log"
