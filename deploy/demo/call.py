"""One simulated call: what happens on it, told by the providers of its line, at the times it happens."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from deploy.demo.conductor import Conductor
from deploy.demo.emission import Emission
from deploy.demo.shapes import STYLES, Line, Moment, conversation_of
from deploy.demo.shapes.moments import Happens
from deploy.demo.times import SECOND
from schemas.records import AnsweredBy, CallEndCause, ConversationId, LeadId, Speaker, TimeUs

SENT_AGAIN_AFTER: TimeUs = 700_000
_PER_WORD, _SHORTEST, _LONGEST = 320_000, 1_200_000, 4_000_000


@dataclass(frozen=True, slots=True)
class Said:
    """A stretch of speech that was transcribed to the end."""

    segment_id: str
    ended_at: TimeUs


class Call:
    """A call of one lead. `cursor` is the end of what is told of it so far.

    late: how long the providers' word about a kind of moment is on its way. twice: everything is sent twice.
    """

    def __init__(
        self,
        conductor: Conductor,
        style: str,
        lead_id: LeadId,
        agent_id: str,
        number: str,
        rng: random.Random,
        *,
        late: Mapping[Happens, TimeUs] | None = None,
        twice: bool = False,
    ) -> None:
        self._conductor = conductor
        self._shapes = STYLES[style]
        self._rng = rng
        self._late = late or {}
        self._twice = twice
        self._utterances = 0
        self._line = Line(lead_id, agent_id, number, rng)
        self.conversation_id = ConversationId(conversation_of(style, self._line))
        self.cursor = conductor.now
        self.is_over = False

    @property
    def call_id(self) -> str:
        """The provider's id of the call."""
        return self.conversation_id.partition(":")[2]

    # --- the life of a call
    def ring(self, *, answered_after: TimeUs = 6 * SECOND) -> None:
        """Dials; the call is answered after a while."""
        start = self._conductor.now + 200_000
        self.tell(Moment(Happens.INITIATED, start))
        self.tell(Moment(Happens.RINGING, start + 1_300_000))
        self.answer(start + answered_after)

    def dial(self) -> None:
        """Dials, and it rings."""
        start = self._conductor.now + 200_000
        self.tell(Moment(Happens.INITIATED, start))
        self.tell(Moment(Happens.RINGING, start + 1_300_000))

    def answer(self, at: TimeUs) -> None:
        """Somebody or something picks up."""
        self._line.answered_at = at
        self.tell(Moment(Happens.ANSWERED, at))

    def detect(self, answered_by: AnsweredBy, confidence: float | None = None) -> None:
        """Machine detection concludes, some seconds after the answer."""
        at = max(self.cursor, self._conductor.now) + 2_500_000
        self.tell(Moment(Happens.MACHINE, at, answered_by=answered_by, confidence=confidence))

    def end(self, cause: CallEndCause = CallEndCause.COMPLETED) -> None:
        """Hangs up."""
        self.finish(Moment(Happens.ENDED, self._soon(), cause=cause))

    def finish(self, moment: Moment) -> None:
        """The call is over, in whatever way."""
        self.is_over = True
        self.tell(moment)

    # --- speech
    def say(
        self,
        speaker: Speaker,
        text: str,
        *,
        confidence: float | None = None,
        final: bool = True,
        interims: int = 1,
    ) -> Said:
        """Speech with its transcript. confidence None: a clear line's. Not final: the last word never comes."""
        start, number = self._soon(), self._next_utterance()
        words = text.split()
        length = min(_LONGEST, max(_SHORTEST, len(words) * _PER_WORD))
        figure = round(self._rng.uniform(0.91, 0.99), 3) if confidence is None else confidence
        at = Moment(Happens.SPEECH_STARTED, start, speaker, utterance=number, started_at=start)
        self.tell(at)
        for step in range(1, interims + 1):
            heard = " ".join(words[: max(1, len(words) * step // (interims + 1))])
            when = start + length * step // (interims + 1)
            self.tell(replace(at, what=Happens.INTERIM, at=when, text=heard, confidence=figure))
        end = start + length
        last = Happens.FINAL if final else Happens.INTERIM
        told = self.tell(replace(at, what=last, at=end, text=text, confidence=figure))
        segment_id = next((emission.segment_id for emission in told if emission.segment_id), "")
        self.tell(replace(at, what=Happens.SPEECH_STOPPED, at=end + 200_000))
        return Said(segment_id, end)

    def begin_speech(self, speaker: Speaker) -> Moment:
        """Somebody begins to speak, and goes on until `stop_speech`."""
        start = self._soon()
        moment = Moment(Happens.SPEECH_STARTED, start, speaker, utterance=self._next_utterance(), started_at=start)
        self.tell(moment)
        return moment

    def stop_speech(self, began: Moment) -> None:
        """Who began to speak stops."""
        self.tell(replace(began, what=Happens.SPEECH_STOPPED, at=self._soon()))

    def tell(self, moment: Moment) -> list[Emission]:
        """Has the providers tell of a moment."""
        arriving = replace(moment, late=self._late.get(moment.what, 0))
        told = [emission for shape in self._shapes for emission in shape(self._line, arriving)]
        self._conductor.schedule(told)
        if self._twice:
            self._conductor.schedule(replace(emission, at=emission.at + SENT_AGAIN_AFTER) for emission in told)
        self.cursor = max(self.cursor, arriving.arrives_at)
        return told

    def _soon(self) -> TimeUs:
        return max(self.cursor, self._conductor.now) + 200_000

    def _next_utterance(self) -> int:
        self._utterances += 1
        return self._utterances
