"""One scenario's journal as it is written: entries, clock, ticks, names, and what came out of the real fold."""

import json
from functools import cache
from typing import Any, NamedTuple, TypeVar, cast

from processors.authority import Court
from processors.draft import Output
from processors.ids import derive
from processors.offline import MemoryRows
from processors.partition import LEAD_PREFIX, Partition
from processors.policy import Bundle
from processors.scenarios.people import with_keys
from schemas.codec import KIND_OF
from schemas.records import (
    AgentRequest,
    Decision,
    EscalationCase,
    JournalEntry,
    LeadId,
    LeadState,
    PolicyActivation,
    PolicySignature,
    Record,
    Revocation,
    RevocationScope,
    Tick,
    TimeUs,
)
from schemas.rows import decode_row

MAX_TICKS = 10_000
"""Ticks within one step. More means that timers set each other off for ever."""
FIRST_LEAD, FIRST_CONVERSATION = "lead-1", "c1"
R = TypeVar("R", bound=Record)


class Told(NamedTuple):
    """One entry of the journal and what came out of it."""

    entry: JournalEntry
    outputs: tuple[Output, ...]


class Tale:
    """The journal of one scenario. Every entry goes through the real partition as soon as it is told."""

    def __init__(self, bundle: Bundle, court: Court, at: TimeUs, *, ticks: bool = True) -> None:
        self.bundle = bundle
        self.court = court
        self.now = at
        self.revision = 0
        self.told: list[Told] = []
        self.named: dict[str, Record] = {}
        self.begun: set[tuple[str, str, str]] = set()
        self.conversations: dict[str, str] = {}
        self.given_end = 0
        self.round_start = 0
        self._ticks = ticks
        self._rows = MemoryRows()
        self._partition = Partition(0, self._rows, court)
        self._fresh = 0

    # --- telling
    def tell(self, body: Record, at: TimeUs) -> None:
        """Appends one entry. An entry stamped before the one before it leaves the clock where it is."""
        self.now = max(self.now, at)
        offset = len(self.told)
        entry = JournalEntry(
            entry_id=derive("entry", offset), lead_id=LeadId(getattr(body, "lead_id", None) or ""),
            kind=KIND_OF[type(body)], at=at, source_topic="scenario", source_partition=0, source_offset=offset,
            body=cast(Any, body),
        )  # fmt: skip
        self.told.append(Told(entry, tuple(self._partition.apply(entry, offset))))

    def advance(self, to: TimeUs) -> None:
        """Lets time pass: a tick whenever a timer is due, as a worker writes them."""
        for _ in range(MAX_TICKS if self._ticks else 0):
            due = self._partition.next_due()
            if due is None or due > to:
                break
            self._tick(max(due, self.now))
        else:
            if self._ticks:
                raise AssertionError(f"timers still fire after {MAX_TICKS} ticks")
        self.now = max(self.now, to)

    def wait(self, to: TimeUs) -> None:
        """Lets time pass, and a last tick says what time it is."""
        self.advance(to)
        if self._ticks:
            self._tick(to)

    def _tick(self, at: TimeUs) -> None:
        self.tell(Tick(tick_id=self.fresh("tick"), at=at), at)

    def fresh(self, kind: str) -> str:
        """An id that nothing else has."""
        self._fresh += 1
        return f"{kind}-{self._fresh}"

    # --- looking
    def state(self, lead: str) -> LeadState | None:
        """The lead's row as it would be written now."""
        self._rows.rows.update(self._partition.take_writes())
        row = self._rows.get(LEAD_PREFIX + lead.encode())
        return decode_row(LeadState, row) if row else None

    def fact(self, lead: str, name: str) -> str:
        """A fact's value; empty when it does not stand."""
        state = self.state(lead)
        fact = state.facts.get(name) if state else None
        return fact.value if fact else ""

    def of(self, kind: type[R], *, lead: str | None = None, this_round: bool = False) -> list[R]:
        """Records of a kind that came out, oldest first."""
        told = self.told[self.round_start :] if this_round else self.told
        found = [o.value for t in told for o in t.outputs if isinstance(o.value, kind)]
        return [value for value in found if lead in (None, getattr(value, "lead_id", None)) and not is_heartbeat(value)]

    def requests(self) -> dict[str, AgentRequest]:
        """What was asked so far, the first under each id."""
        found: dict[str, AgentRequest] = {}
        for told in self.told:
            if isinstance(told.entry.body, AgentRequest):
                found.setdefault(told.entry.body.request_id, told.entry.body)
        return found

    def decisions(self, request_id: str) -> list[Decision]:
        """All answers to a request, oldest first."""
        return [decision for decision in self.of(Decision) if decision.request_id == request_id]

    def grant_of(self, request_id: str) -> str | None:
        """The grant that a request got."""
        return next((d.grant_id for d in reversed(self.decisions(request_id)) if d.grant_id), None)

    def case_of(self, lead: str, cause: str) -> str | None:
        """The newest case of a cause."""
        return next((c.case_id for c in reversed(self.of(EscalationCase, lead=lead)) if c.cause == cause), None)

    # --- policy
    def activation(self, change: dict[str, Any] | None) -> PolicyActivation:
        """An approved activation of the bundle under test, changed as told; the next revision."""
        if change:
            self.bundle = changed(self.bundle, json.dumps(with_keys(change)))
        self.revision += 1
        text, digest = text_of(self.bundle)
        signer = self.court.signer
        return PolicyActivation(
            activation_id=f"activation-{self.revision}", version=self.bundle.version, revision=self.revision,
            digest=digest, bundle=text, approved_by="counsel", reason="scenario",
            signatures=(PolicySignature(key_id=signer.kid, signature=signer.approve(digest, self.revision)),),
        )  # fmt: skip


class _ById:
    """Wraps a bundle so that it is cached by identity: a bundle is large and never changes."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def __hash__(self) -> int:
        return id(self.bundle)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other.bundle is self.bundle


def text_of(bundle: Bundle) -> tuple[str, str]:
    """A bundle's canonical text and digest."""
    return _text_of(_ById(bundle))


@cache
def _text_of(key: _ById) -> tuple[str, str]:
    return key.bundle.canonical_json(), key.bundle.digest()


def changed(bundle: Bundle, change: str) -> Bundle:
    """A bundle with some keys of it given anew (JSON text); pydantic.ValidationError when the result is none."""
    return _changed(_ById(bundle), change)


@cache
def _changed(key: _ById, change: str) -> Bundle:
    merged = merge(key.bundle.model_dump(mode="json"), json.loads(change))
    return type(key.bundle).model_validate_json(json.dumps(merged))


def merge(old: Any, new: Any) -> Any:
    """Mappings key by key (null takes a key away), lists of things with an id, name or cause item by item."""
    if isinstance(old, dict) and isinstance(new, dict):
        both = {**old, **{key: merge(old.get(key), value) for key, value in new.items()}}
        return {key: value for key, value in both.items() if not (key in new and value is None)}
    key = _identity(old, new)
    if key is None:
        return new
    items = {item[key]: item for item in old}
    items.update({item[key]: merge(items.get(item[key]), item) for item in new})
    return list(items.values())


def _identity(old: Any, new: Any) -> str | None:
    """The key by which the items of two lists are told apart."""
    if not (isinstance(old, list) and isinstance(new, list) and old and new):
        return None
    items = [*old, *new]
    return next(
        (key for key in ("id", "name", "cause") if all(isinstance(item, dict) and key in item for item in items)), None
    )


def is_heartbeat(value: Record) -> bool:
    """The revocation feed's heartbeat, which says nothing about a lead."""
    return isinstance(value, Revocation) and value.scope is RevocationScope.HEARTBEAT
