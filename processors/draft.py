"""The working copy of one lead while one entry is folded into it.

A draft lives inside one call of `fold.step` and never leaves it. It notes which facts changed, so that grants and
waiting requests that rest on them can be looked at again, and it collects the outputs.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from processors.authority import Court
from processors.facts import scoped
from processors.ids import derive
from processors.law import Law
from processors.lead import bounded
from schemas.records import (
    AgentId,
    Conversation,
    ConversationId,
    Directive,
    DirectiveType,
    EntryKind,
    Fact,
    FactRef,
    JournalEntry,
    LeadState,
    Position,
    ReasonCode,
    Record,
    Refusal,
    SignalNote,
    SpeechMode,
    TimeUs,
    Transition,
)


class Output(msgspec.Struct, frozen=True):
    """A record to produce. Its topic is `schemas.catalogue.TOPIC_OF[type(value)]`, on the entry's own partition."""

    id: str
    key: str
    value: Record


def _conversation(item: Conversation) -> str:
    told = {"agent": item.agent_id or "", "turn": item.turn, "barge_ins": item.barge_ins, "legs": len(item.legs)}
    return " ".join([item.channel, *(f"{name}={value}" for name, value in told.items() if value)])


def _refusal(item: Refusal) -> str:
    times = {"count": item.count, "since": item.since, "until": item.until}
    return " ".join([item.by, *(f"{name}={value}" for name, value in times.items() if value is not None)])


def _signal(item: SignalNote) -> str:
    subject = f" about {item.subject}" if item.subject else ""
    return f"{'not ' if item.denies else ''}{item.type}{subject} {item.confidence:g}"


_LISTED: tuple[tuple[str, Callable[[Any], str], Callable[[Any], str]], ...] = (
    ("conversations", lambda item: item.conversation_id, _conversation),
    ("signals", lambda item: str(item.offset), _signal),
    ("refusals", lambda item: f"{item.effect}/{item.by}", _refusal),
    ("permissions", lambda item: item.grant_id, lambda item: str(item.status)),
    ("deferrals", lambda item: item.defer_id, lambda item: "WAITING"),
    ("overrides", lambda item: item.override_id, lambda item: str(item.status)),
    ("segments", lambda item: item.segment_id, lambda item: str(item.status)),
    ("attempts", lambda item: item.conversation_id, lambda item: str(item.outcome)),
)
"""Lists of the row whose items have a life of their own: field, id, and what their transitions say.

What is left out is bookkeeping that every event moves (when a conversation was last active, how far a provider's
numbering is, what was seen and judged): the journal itself tells it, entry by entry. Cases and the floor are facts.
"""


class Draft:
    """A lead's row being changed by one entry."""

    def __init__(
        self, state: LeadState, entry: JournalEntry, position: Position, court: Court, law: Law | None
    ) -> None:
        self.base = state
        self.entry = entry
        self.position = position
        self.court = court
        self.law = law
        self.now: TimeUs = max(state.now, entry.at)
        self.cause_id = cause_id(entry)
        self.outputs: list[Output] = []
        self.facts = state.facts
        self.fields: dict[str, Any] = {}
        self.dirty: set[str] = set()
        """Facts changed since `take_dirty` was last called."""
        self.digests: dict[int, str] = {}
        """Parameter digests of the requests at hand, by `id`."""
        self._before: dict[str, Fact | None] = {}
        self._ended: dict[tuple[str, str], str] = {}

    # --- fields of the row
    def get(self, field: str) -> Any:
        """A field of the row as it stands now."""
        return self.fields[field] if field in self.fields else getattr(self.base, field)

    def put(self, field: str, value: Any) -> None:
        """Replaces a field of the row."""
        self.fields[field] = value

    def add(self, field: str, item: Any) -> None:
        """Appends to a list field of the row."""
        self.fields[field] = (*self.get(field), item)

    def note_end(self, field: str, item_id: str, how: str) -> None:
        """What became of a listed thing that leaves the row."""
        self._ended[field, item_id] = how

    # --- facts
    def value(self, name: str, conversation_id: ConversationId | None = None) -> str:
        """Value of a fact; empty when it is not set."""
        fact = self.facts.get(scoped(name, conversation_id))
        return fact.value if fact else ""

    def ref(self, stored_name: str) -> FactRef:
        """A fact as something rests on it now."""
        return fact_ref(self.facts, stored_name)

    def set_fact(
        self,
        name: str,
        value: str,
        *,
        conversation_id: ConversationId | None = None,
        final: bool = True,
        confidence: float | None = None,
        evidence: tuple[str, ...] = (),
        until: TimeUs | None = None,
        at: TimeUs | None = None,
    ) -> None:
        """Sets a fact; nothing happens when value, finality, evidence and end are as they were. at: None = now."""
        stored, value = scoped(name, conversation_id), str(value)
        old = self.facts.get(stored)
        if old and (old.value, old.final, old.evidence, old.until) == (value, final, evidence, until):
            return
        version = old.version + 1 if old else 1
        new = Fact(
            value=value, version=version, offset=self.position.offset, at=self.now if at is None else at, final=final,
            confidence=confidence, evidence=evidence, until=until,
        )  # fmt: skip
        self._change(stored, old, new)

    def drop_fact(self, name: str, conversation_id: ConversationId | None = None) -> None:
        """Removes a fact; nothing happens when it is not set. Set again, it starts at version 1 with a new offset."""
        self.drop_stored(scoped(name, conversation_id))

    def drop_stored(self, stored: str) -> None:
        """Removes a fact by its stored name."""
        old = self.facts.get(stored)
        if old is not None:
            self._change(stored, old, None)

    def _change(self, stored: str, old: Fact | None, new: Fact | None) -> None:
        if self.facts is self.base.facts:
            self.facts = dict(self.facts)
        self._before.setdefault(stored, old)
        self.dirty.add(stored)
        if new is None:
            del self.facts[stored]
        else:
            self.facts[stored] = new

    def take_dirty(self) -> set[str]:
        """Facts changed since the last call."""
        dirty, self.dirty = self.dirty, set()
        return dirty

    # --- outputs
    def emit(self, output_id: str, value: Record, key: str | None = None) -> None:
        """Adds an output, keyed by lead unless said otherwise."""
        self.outputs.append(Output(output_id, self.base.lead_id if key is None else key, value))

    def derive(self, *parts: str | int) -> str:
        """An id of something that this entry makes for this lead."""
        return derive(self.base.lead_id, self.position.partition, self.position.offset, *parts)

    def direct(
        self,
        kind: DirectiveType,
        code: ReasonCode,
        message: str,
        *,
        conversation_id: ConversationId | None = None,
        agent_id: AgentId | None = None,
        speech_mode: SpeechMode | None = None,
        max_tokens: int | None = None,
    ) -> None:
        """Orders agents to do something."""
        directive_id = self.derive("directive", kind, code, conversation_id or "", agent_id or "", speech_mode or "")
        directive = Directive(
            directive_id=directive_id, lead_id=self.base.lead_id, conversation_id=conversation_id, agent_id=agent_id,
            type=kind, speech_mode=speech_mode, code=code, message=message, position=self.position, at=self.now,
            max_tokens=max_tokens,
        )  # fmt: skip
        self.emit(directive_id, directive)

    # --- conversations
    def conversation(self, conversation_id: ConversationId | None) -> Conversation | None:
        """A conversation of the lead by id."""
        return next((c for c in self.get("conversations") if c.conversation_id == conversation_id), None)

    def update_conversation(self, conversation_id: ConversationId, **changes: Any) -> None:
        """Changes the timing of a conversation."""
        self.put(
            "conversations",
            tuple(
                msgspec.structs.replace(c, **changes) if c.conversation_id == conversation_id else c
                for c in self.get("conversations")
            ),
        )

    # --- the end
    @property
    def changed(self) -> bool:
        """Did anything of the row change?"""
        return bool(self.fields) or self.facts is not self.base.facts

    def transitions(self, state: LeadState) -> list[Output]:
        """One record for each fact and each listed thing (conversation, grant, refusal...) that is not as before."""
        found = []
        for name in self._before:
            old, new = self._before[name], self.facts.get(name)
            if old is not new:
                found.append(self._transition(name, old.value if old else "", new.value if new else "", new or old))
        for field, id_of, status in _LISTED:
            were, are = getattr(self.base, field), getattr(state, field)
            if were is not are:
                same = {id(item) for item in were}.intersection(map(id, are))
                before = {id_of(item): status(item) for item in were if id(item) not in same}
                after = {id_of(item): status(item) for item in are if id(item) not in same}
                for item_id in dict.fromkeys((*before, *after)):
                    was = before.get(item_id, "")
                    is_now = after.get(item_id) or self._ended.get((field, item_id), "")
                    if was != is_now:
                        found.append(self._transition(f"{field}/{item_id}", was, is_now, None))
        if "epoch" in self.fields:
            found.append(self._transition("epoch", str(self.base.epoch), str(self.fields["epoch"]), None))
        return found

    def _transition(self, name: str, old_value: str, new_value: str, fact: Fact | None) -> Output:
        transition_id = self.derive("transition", name)
        transition = Transition(
            transition_id=transition_id, lead_id=self.base.lead_id, fact=name, old_value=old_value,
            new_value=new_value, version=fact.version if fact else 0, final=fact.final if fact and new_value else True,
            cause_kind=self.entry.kind, cause_id=self.cause_id, position=self.position, at=self.now,
        )  # fmt: skip
        return Output(transition_id, self.base.lead_id, transition)

    def freeze(self) -> LeadState:
        """The row after the entry: the same object when nothing changed."""
        if not self.changed:
            return self.base
        return bounded(
            msgspec.structs.replace(
                self.base, **self.fields, facts=self.facts, version=self.base.version + 1,
                applied_offset=self.position.offset, now=self.now,
            )
        )  # fmt: skip


def fact_ref(facts: dict[str, Fact], stored_name: str) -> FactRef:
    """A reference to a fact as it stands; version 0 when it is not set."""
    fact = facts.get(stored_name)
    if fact is None:
        return FactRef(name=stored_name, value="", version=0, offset=-1, final=False)
    return FactRef(name=stored_name, value=fact.value, version=fact.version, offset=fact.offset, final=fact.final)


_CAUSE_IDS = {
    EntryKind.REQUEST: "request_id",
    EntryKind.OUTCOME: "outcome_id",
    EntryKind.INTERVENTION: "intervention_id",
    EntryKind.POLICY: "activation_id",
    EntryKind.TICK: "tick_id",
}


def cause_id(entry: JournalEntry) -> str:
    """Id of the record that an entry carries, as its producer named it."""
    found: str = getattr(entry.body, _CAUSE_IDS.get(entry.kind, "event_id"))
    return found
