"""What a run left behind, read from outside: topics by a bare consumer, stores by SQL, and notes of who looked on.

`Model` is the one part of the code under test that is used: the pure core, folding the journal as it lies there, with
nobody who disturbs it.
"""

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import create_engine, text

from deploy.settings import Settings
from processors.authority import Court
from processors.offline import MemoryRows
from processors.partition import NEVER, PARTITION_KEY, TIMER_PREFIX, Partition
from schemas.catalogue import TOPIC_OF, TOPICS
from schemas.codec import CodecError, decode, encode
from schemas.records import (
    AgentRequest,
    CrmResult,
    CrmUpdate,
    DeadLetter,
    Decision,
    EntryKind,
    JournalEntry,
    LeadId,
    PartitionState,
    ReasonCode,
    Record,
    Verdict,
)
from schemas.rows import decode_row

JOURNAL, DECISIONS, UPDATES, RESULTS, DEAD = (
    TOPIC_OF[record] for record in (JournalEntry, Decision, CrmUpdate, CrmResult, DeadLetter)
)
CHANGELOG = "mandate-control-execution-changelog"
OUTPUTS = tuple(topic.name for topic in TOPICS.values() if topic.writers == ("control",) and topic.value)
PREFIX = 5
"""Bytes of the Confluent wire format before the Avro body."""
_NO_STATE = b"__mandate\0"
"""Keys of the changelog that say whose it is, and nothing of the state."""
_SILENT_POLLS = 150


class Answer(NamedTuple):
    """A decision, as far as checks need it. defer_id: empty when it never was a defer. deadline: of an open defer."""

    decision_id: str
    request_id: str
    lead_id: str
    verdict: str
    grant_id: str
    epoch: int
    defer_id: str
    deadline: int
    is_conflict: bool
    at: int


class Effect(NamedTuple):
    """Something that was done in the world. where: who did it. at: seconds since 1970 by the clock of who did it."""

    where: str
    name: str
    decision_id: str
    grant_id: str
    at: float


class Place(NamedTuple):
    """A record's place in a topic."""

    topic: str
    partition: int
    offset: int


@dataclass
class Notes:
    """What was seen while it ran. Times are seconds since 1970.

    requests: when the broker acknowledged each. revoked: when each grant's revocation could be read; cut_off: the same
    for leads, with the epoch. effects: of enforcers other than the CRM sink. poison: places of records that nobody can
    take.
    """

    requests: dict[str, float] = field(default_factory=dict)
    revoked: dict[str, float] = field(default_factory=dict)
    cut_off: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    effects: list[Effect] = field(default_factory=list)
    poison: list[Place] = field(default_factory=list)


@dataclass
class History:
    """Everything that the checks look at; values only, so that a test can make a broken one by hand.

    written: per output topic, id and body, how often it lies there. folded: what the model gives up to the entry that
    the changelog says was the last one applied; folded_later: what it gives after that. unapplied: entries after that
    which are no ticks. rows, model_rows: last value of each key of the changelog, and the model's rows at that entry,
    by partition, its timers as late as they may stand. journal: offsets by partition; stamped: the times of its
    entries, in the same order. journalled: the journal partition of each request in it; ticked: the time of each
    partition's last tick that was applied. updates: decision of each CRM write that was asked for. results, stored: how
    often each was answered, by different ids, and stands in the store. letters: ids of dead letters by the place of
    their original.
    """

    notes: Notes = field(default_factory=Notes)
    answers: list[Answer] = field(default_factory=list)
    written: dict[str, dict[str, Counter[bytes]]] = field(default_factory=lambda: defaultdict(dict))
    folded: dict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    folded_later: dict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    unapplied: list[Place] = field(default_factory=list)
    journal: dict[int, list[int]] = field(default_factory=dict)
    stamped: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    journalled: dict[str, int] = field(default_factory=dict)
    ticked: dict[int, int] = field(default_factory=dict)
    rows: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    model_rows: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    updates: dict[str, str] = field(default_factory=dict)
    results: Counter[str] = field(default_factory=Counter)
    stored: Counter[str] = field(default_factory=Counter)
    effects: list[Effect] = field(default_factory=list)
    letters: dict[Place, set[str]] = field(default_factory=lambda: defaultdict(set))
    audit: dict[str, Any] = field(default_factory=dict)


class Model:
    """The pure core over one partition's journal. applied: the last entry that the changelog says was applied."""

    def __init__(self, number: int, court: Court, history: History, applied: int) -> None:
        self._number = number
        self._rows = MemoryRows()
        self._partition = Partition(number, self._rows, court)
        self._history = history
        self._applied = applied
        history.model_rows[number] = {}

    def take(self, entry: JournalEntry | None, offset: int) -> None:
        """Folds the next entry; None is one that can't be read."""
        is_later = offset > self._applied
        if is_later and (entry is None or entry.kind is not EntryKind.TICK):
            self._history.unapplied.append(Place(JOURNAL, self._number, offset))
        folded = self._history.folded_later if is_later else self._history.folded
        if entry is None:
            self._partition.skip(offset)
        else:
            if entry.kind is EntryKind.TICK and not is_later:
                self._history.ticked[self._number] = entry.at
            for output in self._partition.apply(entry, offset):
                folded[TOPIC_OF[type(output.value)]][output.id] = encode(output.value)
        self._rows.rows.update(self._partition.take_writes())
        if offset == self._applied:
            self._history.model_rows[self._number] = self._rows.rows | self._latest_timers()

    def _latest_timers(self) -> dict[bytes, bytes]:
        """Each lead's timer where its row says: the model's own may stand earlier, for an event that put it off.

        An owner that found late rows of another set it to 0, met it at the next tick, and has it right since.
        """
        timers = {
            key: key.removeprefix(TIMER_PREFIX).decode() for key in self._rows.rows if key.startswith(TIMER_PREFIX)
        }
        due = {key: self._partition.due_of(LeadId(lead)) for key, lead in timers.items()}
        return {key: str(NEVER if at is None else at).encode() for key, at in due.items()}


def court_of(signing: Ed25519PrivateKey, approver: Ed25519PublicKey) -> Court:
    """The keys that the model signs and verifies with."""
    return Court.from_keys(signing, [approver])


def read(settings: Settings, notes: Notes, court: Court) -> History:
    """The whole history of a quiet cluster."""
    history = History(notes=notes, effects=list(notes.effects))
    history.rows = {number: {} for number in range(settings.partitions)}
    for message in records(settings, CHANGELOG):
        _take_row(history.rows[message.partition() or 0], message)
    models = {number: Model(number, court, history, _applied(rows)) for number, rows in history.rows.items()}
    history.journal = {number: [] for number in models}
    for message in records(settings, JOURNAL):
        _take_entry(history, models[message.partition() or 0], message)
    for topic in (*OUTPUTS, RESULTS):
        for message in records(settings, topic):
            _take_output(history, topic, message)
    for message in records(settings, DEAD):
        letter = decode(DeadLetter, _body(message))
        history.letters[Place(letter.topic, letter.partition, letter.offset)].add(letter.dead_letter_id)
    _read_store(settings, history)
    return history


def records(settings: Settings, topic: str) -> Iterator[Message]:
    """Every record that a topic holds now, in order within each partition."""
    config = {"group.id": "history", "enable.auto.commit": False, "enable.partition.eof": True, "log_level": 0}
    consumer = Consumer({**settings.client_config(), **config})
    try:
        behind = set(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in behind])
        silent = 0
        while behind and silent < _SILENT_POLLS:
            messages = consumer.consume(2_000, 0.1)
            silent = 0 if messages else silent + 1
            for message in messages:
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    behind.discard(message.partition() or 0)
        if behind:
            raise RuntimeError(f"{topic} can't be read to its end")
    finally:
        consumer.close()


def _take_row(rows: dict[bytes, bytes], message: Message) -> None:
    key, value = bytes(message.key() or b""), message.value()
    if key.startswith(_NO_STATE):
        return
    if value is None:
        rows.pop(key, None)
    else:
        rows[key] = bytes(value)


def _applied(rows: dict[bytes, bytes]) -> int:
    place = rows.get(PARTITION_KEY)
    return decode_row(PartitionState, place).applied_offset if place else -1


def _take_entry(history: History, model: Model, message: Message) -> None:
    number, offset = message.partition() or 0, message.offset() or 0
    history.journal[number].append(offset)
    try:
        entry = decode(JournalEntry, _body(message))
    except (CodecError, ValueError):
        model.take(None, offset)
        return
    history.stamped[number].append(entry.at)
    if isinstance(entry.body, AgentRequest):
        history.journalled[entry.body.request_id] = number
    model.take(entry, offset)


def _take_output(history: History, topic: str, message: Message) -> None:
    headers = dict(message.headers() or ())
    name, body = headers["ce_id"].decode(), _body(message)
    copies = history.written[topic].setdefault(name, Counter())
    copies[body] += 1
    if len(copies) > 1 or copies[body] > 1:
        return
    value = decode(_value_of(topic), body)
    if isinstance(value, Decision):
        history.answers.append(answer_of(value))
    elif isinstance(value, CrmUpdate):
        history.updates[value.update_id] = value.decision_id
    elif isinstance(value, CrmResult):
        history.results[value.update_id] += 1


def _value_of(topic: str) -> type[Record]:
    value = TOPICS[topic].value
    assert value is not None
    return value


def answer_of(decision: Decision) -> Answer:
    """The parts of a decision that checks need."""
    codes = {reason.code for criterion in decision.criteria for reason in criterion.reasons}
    waits = decision.defer is not None and decision.verdict is Verdict.DEFER
    return Answer(
        decision_id=decision.decision_id,
        request_id=decision.request_id,
        lead_id=decision.lead_id,
        verdict=decision.verdict.value,
        grant_id=decision.grant_id or "",
        epoch=_claims(decision.grant).get("epoch", 0),
        defer_id=decision.defer.defer_id if decision.defer else "",
        deadline=decision.defer.deadline if waits and decision.defer else 0,
        is_conflict=ReasonCode.REQUEST_CONFLICT in codes,
        at=decision.at,
    )


def _claims(grant: str | None) -> dict[str, Any]:
    if not grant:
        return {}
    body = grant.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


def _read_store(settings: Settings, history: History) -> None:
    """The CRM's own tables: every write that it dealt with, and those that took effect."""
    columns = "update_id, decision_id, used_grant_id, result, CAST(at AS TEXT) AS at"
    with create_engine(settings.crm_url).connect() as store:
        for row in store.execute(text(f"SELECT {columns} FROM crm_updates")):
            history.stored[row.update_id] += 1
            if row.used_grant_id is not None:
                history.effects.append(
                    Effect("crm", row.update_id, row.decision_id, row.used_grant_id, seconds_of(row.at))
                )


def seconds_of(stored: str) -> float:
    """Seconds since 1970 of a timestamp as the store prints it, in UTC."""
    found = datetime.fromisoformat(stored)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _body(message: Message) -> bytes:
    return bytes(message.value() or b"")[PREFIX:]


def write_notes(notes: Notes, path: Path) -> None:
    """Keeps notes for the checker, a JSON line each."""
    lines: list[Sequence[Any]] = [("request", *item) for item in notes.requests.items()]
    lines += [("revoked", *item) for item in notes.revoked.items()]
    lines += [("cut-off", lead, *found) for lead, all_found in notes.cut_off.items() for found in all_found]
    lines += [("effect", *effect) for effect in notes.effects]
    lines += [("poison", *place) for place in notes.poison]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_notes(path: Path) -> Notes:
    """What `write_notes` kept."""
    notes = Notes()
    for line in path.read_text().splitlines():
        kind, *values = json.loads(line)
        if kind == "request":
            notes.requests[values[0]] = values[1]
        elif kind == "revoked":
            notes.revoked[values[0]] = values[1]
        elif kind == "cut-off":
            notes.cut_off[values[0]].append((values[1], values[2]))
        elif kind == "effect":
            notes.effects.append(Effect(*values))
        else:
            notes.poison.append(Place(*values))
    return notes
