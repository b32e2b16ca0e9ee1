"""One lead's journal folded again up to a decision: what the decision rested on, and whether it comes out again.

Only the lead's own entries, activations of policies and ticks are folded; the rest of the partition is passed over,
so that a long journal costs little more than reading it.
"""

from hashlib import sha256
from typing import Any, NamedTuple

import jwt
import msgspec

from processors.authority import Court
from processors.draft import Output
from processors.offline import MemoryRows
from processors.partition import LEAD_PREFIX, Partition
from schemas.codec import encode
from schemas.jsonio import to_json
from schemas.records import (
    AgentOutcome,
    AgentRequest,
    CallEvent,
    CrmEvent,
    Decision,
    EntryKind,
    Fact,
    FactRef,
    HumanIntervention,
    JournalEntry,
    LeadId,
    LeadState,
    MessageEvent,
    MessageEventType,
    PolicyActivation,
    Position,
    RequestId,
    SegmentStatus,
    Signal,
    Speaker,
    TimeUs,
    TranscriptSegment,
)
from schemas.rows import decode_row

_SETTLED = (SegmentStatus.FINAL, SegmentStatus.CORRECTED, SegmentStatus.WITHDRAWN)


class Heard(NamedTuple):
    """Words as they stood at the decision. said_at: by the platform's clock where it gave one."""

    segment_id: str
    speaker: Speaker
    status: SegmentStatus
    text: str
    said_at: TimeUs


class Refold:
    """Takes the entries of one journal partition in order, up to a place, and keeps what concerns one lead.

    before, after: the lead's row before and after the entry at that place; None when it had none.
    entries: the lead's entries and the ticks that changed it, by offset. decisions: all on the lead, oldest first.
    first: offset of the first entry taken. missing: holes between entries, as first and last offset.
    """

    def __init__(self, lead_id: LeadId, until: Position, court: Court) -> None:
        self.lead_id = lead_id
        self.until = until
        self.before: LeadState | None = None
        self.after: LeadState | None = None
        self.entries: dict[int, JournalEntry] = {}
        self.heard: dict[str, Heard] = {}
        self.requests: dict[RequestId, AgentRequest] = {}
        self.activations: list[tuple[TimeUs, PolicyActivation]] = []
        self.decisions: list[Decision] = []
        self.first: int | None = None
        self.missing: list[tuple[int, int]] = []
        self.next = 0
        self._rows = MemoryRows()
        self._partition = Partition(until.partition, self._rows, court)

    def take(self, entry: JournalEntry | None, offset: int) -> None:
        """Folds the next entry; None is one of another lead, or one that can't be read."""
        if self.first is None:
            self.first = self.next = offset
        if offset < self.next or offset > self.until.offset:
            return
        if offset > self.next:
            self.missing.append((self.next, offset - 1))
            for hole in range(self.next, offset):
                self._partition.skip(hole)
        self.next = offset + 1
        if entry is None or not self._concerns(entry):
            self._partition.skip(offset)
            return
        if offset == self.until.offset:
            self.before = self._state()
        self._note(entry, offset, self._partition.apply(entry, offset))
        if offset == self.until.offset:
            self.after = self._state()

    @property
    def reached(self) -> bool:
        """Whether the entry at the place was taken."""
        return self.next > self.until.offset

    def fact(self, ref: FactRef) -> Fact | None:
        """The fact that a reference means; None when the refold has no such fact."""
        for state in (self.before, self.after):
            fact = state.facts.get(ref.name) if state else None
            if fact is not None and (fact.version, fact.offset) == (ref.version, ref.offset):
                return fact
        return None

    def request_of(self, decision: Decision) -> AgentRequest | None:
        """The request that was decided on: the one of that entry, else the first, or the one that waited, of its id.

        Several may bear one id: a conflict, or requests in another's name.
        """
        entry = self.entries.get(decision.position.offset)
        if entry is not None and isinstance(entry.body, AgentRequest) and entry.body.request_id == decision.request_id:
            return entry.body
        return self.requests.get(decision.request_id)

    def again(self, decision: Decision) -> Decision | None:
        """The decision of the same id that the refold gave."""
        return next((d for d in self.decisions if d.decision_id == decision.decision_id), None)

    def _concerns(self, entry: JournalEntry) -> bool:
        return entry.lead_id == self.lead_id or entry.kind in (EntryKind.POLICY, EntryKind.TICK)

    def _state(self) -> LeadState | None:
        self._rows.rows.update(self._partition.take_writes())
        row = self._rows.get(LEAD_PREFIX + self.lead_id.encode())
        return decode_row(LeadState, row) if row else None

    def _note(self, entry: JournalEntry, offset: int, outputs: list[Output]) -> None:
        decided = [output.value for output in outputs if isinstance(output.value, Decision)]
        self.decisions += [decision for decision in decided if decision.lead_id == self.lead_id]
        if isinstance(entry.body, PolicyActivation):
            self.activations.append((entry.at, entry.body))
            return
        if entry.kind is EntryKind.TICK and len(outputs) == 1:
            return  # the partition's heartbeat, nothing about the lead
        self.entries[offset] = entry
        if isinstance(entry.body, AgentRequest):
            if entry.body.request_id not in self.requests or any(d.defer is not None for d in decided):
                self.requests[entry.body.request_id] = entry.body
        elif isinstance(entry.body, TranscriptSegment | MessageEvent):
            self._hear(entry.body, entry.at)

    def _hear(self, body: TranscriptSegment | MessageEvent, at: TimeUs) -> None:
        said_at = body.occurred_at or at
        if isinstance(body, MessageEvent):
            if body.type is MessageEventType.RECEIVED:
                self.heard[body.message_id] = Heard(
                    body.message_id, Speaker.LEAD, SegmentStatus.FINAL, body.text, said_at
                )
            return
        known = self.heard.get(body.segment_id)
        if known is not None and known.status in _SETTLED and body.status not in _SETTLED:
            return
        text = "" if body.status is SegmentStatus.WITHDRAWN else body.text
        self.heard[body.segment_id] = Heard(body.segment_id, body.speaker, body.status, text, said_at)


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A decision as recorded against the one that its journal gives.

    difference: the first field that differs, with both values; None when nothing differs. A signature is never
    shown. signature_compared: False when the key at hand did not sign the recorded grant: then everything but the
    grant's signature and key id was compared.
    """

    identical: bool
    recorded_sha256: str
    derived_sha256: str
    signature_compared: bool
    difference: str | None = None


def compare(recorded: Decision, body: bytes, derived: Decision | None, kid: str) -> Comparison:
    """Compares bytes. body: the recorded decision's Avro encoding as it lies on the topic. kid: of the key at hand."""
    recorded_sha = sha256(body).hexdigest()
    if derived is None:
        return Comparison(
            identical=False, recorded_sha256=recorded_sha, derived_sha256="", signature_compared=False,
            difference="the journal gives no decision of this id",
        )  # fmt: skip
    again = encode(derived)
    with_signature = recorded.grant is None or derived.grant is None or _kid(recorded.grant) == kid
    found = None
    if again != body:
        found = first_difference(_open(recorded, with_signature), _open(derived, with_signature))
        if found is None and with_signature:
            found = "the encoding: the fields are the same, the bytes are not"
    return Comparison(
        identical=found is None, recorded_sha256=recorded_sha, derived_sha256=sha256(again).hexdigest(),
        signature_compared=with_signature, difference=found,
    )  # fmt: skip


def shortcomings(refold: Refold, comparison: Comparison) -> list[str]:
    """What the journal at hand does not give; nothing when it gives the decision again."""
    if comparison.identical:
        return []
    found = [
        f"The journal at hand does not give this decision again ({comparison.difference}). What follows is what the "
        "decision itself carries; facts without their origin are marked."
    ]
    if not refold.reached:
        found.append(f"The journal at hand ends before the decision's entry, offset {refold.until.offset}.")
    if refold.first:
        found.append(
            f"It begins at offset {refold.first}: what came before (retention removed it, or the export left it out) "
            "may hold the beginning of this lead."
        )
    if refold.missing:
        holes = ", ".join(f"{first}-{last}" for first, last in refold.missing[:3])
        found.append(
            f"Entries are missing in it: {holes}{', …' if len(refold.missing) > 3 else ''}. An export is whole when "
            "`mandate tail` had no --lead and no --max."
        )
    return found


def first_difference(recorded: Any, derived: Any, path: str = "") -> str | None:
    """The first place at which two plain JSON values differ, in words; None when they are equal."""
    if isinstance(recorded, dict) and isinstance(derived, dict):
        keys = dict.fromkeys((*recorded, *derived))
        pairs = [(f"{path}.{key}" if path else str(key), recorded.get(key), derived.get(key)) for key in keys]
    elif isinstance(recorded, list) and isinstance(derived, list) and len(recorded) == len(derived):
        pairs = [(f"{path}[{i}]", a, b) for i, (a, b) in enumerate(zip(recorded, derived, strict=True))]
    else:
        same = recorded == derived
        return None if same else f"{path}: recorded {_short(recorded)}, the journal gives {_short(derived)}"
    return next((found for place, a, b in pairs if (found := first_difference(a, b, place))), None)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:199] + "…"


def _open(decision: Decision, with_signature: bool) -> dict[str, Any]:
    """A decision as plain values with its grant taken apart: a token is a secret, its claims are not."""
    plain = to_json(decision)
    if decision.grant is not None:
        plain["grant"] = {"claims": claims_of(decision.grant)}
        if with_signature:
            token = sha256(decision.grant.encode()).hexdigest()
            plain["grant"] |= {"key_id": _kid(decision.grant), "sha256 of the token": token}
    return plain


def claims_of(token: str) -> dict[str, Any]:
    """What a grant says, without its signature; empty when it is no JWT."""
    try:
        return dict(jwt.decode(token, options={"verify_signature": False}))
    except jwt.PyJWTError:
        return {}


def _kid(token: str) -> str:
    try:
        return str(jwt.get_unverified_header(token).get("kid", ""))
    except jwt.PyJWTError:
        return ""


def evidence_of(entry: JournalEntry) -> tuple[str, ...]:
    """Segments that an entry itself rests on."""
    body = entry.body
    if isinstance(body, Signal):
        return body.evidence
    if isinstance(body, TranscriptSegment):
        return (body.segment_id,)
    return (body.message_id,) if isinstance(body, MessageEvent) and body.text else ()


def describe(entry: JournalEntry) -> str:
    """What an entry is, in a few words."""
    body = entry.body
    if isinstance(body, Signal):
        subject = f" about {body.subject}" if body.subject else ""
        return f"signal {body.type}{subject} (confidence {body.confidence:g}, detector {body.detector})"
    if isinstance(body, TranscriptSegment):
        return f"{body.status.lower()} transcript"
    if isinstance(body, CallEvent | CrmEvent | MessageEvent):
        return f"{entry.kind.lower()} event {body.type}"
    if isinstance(body, AgentRequest):
        return f"the request of {body.agent_id} for {body.action}"
    if isinstance(body, AgentOutcome):
        return f"the outcome {body.result} reported by {body.agent_id}"
    if isinstance(body, HumanIntervention):
        return f"{body.type} by {body.author} ({body.author_role}: {body.reason})"
    return "the passing of time"
