"""One call, told by each style of line, becomes the same canonical events at intake."""

import random
from collections.abc import Iterable

import pytest

from deploy.demo.emission import Emission
from deploy.demo.shapes import STYLES, Line, Moment, conversation_of
from deploy.demo.shapes.moments import Happens
from processors.intake import Admitted, Source, admit
from schemas.records import (
    AnsweredBy,
    CallDirectoryEntry,
    CallEvent,
    CallEventType,
    LeadId,
    Record,
    SegmentStatus,
    Speaker,
    TranscriptSegment,
)

START = 1_763_562_600_000_000
SECOND = 1_000_000
CALL = (
    Moment(Happens.INITIATED, START),
    Moment(Happens.RINGING, START + SECOND),
    Moment(Happens.ANSWERED, START + 6 * SECOND),
    Moment(Happens.MACHINE, START + 8 * SECOND, answered_by=AnsweredBy.HUMAN),
    Moment(Happens.SPEECH_STARTED, START + 9 * SECOND, Speaker.LEAD, utterance=1),
    Moment(Happens.INTERIM, START + 10 * SECOND, Speaker.LEAD, "next", utterance=1, confidence=0.9),
    Moment(Happens.FINAL, START + 11 * SECOND, Speaker.LEAD, "next month", utterance=1, confidence=0.95),
    Moment(Happens.SPEECH_STOPPED, START + 12 * SECOND, Speaker.LEAD, utterance=1),
    Moment(Happens.TRANSFER_STARTED, START + 13 * SECOND),
    Moment(Happens.TRANSFER_COMPLETED, START + 15 * SECOND),
    Moment(Happens.ENDED, START + 60 * SECOND),
)


def told(style: str, *, late: int = 0) -> tuple[Line, list[Emission]]:
    line = Line(LeadId("lead-1"), "booking-1", "+15555550123", random.Random(5))
    line.answered_at = START + 6 * SECOND
    moments = (Moment(m.what, m.at, m.speaker, m.text, m.utterance, m.confidence, late=late) for m in CALL)
    return line, [emission for moment in moments for shape in STYLES[style] for emission in shape(line, moment)]


def admitted(emissions: Iterable[Emission]) -> list[Record]:
    """What intake makes of them, in order; whatever it refuses fails the test."""
    directory: dict[tuple[str, str], CallDirectoryEntry] = {}
    found: list[Record] = []
    for number, emission in enumerate(emissions):
        assert isinstance(emission.value, Record)
        outcome = admit(emission.value, Source(emission.topic, 0, number), emission.at, directory)
        assert isinstance(outcome, Admitted), outcome
        directory |= {(entry.provider, entry.call_id): entry for entry in outcome.learned}
        assert tuple(entry.entry_id for entry in outcome.entries) == emission.entries
        found += [entry.body for entry in outcome.entries]
    return found


@pytest.mark.parametrize("style", sorted(STYLES))
def test_every_style_tells_of_the_whole_call(style: str) -> None:
    types = [event.type for event in admitted(told(style)[1]) if isinstance(event, CallEvent)]
    for needed in ("CALL_INITIATED", "CALL_ANSWERED", "MACHINE_DETECTED", "TRANSFER_COMPLETED", "CALL_ENDED"):
        assert CallEventType(needed) in types


@pytest.mark.parametrize("style", sorted(STYLES))
def test_every_event_belongs_to_the_lead_and_its_conversation(style: str) -> None:
    line, emissions = told(style)
    events = [event for event in admitted(emissions) if isinstance(event, CallEvent | TranscriptSegment)]
    assert {event.lead_id for event in events} == {"lead-1"}
    assert {event.conversation_id for event in events} == {conversation_of(style, line)}


@pytest.mark.parametrize("style", sorted(STYLES))
def test_final_words_of_the_lead_have_the_segment_id_that_a_detector_names(style: str) -> None:
    emissions = told(style)[1]
    named = {emission.segment_id for emission in emissions if emission.segment_id}
    final = [s for s in admitted(emissions) if isinstance(s, TranscriptSegment) and s.status is SegmentStatus.FINAL]
    assert [(s.speaker, s.text) for s in final] == [(Speaker.LEAD, "next month")]
    assert final[0].segment_id in named


@pytest.mark.parametrize("style", sorted(STYLES))
def test_a_provider_that_is_late_arrives_late_and_says_when_it_happened(style: str) -> None:
    late = told(style, late=9 * SECOND)[1]
    assert min(emission.at for emission in late) == START + 9 * SECOND
    first = next(event for event in admitted(late) if isinstance(event, CallEvent))
    assert first.occurred_at == START


def test_half_of_the_styles_of_ordinary_lines_are_raw() -> None:
    raw = [style for style in STYLES if told(style)[1][0].topic == "perception.raw"]
    assert sorted(raw) == ["telnyx", "twilio", "twilio+deepgram"]
