"""The world: journals that grow move by move, the undisturbed owner whose states are checked, and disturbed ones."""

from collections import Counter
from typing import Any, cast

from msgspec import structs

from processors.draft import Output
from processors.offline import MemoryRows
from processors.partition import LEAD_PREFIX, Partition
from schemas.codec import KIND_OF, encode
from schemas.jsonio import parse_time
from schemas.records import (
    Decision,
    EscalationCase,
    HumanIntervention,
    InterventionType,
    JournalEntry,
    LeadId,
    LeadState,
    Record,
    Revocation,
    Tick,
    Verdict,
)
from schemas.rows import decode_row
from tests.core.simulation import bodies, invariants
from tests.core.simulation.moves import NOW, Move
from tests.core.simulation.owners import Broken, Log, Owner, late_writes_are_noticed
from tests.core.story import COURT, NOON_NEW_YORK, SECOND

MAX_TICKS = 25
"""Ticks in one jump of time; those that are left come with the next entries."""


class Line:
    """One journal partition: its entries, who owns it, what is known of its leads."""

    def __init__(self) -> None:
        self.journal: list[JournalEntry] = []
        self.log = Log()
        self.rows = MemoryRows()
        self.first = Partition(0, self.rows, COURT)
        self.states: dict[str, LeadState] = {}
        self.memories: dict[str, invariants.Memory] = {}
        self.policy = invariants.PolicyMemory()
        self.owner = Owner(self.journal, self.log, "the second owner")
        self.stale: Owner | None = None

    def append(self, entry: JournalEntry) -> list[Output]:
        """Folds one entry with the undisturbed owner."""
        offset = len(self.journal)
        self.journal.append(entry)
        outputs = self.first.apply(entry, offset)
        ids = [output.id for output in outputs]
        if len(set(ids)) != len(ids):
            twice = [output.value for output in outputs if ids.count(output.id) > 1]
            raise Broken(f"output_ids_are_unique: {twice}")
        self.log.first(offset, {output.id: encode(output.value) for output in outputs})
        return outputs

    def check(self, entry: JournalEntry, outputs: list[Output]) -> None:
        """Writes what the entry changed, and checks every invariant on it."""
        writes = dict(self.first.take_writes())
        self.rows.rows.update(writes)
        self._check(entry, len(self.journal) - 1, outputs, writes)

    def _check(self, entry: JournalEntry, offset: int, outputs: list[Output], writes: dict[bytes, bytes]) -> None:
        self.policy.hear(entry, offset)
        by_lead: dict[str, list[Record]] = {}
        for output in outputs:
            by_lead.setdefault(getattr(output.value, "lead_id", ""), []).append(output.value)
        touched = {key[len(LEAD_PREFIX) :].decode(): value for key, value in writes.items() if key[:2] == LEAD_PREFIX}
        named = {entry.lead_id} if entry.lead_id else set()
        for lead in sorted({*touched, *by_lead, *named} - {""}):
            before = self.states.get(lead)
            if lead in touched:
                self.states[lead] = decode_row(LeadState, touched[lead])
            memory = self.memories.setdefault(lead, invariants.Memory())
            after = self.states.get(lead)
            scene = invariants.Seen(entry, offset, before, after, tuple(by_lead.get(lead, ())), memory, self.policy)
            invariants.check(scene)
        if isinstance(entry.body, Tick):
            for state in self.states.values():
                invariants.nothing_is_overdue_after_a_tick(state, entry.at)


class World:
    """What a simulation moves. `play` carries out a move and raises Broken when an invariant does not hold."""

    def __init__(self, leads: int = 2, partitions: int = 2) -> None:
        self.now = parse_time(NOON_NEW_YORK)
        self.leads = [LeadId(f"lead-{n}") for n in range(leads)]
        self.lines = [Line() for _ in range(min(partitions, leads))]
        self.seen: Counter[str] = Counter()
        self.moves: list[Move] = []
        self.causes: dict[str, str] = {}
        """Cause of each case."""
        self.granted: dict[str, str] = {}
        """Request of each grant."""
        self.last: dict[str, Verdict] = {}
        """Last answer to each request."""
        self._count = 0
        self._calls: Counter[str] = Counter()
        self._skew = 0
        self._holds = False
        self._held: list[tuple[str, Record]] = []
        self._told: list[tuple[str, Record]] = []
        self._answers: dict[str, list[Decision]] = {}
        self._cases: dict[str, list[str]] = {}
        self._overrides: dict[str, list[str]] = {}

    # --- what bodies are made from
    def fresh(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self._count}"

    def conversation(self, lead: str, name: str) -> str:
        return f"{lead}-k{self._calls[lead]}" if name == NOW else f"{lead}-{name}"

    def new_conversation(self, lead: str) -> str:
        self._calls[lead] += 1
        return self.conversation(lead, NOW)

    def decisions(self, lead: str, verdict: Verdict) -> list[Decision]:
        return [d for d in reversed(self._answers.get(lead, [])[-40:]) if d.verdict is verdict]

    def cases(self, lead: str) -> list[str]:
        return self._cases.get(lead, [])[::-1]

    def overrides(self, lead: str) -> list[str]:
        return self._overrides.get(lead, [])[::-1]

    # --- moves
    def begin(self, scene: str) -> None:
        """A policy is in force, the CRM knows the leads, and with the first of them a scene has been played."""
        self.play(Move("policy", 0, {"number": 0, "forged": False}))
        for number in range(len(self.leads)):
            self.play(Move("scene", number, {"name": "known"}))
        self.play(Move("scene", 0, {"name": scene}))

    def play(self, move: Move) -> None:
        """Carries out one move."""
        self.moves.append(move)
        lead = self.leads[move.lead % len(self.leads)]
        special = _SPECIAL.get(move.word)
        if special is not None:
            special(self, lead, move.given)
            return
        body = bodies.body_of(self, lead, move)
        if body is not None and self._holds:
            self._holds = False
            self._held.append((lead, body))
        elif body is not None:
            self.tell(lead, body)

    def finish(self) -> None:
        """Days pass, everybody catches up; what must have ended has."""
        for _ in range(4):
            self.now += 3 * 86_400 * SECOND
            self._tick_all()
        for line in self.lines:
            for state in line.states.values():
                invariants.nothing_waits_for_ever(state, line.memories[state.lead_id])
            for owner in (line.owner, line.stale):
                if owner is not None:
                    owner.batch(len(line.journal))
                    owner.must_agree(line.rows.rows)

    def tell(self, lead: str, body: Record, after_s: int = 1) -> None:
        """Appends one record about a lead to its journal; policies and ticks go to every journal."""
        self.now += after_s * SECOND
        self._told.append((lead, body))
        to_all = not getattr(body, "lead_id", None)
        for number, line in enumerate(self.lines):
            if to_all or self.leads.index(LeadId(lead)) % len(self.lines) == number:
                self._append(line, body)
        self._skew = 0

    def _append(self, line: Line, body: Record) -> None:
        offset = len(line.journal)
        entry = JournalEntry(
            entry_id=f"entry-{offset}", lead_id=getattr(body, "lead_id", None) or LeadId(""), kind=KIND_OF[type(body)],
            at=self.now - self._skew, source_topic="", source_partition=0, source_offset=offset, body=cast(Any, body),
        )  # fmt: skip
        outputs = line.append(entry)
        self._learn(outputs)
        line.check(entry, outputs)
        if isinstance(body, HumanIntervention) and body.type is InterventionType.OVERRIDE:
            self._overrides.setdefault(body.lead_id, []).append(body.intervention_id)

    def _learn(self, outputs: list[Output]) -> None:
        for output in outputs:
            value = output.value
            self.seen[type(value).__name__] += 1
            if isinstance(value, Decision):
                self._answers.setdefault(value.lead_id, []).append(value)
                self.last[value.request_id] = value.verdict
                if value.grant_id is not None:
                    self.granted[value.grant_id] = value.request_id
                self.seen[f"{value.verdict} {value.action}"] += 1
                if value.verdict != "PERMIT":
                    self.seen.update({r.code + " " + value.action for c in value.criteria for r in c.reasons})
                self.seen["override used"] += value.override is not None
                self.seen[f"{value.verdict} at last"] += value.defer is not None and value.verdict is not Verdict.DEFER
            elif isinstance(value, Revocation):
                self.seen[f"revoked {value.code}"] += 1
            elif isinstance(value, EscalationCase):
                self.seen[f"case {value.status}"] += 1
                self.causes[value.case_id] = value.cause
                known = self._cases.setdefault(value.lead_id, [])
                known += [value.case_id] if value.case_id not in known else []

    def _tick_all(self) -> None:
        self.tell("", Tick(tick_id=self.fresh("tick"), at=self.now), after_s=0)

    # --- moves that make no record of their own
    def _scene(self, lead: str, given: dict[str, Any]) -> None:
        for body in bodies.scene_of(self, lead, given["name"]):
            self.tell(lead, body)

    def _jump(self, lead: str, given: dict[str, Any]) -> None:
        to = self.now + given["seconds"] * SECOND
        for _ in range(MAX_TICKS if given["ticks"] else 0):
            due = min((d for line in self.lines if (d := line.first.next_due()) is not None), default=None)
            if due is None or due > to:
                break
            self.now = max(self.now, due)
            self._tick_all()
        self.now = to

    def _again(self, lead: str, given: dict[str, Any]) -> None:
        if given["of"] < len(self._told):
            of_lead, body = self._told[-1 - given["of"]]
            self.seen["told again"] += 1
            self.tell(of_lead, structs.replace(body, at=self.now) if isinstance(body, Tick) else body)

    def _hold(self, lead: str, given: dict[str, Any]) -> None:
        self._holds = True

    def _release(self, lead: str, given: dict[str, Any]) -> None:
        if self._held:
            self.seen["told late"] += 1
            self.tell(*self._held.pop(given["of"] % len(self._held)))

    def _back(self, lead: str, given: dict[str, Any]) -> None:
        self._skew = given["seconds"] * SECOND

    def _flush(self, lead: str, given: dict[str, Any]) -> None:
        for line in self.lines:
            line.owner.batch(len(line.journal))

    def _crash(self, lead: str, given: dict[str, Any]) -> None:
        for line in self.lines:
            self.seen["crash"] += 1
            line.owner.crash(len(line.journal), given["kept"])

    def _fork(self, lead: str, given: dict[str, Any]) -> None:
        """Another owner takes over from the rows; the one before does not know yet."""
        for line in self.lines:
            self.seen["fork"] += 1
            line.stale, line.owner = line.owner, line.owner.fork("the owner after it")

    def _stale(self, lead: str, given: dict[str, Any]) -> None:
        """The owner before folds a few more entries, late, and writes; its rows come too late to be taken for good."""
        for line in self.lines:
            if line.stale is not None:
                self.seen["stale writes"] += 1
                line.stale.batch(min(line.stale.acknowledged + given["entries"], len(line.journal)))
                late_writes_are_noticed(line.stale, line.owner)


_SPECIAL = {
    "scene": World._scene, "jump": World._jump, "again": World._again, "hold": World._hold, "release": World._release,
    "back": World._back, "flush": World._flush, "crash": World._crash, "fork": World._fork, "stale": World._stale,
}  # fmt: skip
