"""What happens on a call, in no provider's words."""

import random
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from schemas.records import AnsweredBy, CallEndCause, LeadId, Speaker, TimeUs


class Happens(StrEnum):
    """Kinds of moments."""

    INITIATED = "INITIATED"
    RINGING = "RINGING"
    ANSWERED = "ANSWERED"
    MACHINE = "MACHINE"
    SPEECH_STARTED = "SPEECH_STARTED"
    INTERIM = "INTERIM"
    FINAL = "FINAL"
    SPEECH_STOPPED = "SPEECH_STOPPED"
    BARGE_IN = "BARGE_IN"
    SILENCE = "SILENCE"
    TRANSFER_STARTED = "TRANSFER_STARTED"
    TRANSFER_COMPLETED = "TRANSFER_COMPLETED"
    DROPPED = "DROPPED"
    TIMEOUT = "TIMEOUT"
    ENDED = "ENDED"


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment of a call.

    utterance: number of the stretch of speech, the same from its start to its end. late: how long what the provider
    tells of it is on its way.
    """

    what: Happens
    at: TimeUs
    speaker: Speaker = Speaker.UNKNOWN
    text: str = ""
    utterance: int = 0
    confidence: float | None = None
    answered_by: AnsweredBy = AnsweredBy.HUMAN
    cause: CallEndCause = CallEndCause.COMPLETED
    ms: int = 0
    started_at: TimeUs = 0
    late: TimeUs = 0

    @property
    def arrives_at(self) -> TimeUs:
        """When the platform receives what the provider tells of it."""
        return self.at + self.late


class Line:
    """One call's ids and counters. The same seed draws the same ids."""

    def __init__(self, lead_id: LeadId, agent_id: str, number: str, rng: random.Random) -> None:
        self.lead_id = lead_id
        self.agent_id = agent_id
        self.number = number
        self._ids = {name: f"{rng.getrandbits(128):032x}" for name in ("call", "leg", "session", "stream", "other")}
        self._counters: Counter[str] = Counter()
        self.answered_at: TimeUs = 0

    def hex(self, name: str) -> str:
        """32 hex digits: call, leg, session, stream or other."""
        return self._ids[name]

    def uuid(self, name: str) -> str:
        """The same as a UUID."""
        digits = self._ids[name]
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def count(self, name: str, start: int = 0) -> int:
        """The next number of a sequence of the provider's."""
        self._counters[name] += 1
        return start + self._counters[name] - 1
