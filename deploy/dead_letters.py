"""Dead letters for an operator: which there are, what their originals hold, and sending those again.

A replay is the original as it came: bytes, key, headers and partition. Nothing marks a letter as dealt with: the topic
is a log. That a replayed event counts once is the judgement's doing, which recognises it by its own id.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from deploy.evidence import Progress
from deploy.settings import Settings
from schemas.catalogue import EVENT_INPUTS, TOPICS
from schemas.codec import Codec, CodecError
from schemas.headers import DEAD_LETTER_PREFIX, Headers
from schemas.records import DeadLetter, DeadLetterCode, Record, TimeUs
from streams.kafka import follow, partition_count
from streams.sender import Sender

TOPIC = "dead.letters"
REPLAYED_FROM = "mandate-replayed-from"
"""Header of a replayed record: the id of its dead letter."""
# Others say that the bytes are no record of their topic: to try them again would ask the registry for nothing.
_DECODES = frozenset(DeadLetterCode) - {
    DeadLetterCode.NOT_AVRO,
    DeadLetterCode.UNKNOWN_SCHEMA,
    DeadLetterCode.WRONG_SCHEMA,
}


class Found(NamedTuple):
    """A letter and its offset on dead.letters."""

    offset: int
    letter: DeadLetter

    @property
    def came_from(self) -> str | None:
        """Id of the letter whose replay this one is the failure of; None: nobody replayed it before."""
        header = self.letter.headers.get(REPLAYED_FROM)
        return None if header is None else header.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which letters are meant; None: no matter. since: letters of this time or later."""

    topic: str | None = None
    code: DeadLetterCode | None = None
    since: TimeUs | None = None
    lead: str | None = None

    def takes(self, letter: DeadLetter, codec: Codec) -> bool:
        """Whether it is one of them. A lead is found by the original's lead_id, or by its key."""
        if self.topic not in (None, letter.topic) or self.code not in (None, letter.code):
            return False
        if self.since is not None and letter.at < self.since:
            return False
        return self.lead is None or letter.key == self.lead.encode() or lead_of(letter, codec) == self.lead


def read(settings: Settings, codec: Codec) -> Iterator[Found]:
    """Every letter, oldest first, up to the present end. A record that is none is named on stderr."""
    done: list[bool] = []
    progress = Progress(f"records of {TOPIC}", 0)
    for message in follow(settings, [TOPIC], stop=lambda: bool(done), ready=lambda: done.append(True)):
        progress.step()
        try:
            yield Found(message.offset() or 0, codec.decode(DeadLetter, message.value()))
        except CodecError as error:
            print(f"mandate: {TOPIC}/0, offset {message.offset()} is no dead letter: {error}", file=sys.stderr)


def original_of(letter: DeadLetter, codec: Codec) -> Record | None:
    """The original's value: as the record of its topic, or of another one when it was sent to the wrong topic."""
    own = TOPICS.get(letter.topic)
    for topic in (own, *TOPICS.values()):
        if topic is not None and topic.value is not None:
            try:
                return codec.decode(topic.value, letter.value)
            except CodecError as error:
                if error.code is not DeadLetterCode.WRONG_SCHEMA:
                    return None
    return None


def lead_of(letter: DeadLetter, codec: Codec) -> str | None:
    """The lead that the original names; None where it can't be read or names none."""
    topic = TOPICS.get(letter.topic)
    if topic is None or topic.value is None or letter.code not in _DECODES:
        return None
    try:
        return getattr(codec.decode(topic.value, letter.value), "lead_id", None)
    except CodecError:
        return None


def refusal(letter: DeadLetter) -> str | None:
    """Why it can't be replayed; None when it can."""
    topic = TOPICS.get(letter.topic)
    if topic is None:
        return f"its topic {letter.topic} is not in the catalogue"
    if letter.topic not in EVENT_INPUTS:
        return f"its topic {letter.topic} is no input: only {', '.join(topic.writers)} may write there"
    return None


def replayed_headers(letter: DeadLetter) -> Headers:
    """The original's headers, and the one that says which letter it comes from."""
    kept = [
        (name, value)
        for name, value in letter.headers.items()
        if not name.startswith(DEAD_LETTER_PREFIX) and name != REPLAYED_FROM
    ]
    return [*kept, (REPLAYED_FROM, letter.dead_letter_id.encode())]


@dataclass(slots=True)
class Chosen:
    """What a replay is to send: letters by id, each with the offset of its latest record.

    refused: ids with the reason. came_back: ids whose replay became a letter again, with the id of that one.
    """

    letters: dict[str, Found] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    came_back: dict[str, str] = field(default_factory=dict)


def choose(settings: Settings, codec: Codec, *, ids: frozenset[str] | None, wanted: Filter) -> Chosen:
    """Looks for the letters to replay: those of `ids`, or, where that is None, all that `wanted` takes."""
    chosen, came_back = Chosen(), {}
    for found in read(settings, codec):
        letter = found.letter
        if found.came_from is not None:
            came_back[found.came_from] = letter.dead_letter_id
        if letter.dead_letter_id in ids if ids is not None else wanted.takes(letter, codec):
            reason = refusal(letter)
            if reason is None:
                chosen.letters[letter.dead_letter_id] = _without_body(found)
            else:
                chosen.refused[letter.dead_letter_id] = reason
    chosen.came_back = {name: came_back[name] for name in chosen.letters if name in came_back}
    return chosen


def replay(settings: Settings, codec: Codec, sender: Sender, chosen: Mapping[str, Found], at_ms: int) -> int:
    """Sends the originals in the order of their letters; how many, once the broker holds all of them.

    at_ms: their timestamp; 0: the wall clock. Raises Broken when one was not taken: what was sent before stays sent,
    and may be sent again.
    """
    offsets = {found.offset for found in chosen.values()}
    partitions: dict[str, int] = {}
    sent = 0
    for offset, letter in read(settings, codec):
        if offset not in offsets:
            continue
        if letter.topic not in partitions:
            partitions[letter.topic] = partition_count(sender.producer, letter.topic)
        sender.send(
            letter.topic,
            letter.value,
            key=letter.key,
            headers=replayed_headers(letter),
            partition=letter.partition if letter.partition < partitions[letter.topic] else -1,
            timestamp_ms=at_ms,
        )
        sent += 1
    sender.flush()
    return sent


def _without_body(found: Found) -> Found:
    """Thousands of letters, of up to megabytes, are chosen: what they hold is read again when it is sent."""
    letter = found.letter
    return Found(
        found.offset,
        DeadLetter(
            dead_letter_id=letter.dead_letter_id,
            topic=letter.topic,
            partition=letter.partition,
            offset=letter.offset,
            code=letter.code,
            error=letter.error,
            stage=letter.stage,
            at=letter.at,
        ),
    )
