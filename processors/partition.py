"""One journal partition: which rows an entry touches, which policy judges it, and in what order rows are written.

Rows that index others may be too early, never too late: a timer that moves to an earlier time is written before its
lead, one that moves to a later time after it. So whatever prefix of the writes survives a crash, no timer is lost and
a refold gives the same outputs.

Row keys: `p` the partition itself, `y` its policies, `l/<lead>` a lead, `t/<lead>` when that lead is due.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from processors.authority import Court
from processors.draft import Output
from processors.fold import due_at, step
from processors.ids import derive
from processors.law import Law, compile_law
from processors.policy import PolicyError
from schemas.records import (
    EntryKind,
    JournalEntry,
    LeadId,
    LeadState,
    PartitionState,
    PolicyActivation,
    PolicyHistory,
    PolicyInForce,
    Position,
    ReasonCode,
    Revocation,
    RevocationScope,
    TimeUs,
)
from schemas.rows import decode_row, encode_row

PARTITION_KEY = b"p"
POLICIES_KEY = b"y"
LEAD_PREFIX = b"l/"
TIMER_PREFIX = b"t/"
# Decoded leads kept at hand; a row not among them is read from the table again.
CACHED_LEADS = 20_000
KEPT_POLICIES = 16
NEVER: TimeUs = 1 << 62


class Rows(Protocol):
    """The rows of one partition, as they were last written."""

    def get(self, key: bytes) -> bytes | None:
        """A row's value."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All rows whose key starts with a prefix; read once, when the partition is taken over."""


Write = tuple[bytes, bytes]


class Changes(NamedTuple):
    """What changed, as it was when it was taken: what is folded afterwards does not touch it."""

    before: list[Write]
    leads: list[tuple[bytes, LeadState]]
    after: list[Write]

    def rows(self) -> Iterator[Write]:
        """The rows, in the order in which they must be written, each encoded when it is asked for: that costs most."""
        yield from self.before
        for key, state in self.leads:
            yield key, encode_row(state)
        yield from self.after


class _Ticking(NamedTuple):
    """A tick that is being folded. left: the leads for which it was not yet."""

    entry: JournalEntry
    position: Position
    left: dict[LeadId, None]


class Gap(Exception):  # noqa: N818 - it is the journal's word for it
    """Entries are missing between the last one applied and this one.

    The process must end before it acknowledges anything; the restart reads again. An operator sees this when a
    journal was truncated under a live group: restore it, or reset control's table and offsets together.
    """


class Partition:
    """The fold over one journal partition. Not thread-safe; one owner."""

    def __init__(self, number: int, rows: Rows, court: Court) -> None:
        self.number = number
        self._rows = rows
        self._court = court
        self._leads: OrderedDict[LeadId, LeadState | None] = OrderedDict()
        self._dirty: dict[LeadId, LeadState] = {}
        self._policy_writes: list[Write] = []
        row = rows.get(PARTITION_KEY)
        self._applied: int | None = decode_row(PartitionState, row).applied_offset if row else None
        self._applied_dirty = False
        self._not_folded = 0
        self._ticking: _Ticking | None = None
        policies = rows.get(POLICIES_KEY)
        self._policies = list(decode_row(PolicyHistory, policies).policies) if policies else []
        self._law: Law | None = None
        self._law_from = -2
        self._due: dict[LeadId, TimeUs] = {
            LeadId(key[len(TIMER_PREFIX) :].decode()): int(value) for key, value in rows.scan(TIMER_PREFIX)
        }
        self._written_due = dict(self._due)
        self._touched: set[LeadId] = set()
        self._heap = [(due, lead) for lead, due in self._due.items() if due < NEVER]
        heapq.heapify(self._heap)

    @property
    def applied_offset(self) -> int | None:
        """Last entry applied; None before the first."""
        return self._applied

    @property
    def law(self) -> Law | None:
        """The policy that the next entry is judged by; None when there is none."""
        return self._law_at(0 if self._applied is None else self._applied + 1)

    @property
    def leads_at_hand(self) -> int:
        """Leads kept decoded."""
        return len(self._leads)

    def next_due(self) -> TimeUs | None:
        """Earliest time at which a lead may want a tick; None when none does."""
        return self._heap[0][0] if self._heap else None

    def apply(self, entry: JournalEntry, offset: int) -> list[Output]:
        """Folds one entry; raises Gap when entries before it are missing. What it gave before it gives again."""
        self.follow(offset)
        return self.fold(entry, offset)

    def follow(self, offset: int) -> None:
        """Counts the next entry; raises Gap when entries before it are missing. `fold` must follow, once."""
        if self._applied is not None and offset > self._applied + 1:
            raise Gap(
                f"journal partition {self.number}: entry {offset} follows {self._applied}; "
                f"{offset - self._applied - 1} entries are missing"
            )
        self._not_folded += 1
        if self._applied is None or offset > self._applied:
            self._applied = offset
            self._applied_dirty = True

    def fold(self, entry: JournalEntry, offset: int) -> list[Output]:
        """Folds an entry that was counted; what it gave before it gives again.

        Entries of different leads may be folded in any order, with the same outputs and rows. Those of one lead keep
        theirs; a policy or a tick comes after all before it and before all after it.
        """
        if entry.kind is EntryKind.TICK:
            outputs = self.begin_tick(entry, offset)
            while self.is_ticking:
                outputs += self.go_on_ticking()
            return outputs
        self._not_folded -= 1
        position = Position(partition=self.number, offset=offset)
        if entry.kind is EntryKind.POLICY:
            return self._activate(entry, position)
        return list(self._fold(entry.lead_id, entry, position))

    @property
    def is_ticking(self) -> bool:
        """Whether a tick is folded for some of the leads that are due and not for all."""
        return self._ticking is not None

    def begin_tick(self, entry: JournalEntry, offset: int) -> list[Output]:
        """Begins to fold a tick that was counted: as `fold`, but lead by lead, with `go_on_ticking`.

        Entries behind it may be folded meanwhile, each once its lead is through (`tick_for`).
        """
        position = Position(partition=self.number, offset=offset)
        self._ticking = _Ticking(entry, position, dict.fromkeys(self._take_due(entry.at)))
        return self._end_tick()

    def go_on_ticking(self) -> list[Output]:
        """Folds the tick that began for one lead more; the last time with its heartbeat."""
        assert self._ticking is not None
        return self.tick_for(next(iter(self._ticking.left)))

    def tick_for(self, lead_id: LeadId) -> list[Output]:
        """Folds the tick that began for this lead next; nothing when there is none or the lead is through."""
        if self._ticking is None or lead_id not in self._ticking.left:
            return []
        entry, position, left = self._ticking
        del left[lead_id]
        outputs: list[Output] = []
        due = self.due_of(lead_id)
        if due is not None and due <= entry.at:
            outputs += self._fold(lead_id, entry, position)
            due = self.due_of(lead_id)
        if due is not None:
            self._index(lead_id, due)
        return outputs + self._end_tick()

    def skip(self, offset: int) -> None:
        """Passes over an entry that can't be read; raises Gap as `apply` does."""
        self.follow(offset)
        self._not_folded -= 1

    def take_changes(self) -> Changes:
        """What changed since the last call; takes little time, whatever the rows take.

        Raises RuntimeError while an entry is counted and not folded: the rows would say that it was applied.
        """
        if self._not_folded:
            raise RuntimeError(f"{self._not_folded} entries of partition {self.number} are counted and not folded")
        earlier, later = self._timer_writes()
        leads = [(LEAD_PREFIX + lead.encode(), state) for lead, state in self._dirty.items()]
        if self._applied_dirty and self._applied is not None:
            row = PartitionState(partition=self.number, applied_offset=self._applied)
            later.append((PARTITION_KEY, encode_row(row)))
        changes = Changes(self._policy_writes + earlier, leads, later)
        self._policy_writes, self._dirty, self._applied_dirty = [], {}, False
        self._trim_cache()
        return changes

    def take_writes(self) -> list[Write]:
        """Rows changed since the last call, in the order in which they must be written."""
        return list(self.take_changes().rows())

    def _timer_writes(self) -> tuple[list[Write], list[Write]]:
        """Timer rows that moved: to an earlier time, written before the leads; to a later one, after them."""
        earlier: list[Write] = []
        later: list[Write] = []
        for lead_id in sorted(self._touched):
            due, written = self._due.get(lead_id, NEVER), self._written_due.get(lead_id, NEVER)
            if due != written:
                row = (TIMER_PREFIX + lead_id.encode(), str(due).encode())
                (earlier if due < written else later).append(row)
                self._written_due[lead_id] = due
        self._touched = set()
        return earlier, later

    # --- leads
    def _fold(self, lead_id: LeadId, entry: JournalEntry, position: Position) -> tuple[Output, ...]:
        before = self._lead(lead_id)
        law = self._law_at(position.offset)
        change = step(before, entry, position, self._court, law)
        if change.state is not before and change.state.applied_offset == position.offset:
            self._leads[lead_id] = self._dirty[lead_id] = change.state
            self._schedule(lead_id, due_at(change.state, law))
        return change.outputs

    def _lead(self, lead_id: LeadId) -> LeadState | None:
        if lead_id in self._leads:
            self._leads.move_to_end(lead_id)
            return self._leads[lead_id]
        row = self._rows.get(LEAD_PREFIX + lead_id.encode())
        state = decode_row(LeadState, row) if row else None
        self._leads[lead_id] = state
        return state

    def _trim_cache(self) -> None:
        while len(self._leads) > CACHED_LEADS:
            self._leads.popitem(last=False)

    # --- timers: the index may be too early, never too late
    def _schedule(self, lead_id: LeadId, due: TimeUs | None) -> None:
        indexed = self._due.get(lead_id)
        if due is not None and (indexed is None or due < indexed):
            self._index(lead_id, due)

    def _index(self, lead_id: LeadId, due: TimeUs) -> None:
        self._due[lead_id] = due
        self._touched.add(lead_id)
        heapq.heappush(self._heap, (due, lead_id))

    def _end_tick(self) -> list[Output]:
        """The heartbeat, once every lead is through."""
        assert self._ticking is not None
        entry, position, left = self._ticking
        if left:
            return []
        self._ticking = None
        self._not_folded -= 1
        return [self._heartbeat(entry, position)]

    def due_of(self, lead_id: LeadId) -> TimeUs | None:
        """When a lead is due by its row alone, under the policy of its last change.

        An index that is too early must change nothing: a lead that a tick touched for no reason of its own would
        follow a newer policy at another entry than in an undisturbed fold.
        """
        state = self._lead(lead_id)
        return due_at(state, self._law_at(state.applied_offset)) if state else None

    def _take_due(self, now: TimeUs) -> list[LeadId]:
        """Leads whose indexed time has come, in an order that every machine agrees on."""
        taken = []
        while self._heap and self._heap[0][0] <= now:
            due, lead_id = heapq.heappop(self._heap)
            if self._due.get(lead_id) == due:
                del self._due[lead_id]
                self._touched.add(lead_id)
                taken.append((due, lead_id))
        return [lead_id for _, lead_id in sorted(taken, key=lambda item: item[1])]

    def _heartbeat(self, entry: JournalEntry, position: Position) -> Output:
        beat_id = derive("heartbeat", position.partition, position.offset)
        subject = str(self.number)
        beat = Revocation(
            revocation_id=beat_id, scope=RevocationScope.HEARTBEAT, subject=subject, lead_id=LeadId(""), epoch=0,
            code=ReasonCode.UNKNOWN, message="", position=position, at=entry.at,
        )  # fmt: skip
        return Output(beat_id, f"{RevocationScope.HEARTBEAT}:{subject}", beat)

    # --- policy
    def _activate(self, entry: JournalEntry, position: Position) -> list[Output]:
        """Takes a policy into force for the entries after it, when it is approved, whole and newer."""
        activation = entry.body
        assert isinstance(activation, PolicyActivation)
        known = next((p for p in self._policies if p.offset == position.offset), None)
        if known is not None:
            # Redelivered: what it gave before it gives again.
            return self._cut_off(activation, position, entry.at)
        if any(p.offset > position.offset for p in self._policies) or not self._acceptable(activation):
            return []
        in_force = PolicyInForce(
            offset=position.offset, revision=activation.revision, digest=activation.digest, activation=activation
        )  # fmt: skip
        self._policies = [*self._policies, in_force][-KEPT_POLICIES:]
        self._policy_writes.append((POLICIES_KEY, encode_row(PolicyHistory(policies=tuple(self._policies)))))
        return self._cut_off(activation, position, entry.at)

    def _cut_off(self, activation: PolicyActivation, position: Position, at: TimeUs) -> list[Output]:
        """Tells enforcers whose grants of earlier revisions are void."""
        cut = compile_law(activation.bundle, activation.digest, activation.revision).bundle.cut_off
        subjects = [(RevocationScope.AGENT, name) for name in cut.agents]
        subjects += [(RevocationScope.ROLE, name) for name in cut.roles]
        subjects += [(RevocationScope.POLICY, name) for name in cut.policies]
        found = []
        for scope, subject in subjects:
            revocation_id = derive("cut-off", position.partition, position.offset, scope, subject)
            revocation = Revocation(
                revocation_id=revocation_id, scope=scope, subject=subject, lead_id=LeadId(""),
                epoch=activation.revision, code=ReasonCode.CUT_OFF, message="The policy in force cuts it off.",
                position=position, at=at,
            )  # fmt: skip
            found.append(Output(revocation_id, f"{scope}:{subject}", revocation))
        return found

    def _acceptable(self, activation: PolicyActivation) -> bool:
        newest = self._policies[-1].revision if self._policies else -1
        if activation.revision <= newest or not self._court.approved(activation):
            return False
        try:
            compile_law(activation.bundle, activation.digest)
        except PolicyError:
            return False
        return True

    def _law_at(self, offset: int) -> Law | None:
        """The policy in force at an entry: entries redelivered from before an activation are judged as they were."""
        found = next((p for p in reversed(self._policies) if p.offset < offset), None)
        if found is None:
            return None
        if self._law is None or self._law_from != found.offset:
            self._law = compile_law(found.activation.bundle, found.digest, found.revision)
            self._law_from = found.offset
        return self._law
