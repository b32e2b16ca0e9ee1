"""The words that append a record about a lead, and a step as it was read."""

from typing import Any, NamedTuple

from processors.scenarios.source import BadScenario
from schemas.records import (
    AgentOutcome,
    AgentRequest,
    CallEvent,
    CrmEvent,
    HumanIntervention,
    MessageEvent,
    Record,
    Signal,
    TranscriptSegment,
)


class Word(NamedTuple):
    """A word that makes a record: which field its name goes to, what it is about when only a scalar is given."""

    record: type[Record]
    id_field: str
    scalar: str
    preset: dict[str, Any]


_SPOKEN = {"status": "FINAL", "speaker": "LEAD", "confidence": 0.95}
WORDS: dict[str, Word] = {
    "ask": Word(AgentRequest, "request_id", "", {"channel": "VOICE"}),
    "report": Word(AgentOutcome, "outcome_id", "of", {"result": "DONE"}),
    "call": Word(CallEvent, "event_id", "type", {}),
    "says": Word(TranscriptSegment, "segment_id", "text", _SPOKEN),
    "interim": Word(TranscriptSegment, "segment_id", "text", {**_SPOKEN, "status": "INTERIM"}),
    "corrects": Word(TranscriptSegment, "segment_id", "text", {**_SPOKEN, "status": "CORRECTED"}),
    "withdraws": Word(TranscriptSegment, "segment_id", "segment", {**_SPOKEN, "status": "WITHDRAWN", "text": ""}),
    "message": Word(MessageEvent, "message_id", "text", {"type": "RECEIVED", "channel": "SMS"}),
    "signal": Word(Signal, "event_id", "type", {"confidence": 0.95, "detector": "scenario/1"}),
    "crm": Word(CrmEvent, "event_id", "type", {}),
    "human": Word(
        HumanIntervention, "intervention_id", "type",
        {"author": "ann", "author_role": "supervisor", "reason": "because"},
    ),
}  # fmt: skip
"""Words that append a record about a lead."""
CONTROLS = ("as", "after", "lead", "conversation", "signed")
"""What a step may also say, beside its word or under it; `signed` where the record has a signature."""


class Step(NamedTuple):
    """One step as read, and where."""

    word: str
    given: dict[str, Any]
    controls: dict[str, Any]
    where: str

    @property
    def line(self) -> int:
        """Where it stands in its file."""
        return int(self.where.rpartition(":")[2])

    def about(self) -> dict[str, Any]:
        """The lead and the conversation that it names, for steps that it stands for."""
        return {key: self.controls[key] for key in ("lead", "conversation") if key in self.controls}

    def bad(self, message: str) -> BadScenario:
        return BadScenario(self.where, f"{self.word}: {message}")
