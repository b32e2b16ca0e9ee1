"""What becomes of hostile input, without a broker: intake's judgement, then control's fold, and what must hold.

Every record is a dead letter with its bytes whole, or is accepted and then permits nothing; nothing raises, and
nothing that goes out is larger than the broker takes.
"""

from collections import Counter
from dataclasses import dataclass, field

from processors.judge import SYSTEM_ROLE
from processors.offline import MemoryRows
from processors.partition import Partition
from schemas import records
from schemas.catalogue import DEAD_LETTER_BYTES, TOPICS
from schemas.codec import MAX_BYTES, Codec
from schemas.records import DeadLetter, DeadLetterCode, Decision, JournalEntry, ProviderWebhook, Verdict
from streams.admission import Admission, Outgoing
from streams.clock import DrivenClock
from streams.directory import CallDirectory
from streams.kafka import Consumed
from streams.offsets import Receipt
from tests.core.story import COURT, activation
from tests.faults.fuzz.records import Hostile, foreign_schemas, hostile_record
from tests.faults.fuzz.webhooks import hostile_webhook

START = 1_767_632_400_000_000
"""Noon in New York on a Monday: no quiet hours block what must be blocked for a better reason."""
STEP_US = 5_000
WAIT_US = 10_000_000
WAITING = 1_000
TICK_EVERY = 200
MAX_ERROR = 2_000
MAX_ROW = 64 * 1024

IDS = {topic.value_schema: number for number, topic in enumerate(TOPICS.values(), 1) if topic.value_schema}
FOREIGN_TEXTS = foreign_schemas()
FOREIGN_IDS = {name: number for number, name in enumerate(FOREIGN_TEXTS, 1_000)}
_TEXT_OF = {number: FOREIGN_TEXTS[name] for name, number in FOREIGN_IDS.items()}


def make_codec() -> Codec:
    """The codec of an intake whose registry holds our schemas and those of `foreign_schemas`."""
    return Codec(IDS, _TEXT_OF.__getitem__)


class BrokenError(AssertionError):
    """Something that must hold did not; the message names the record, which the same seed makes again."""


@dataclass
class Tally:
    """What became of the records."""

    taken: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    damages: Counter[tuple[str, str]] = field(default_factory=Counter)


def _is_mandates_own(decision: Decision, entry: JournalEntry) -> bool:
    return decision.role == SYSTEM_ROLE and entry.kind is not records.EntryKind.REQUEST


class Trial:
    """An intake and a control in memory, with a policy in force."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._codec = make_codec()
        self._clock = DrivenClock()
        self._clock.observe(START)
        self._admission = Admission(
            self._codec, self._clock, CallDirectory(), partitions=4, wait_us=WAIT_US, limit=WAITING
        )
        self._rows = MemoryRows()
        self._partition = Partition(0, self._rows, COURT)
        self._offset = 0
        self._given: dict[tuple[str, int], tuple[Hostile, Receipt]] = {}
        entry = records.JournalEntry(
            entry_id="policy", lead_id=records.LeadId(""), kind=records.EntryKind.POLICY, at=START,
            source_topic="", source_partition=0, source_offset=0, body=activation(revision=7),
        )  # fmt: skip
        self._fold(entry)

    def run(self, records: int, webhooks: int, seed: int) -> Tally:
        """Gives so many of each; raises BrokenError at the first that breaks what must hold."""
        for number in range(records):
            self._give(hostile_record(seed, number, IDS, FOREIGN_IDS), f"record {number} of seed {seed}")
        for number in range(webhooks):
            how, webhook = hostile_webhook(seed, number)
            record = Hostile(how, "perception.raw", b"key", self._codec.encode(webhook), [])
            self._give(record, f"webhook {number} of seed {seed}")
        self._end(seed)
        return self.tally

    def give(self, record: Hostile) -> None:
        """Gives one record."""
        self._give(record, record.how)

    def _give(self, record: Hostile, name: str) -> None:
        offset = self.tally.taken
        self.tally.taken += 1
        self._clock.observe(START + self.tally.taken * STEP_US)
        receipt = Receipt(offset)
        self._given[record.topic, offset] = record, receipt
        try:
            outs = self._admission.take(
                Consumed(record.topic, 0, offset, record.key, record.value, record.headers, None), receipt
            )
            self._deal_with(outs)
            if not outs:
                self._silent(record, receipt)
            if not receipt.holds:
                del self._given[record.topic, offset]
            if self.tally.taken % TICK_EVERY == 0:
                self._tick()
                self._deal_with(self._admission.expire())
        except Exception as error:
            if isinstance(error, BrokenError):
                raise BrokenError(f"{name} ({record.how}, {record.topic}): {error}") from None
            raise BrokenError(
                f"{name} ({record.how}, {record.topic}) raised {type(error).__name__}: {error}"
            ) from error

    def _silent(self, record: Hostile, receipt: Receipt) -> None:
        """Nothing came out: it waits for its lead, or is a webhook that says nothing about the conversation."""
        if receipt.holds:
            self._note(record, "waits")
        elif record.topic == "perception.raw":
            self._codec.decode(ProviderWebhook, record.value)
            self._note(record, "said nothing")
        else:
            raise BrokenError("nothing came of it and it does not wait")

    def _deal_with(self, outs: list[Outgoing]) -> None:
        done: set[int] = set()
        for out in outs:
            size = len(out.value) + len(out.key or b"") + sum(len(n) + len(v or b"") for n, v in out.headers)
            if size > (DEAD_LETTER_BYTES if out.topic == "dead.letters" else MAX_BYTES + 20_000):
                raise BrokenError(f"{out.topic}: {size} bytes go out")
            value = self._codec.decode(TOPICS[out.topic].value or records.Record, out.value)
            if isinstance(value, DeadLetter):
                self._check_letter(value, out)
            elif isinstance(value, JournalEntry):
                record, _ = self._given[value.source_topic, value.source_offset]
                if value.source_offset not in done:
                    self._note(record, "accepted")
                    done.add(value.source_offset)
                if value.kind is not records.EntryKind.POLICY or out.partition == 0:  # one of its copies
                    self._fold(value)
            out.receipt.release()
        for receipt in {id(out.receipt): out.receipt for out in outs}.values():
            if receipt.holds:
                raise BrokenError(f"everything was delivered and {receipt.holds} holds are left: never committed")

    def _check_letter(self, letter: DeadLetter, out: Outgoing) -> None:
        record, _ = self._given[letter.topic, letter.offset]
        if (letter.key, letter.value, letter.topic) != (
            record.key,
            record.value,
            record.topic,
        ) or out.key != record.key:
            raise BrokenError("its dead letter does not hold the original")
        if letter.headers != {name: content or b"" for name, content in record.headers}:
            raise BrokenError("its dead letter does not hold its headers")
        if letter.code is DeadLetterCode.UNKNOWN:
            raise BrokenError(letter.error)
        if not letter.error or len(letter.error) > MAX_ERROR:
            raise BrokenError(f"its error has {len(letter.error)} characters")
        self.tally.codes[letter.code] += 1
        self._note(record, "dead letter")

    def _fold(self, entry: JournalEntry) -> None:
        outputs = self._partition.apply(entry, self._offset)
        self._offset += 1
        for output in outputs:
            data = self._codec.encode(output.value)
            if len(data) > MAX_BYTES:
                raise BrokenError(f"control gives a {type(output.value).__name__} of {len(data)} bytes")
            if isinstance(output.value, Decision):
                self.tally.verdicts[output.value.verdict] += 1
                # Mandate tells the CRM of an opt-out itself; nobody can ask in its role.
                if output.value.verdict is not Verdict.PERMIT or _is_mandates_own(output.value, entry):
                    continue
                raise BrokenError(f"it was permitted: {output.value.action} by {output.value.role}")
        law = self._partition.law
        if law is None or law.revision != 7:
            raise BrokenError("it changed the policy in force")
        for key, row in self._partition.take_writes():
            self._rows.rows[key] = row
            if len(row) > MAX_ROW and key[:2] == b"l/":
                raise BrokenError(f"a row of {len(row)} bytes")

    def _tick(self) -> None:
        at = self._clock.now()
        tick = records.Tick(tick_id=f"tick-{at}", at=at)
        self._fold(records.JournalEntry(
            entry_id=tick.tick_id, lead_id=records.LeadId(""), kind=records.EntryKind.TICK, at=at,
            source_topic="", source_partition=0, source_offset=0, body=tick,
        ))  # fmt: skip

    def _end(self, seed: int) -> None:
        """Whoever still waits gives up; then no record is left without an answer."""
        self._clock.observe(self._clock.now() + 2 * WAIT_US)
        self._deal_with(self._admission.expire())
        left = [record.how for record, receipt in self._given.values() if receipt.holds]
        if left or self._admission.waiting:
            raise BrokenError(f"{len(left)} records of seed {seed} were never dealt with: {left[:3]}")

    def _note(self, record: Hostile, outcome: str) -> None:
        self.tally.outcomes[outcome] += 1
        self.tally.damages[record.how, outcome] += 1
