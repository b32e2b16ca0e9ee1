"""What one judgement costs: a bundle of 200 rules, or ten times as many, on a lead that is busy; no broker, no disk.

The lead is in a call, ready to close, with 200 segments heard and 40 facts; the rules are the default bundle's and
more of each kind, CEL among them, about all actions. Times are of one core, garbage collection off, after a warm-up.
"""

import gc
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import msgspec

from processors.authority import Court
from processors.draft import Draft
from processors.fold import step
from processors.hearing import Situation
from processors.judge import judge
from processors.law import Law, compile_law
from processors.policy import Bundle, Rule, parse_bundle
from schemas.records import (
    AgentRequest,
    CallEvent,
    Channel,
    Consent,
    ConsentType,
    CrmEventType,
    EntryKind,
    JournalEntry,
    LeadState,
    Position,
    SegmentStatus,
    TranscriptSegment,
    Verdict,
)
from schemas.rows import decode_row, encode_row
from tests.benchmarks.figures import percentiles, table
from tests.core.story import COURT, SECOND, Story, default_bundle

LIMITS_US = {
    "judge, 200 rules": (100.0, 250.0),
    "fold an interim transcript": (25.0, None),
    "encode + decode a row of 8 KiB": (40.0, None),
}
"""What the figures are held against: p50 and p99, in µs."""
_ASKED = (
    ("closing", "capture_commitment", {"price_minor": 100_000}),
    ("closing", "offer_discount", {"discount_bp": 500}),
    ("closing", "discuss_price", {}),
    ("closing", "request_commitment", {}),
    ("qualification", "probe_scope", {}),
    ("transfer", "route_call", {}),
)
_EXTRA = (
    {"kind": "fact_not_in", "fact": "crm.status", "values": ["lost-{}"]},
    {"kind": "fact_absent", "fact": "conversation.hold"},
    {"kind": "fact_not_in", "fact": "conversation.answered_by", "values": ["FAX"]},
    {"kind": "intent_confirmed", "intent": "scope"},
    {"kind": "condition", "cel": '!("risk" in facts) || facts["risk"] != "high-{}"'},
)


def bundle_of(rules: int) -> Bundle:
    """The default bundle with so many rules: each further one is about one action, in turn."""
    bundle = default_bundle()
    actions = cycle(bundle.actions)
    extra = []
    for number in range(rules - len(bundle.rules)):
        check = {
            key: value.format(number) if isinstance(value, str) else [item.format(number) for item in value]
            for key, value in _EXTRA[number // len(bundle.actions) % len(_EXTRA)].items()
        }
        extra.append(
            Rule.model_validate(
                {
                    "id": f"more-{number}", "criterion": "GOVERNANCE", "title": "One more", "actions": [next(actions)],
                    "check": check, "code": "CONDITION_NOT_MET", "message": "It does not hold.",
                }
            )
        )  # fmt: skip
    return bundle.model_copy(update={"rules": (*bundle.rules, *extra)})


def law_of(rules: int) -> Law:
    """A compiled law, read from its own text as control does."""
    bundle = parse_bundle(bundle_of(rules).canonical_json())
    return compile_law(bundle.canonical_json(), bundle.digest(), 1)


def busy_lead() -> Story:
    """A lead ready to close, with 200 segments heard and at least 40 facts."""
    story = Story()
    story.ready_to_close()
    for number in range(200):
        story.says(f"and this is the sentence number {number} about the rollout to the second team")
    for number in range(8):
        story.signal("OBJECTION_RAISED", subject=f"subject-{number}")
        story.signal("OBJECTION_RESOLVED", story.says("fine"), subject=f"subject-{number}")
    for purpose in ("service", "billing", "survey", "events", "research", "partners", "news"):
        for channel in (Channel.EMAIL, Channel.SMS):
            consent = Consent(channel=channel, purpose=purpose, type=ConsentType.EXPRESS)
            story.crm(CrmEventType.CONSENT_RECORDED, consent=consent)
    count = len(story.state().facts)
    assert count >= 40, f"{count} facts"
    return story


def row_of(size: int) -> LeadState:
    """The row of a lead ready to close whose call went on until the row had this size in bytes."""
    story = Story()
    story.ready_to_close()
    while len(encode_row(story.state())) < size:
        story.says(f"and this is another sentence about the rollout, said at {story.now}")
    return story.state()


def _requests(story: Story) -> list[AgentRequest]:
    return [
        AgentRequest(
            request_id=f"bench-{number}", lead_id=story.lead, conversation_id="c1", agent_id=f"{role}-agent", role=role,
            action=action, channel=Channel.VOICE, parameters=parameters, requested_at=story.now,
        )
        for number, (role, action, parameters) in enumerate(_ASKED)
    ]  # fmt: skip


class Bench:
    """Times work in µs, each call by itself."""

    def __init__(self, times: int) -> None:
        self._times = times
        self.parts: dict[str, dict[str, float]] = {}

    def time(self, part: str, work: Callable[[int], object]) -> None:
        """Does the work so often, after a tenth of that for warm-up. It is told its number."""
        for number in range(self._times // 10):
            work(number)
        samples = []
        for number in range(self._times):
            began = time.perf_counter_ns()
            work(number)
            samples.append((time.perf_counter_ns() - began) / 1_000)
        self.parts[part] = percentiles(samples, 1)


class _Unsigned:
    """Signs nothing: what is left of a permit without the signature."""

    kid = ""

    def sign(self, claims: dict[str, Any]) -> str:
        return "unsigned"


def measure(times: int) -> dict[str, Any]:
    """Percentiles of each part in µs."""
    story = busy_lead()
    state, requests = story.state(), _requests(story)
    laws = {rules: law_of(rules) for rules in (200, 2_000)}
    bench = Bench(times)
    gc.collect()
    gc.disable()
    try:
        for rules, law in laws.items():
            situation = Situation(state.facts, state.attempts, story.now, law)
            verdicts = {judge(request, situation, story.now).verdict for request in requests}
            assert {Verdict.PERMIT, Verdict.BLOCK} <= verdicts, verdicts
            bench.time(f"judge, {rules} rules", _judging(requests, situation, story.now))
        _fold(bench, story, state, requests, laws[200])
        row = row_of(8_192)
        bench.time("encode + decode a row of 8 KiB", lambda _: decode_row(LeadState, encode_row(row)))
    finally:
        gc.enable()
    return {
        "times": times, "rules": {n: _met(law, requests) for n, law in laws.items()}, "facts": len(state.facts),
        "row_bytes": len(encode_row(row)), "busy_row_bytes": len(encode_row(state)), "parts": bench.parts,
    }  # fmt: skip


def _met(law: Law, requests: list[AgentRequest]) -> float:
    """Rules that one request meets, on average."""
    return round(sum(len(law.rules_for(r.action, r.role, 0)) for r in requests) / len(requests), 1)


def _judging(requests: list[AgentRequest], situation: Situation, now: int) -> Callable[[int], object]:
    return lambda number: judge(requests[number % len(requests)], situation, now)


def _fold(bench: Bench, story: Story, state: LeadState, requests: list[AgentRequest], law: Law) -> None:
    """Whole entries: the verdict with decision, transitions and the new row; and what comes most often."""
    offset = state.applied_offset + 1
    position = Position(partition=0, offset=offset)
    unsigned = Court(_Unsigned(), {})  # type: ignore[arg-type]
    asked = [_entry(EntryKind.REQUEST, request, story.now) for request in requests]
    bench.time("fold a request, unsigned", lambda n: step(state, asked[n % len(asked)], position, unsigned, law))
    bench.time("fold a request, signed", lambda n: step(state, asked[n % len(asked)], position, COURT, law))
    interim, final = (_entry(EntryKind.TRANSCRIPT, _said(story, status), story.now) for status in ("INTERIM", "FINAL"))
    bench.time("fold an interim transcript", lambda _: step(state, interim, position, COURT, law))
    bench.time("fold a final transcript", lambda _: step(state, final, position, COURT, law))
    speech = next(e for e in story.journal if isinstance(e.body, CallEvent))
    started = msgspec.structs.replace(
        speech, body=msgspec.structs.replace(speech.body, event_id="bench-call", type="SPEECH_STARTED", speaker="LEAD")
    )
    bench.time("fold a call event", lambda _: step(state, started, position, COURT, law))
    draft = Draft(state, asked[0], position, COURT, law)
    draft.set_fact("risk", "high")
    bench.time("the new row", lambda _: draft.freeze())


def _said(story: Story, status: str) -> TranscriptSegment:
    return TranscriptSegment(
        event_id=f"bench-{status}", lead_id=story.lead, conversation_id="c1", provider="twilio", call_id="c1",
        segment_id="bench", status=SegmentStatus(status), text="we would want to begin with the second team in march",
        speaker="LEAD", received_at=story.now,
    )  # fmt: skip


def _entry(kind: EntryKind, body: Any, at: int) -> JournalEntry:
    return JournalEntry(
        entry_id="bench", lead_id=body.lead_id, kind=kind, at=at + SECOND, source_topic="", source_partition=0,
        source_offset=0, body=body,
    )  # fmt: skip


def show(report: dict[str, Any]) -> str:
    """The report for people, with the limits beside the figures."""
    rows = []
    for part, figures in report["parts"].items():
        p50, p99 = LIMITS_US.get(part, (None, None))
        limit = " ".join(f"p{q} <= {v:g}" for q, v in ((50, p50), (99, p99)) if v is not None)
        rows.append((part, figures["p50"], figures["p95"], figures["p99"], figures["max"], limit))
    parts = report["parts"]
    ratio = parts["judge, 2000 rules"]["p50"] / parts["judge, 200 rules"]["p50"]
    met = ", ".join(f"{number} of {rules}" for rules, number in report["rules"].items())
    return "\n".join(
        [
            f"Judging on a lead with {report['facts']} facts (row: {report['busy_row_bytes']} bytes); µs, "
            f"{report['times']} times each. A request meets {met} rules.",
            table(("part", "p50", "p95", "p99", "max", "to hold"), rows),
            f"2,000 rules cost {ratio:.2f} x 200 (to hold: < 2).",
        ]
    )


def missed(report: dict[str, Any]) -> list[str]:
    """Limits that the figures do not keep."""
    found = []
    for part, limits in LIMITS_US.items():
        for quantile, limit in zip(("p50", "p99"), limits, strict=True):
            figure = report["parts"][part][quantile]
            if limit is not None and figure > limit:
                found.append(f"{part}: {quantile} is {figure} µs, more than {limit:g}")
    return found
