"""The decision table: every role x action x stage x speech mode x escalation of the default bundle, judged by the fold.

    python -m tests.core.decision_table            compare with the reviewed snapshot, decision_table.md
    python -m tests.core.decision_table --write    accept what the fold decides now as the snapshot

Each cell is one request, folded by `fold.step` into a lead whose row is written down here: nothing is in the way but
what the cell is about. The lead is known and consented in writing, it is noon, the AI was disclosed, nobody has the
floor, nothing is refused. A person answered; for a voicemail a machine did. The fact behind each speech mode and the
trigger fact, the case and the suspended actions behind each escalation are those that the fold would set.

Synthetic, and judged all the same: a mode wider than stage or case leave room for (OPEN before the stage of closing, or
while a case restrains to NEUTRAL_HOLDING). The fold derives modes when a fact changes, so a row that says otherwise is
judged as it stands. NO_CALL is a request outside of any conversation, the only place for a first contact.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import product
from math import prod
from pathlib import Path
from typing import NamedTuple

from msgspec import structs

from processors.fold import step
from processors.law import Law
from processors.lead import new_lead
from schemas.jsonio import parse_time
from schemas.records import (
    AgentId,
    AgentRequest,
    CaseStatus,
    Channel,
    Conversation,
    ConversationId,
    CriterionName,
    Decision,
    EntryKind,
    Fact,
    JournalEntry,
    LeadId,
    LeadState,
    OpenCase,
    Position,
    RequestId,
    SpeechMode,
    Verdict,
)
from tests.core.story import COURT, NOON_NEW_YORK, SECOND, default_bundle

SNAPSHOT = Path(__file__).with_name("decision_table.md")
BUNDLE = default_bundle()
LAW = Law(BUNDLE, BUNDLE.digest(), revision=1)
LEAD, CALL = LeadId("lead-1"), ConversationId("c1")
NOW = parse_time(NOON_NEW_YORK)
OFFSET = 100

ROLES = (*BUNDLE.roles, "wizard")
STAGES = tuple(stage.name for stage in BUNDLE.stages)
NO_CALL = "NO_CALL"
MODES = (*SpeechMode, NO_CALL)
NO_CASE = "none"
EXPIRED_WAIT = "defer_expired_capture_commitment"
"""The case that a wait of `capture_commitment` becomes at its deadline; such cases have no trigger in the bundle."""
CASES = (NO_CASE, *(trigger.cause for trigger in BUNDLE.triggers), EXPIRED_WAIT)

AMOUNTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "offer_discount": ("discount_bp", (1_000, 3_000, 3_001)),
    "capture_commitment": ("price_minor", (5_000_000, 50_000_000, 50_000_001)),
}
"""Amounts at the edges of authority: what every role may, what only an executive may, what nobody may."""


class Ask(NamedTuple):
    """What is asked for: an action, with an amount where authority is by amount."""

    action: str
    amount: int | None = None

    def __str__(self) -> str:
        return self.action if self.amount is None else f"{self.action} {AMOUNTS[self.action][0]}={self.amount}"


class Cell(NamedTuple):
    """One combination."""

    role: str
    ask: Ask
    stage: str
    mode: str
    case: str


ASKS = tuple(
    Ask(action, amount)
    for action in (*BUNDLE.actions, "sell_the_moon")
    for amount in (AMOUNTS[action][1] if action in AMOUNTS else (None,))
)

Table = dict[Cell, list[Decision]]
"""Every decision that came out for each cell."""


def cells() -> Iterator[Cell]:
    """Every combination."""
    return (Cell(*values) for values in product(ROLES, ASKS, STAGES, MODES, CASES))


def table() -> Table:
    """Judges every cell."""
    return {cell: decide(cell) for cell in cells()}


def decide(cell: Cell) -> list[Decision]:
    """Every decision that the fold gives on one cell."""
    entry = JournalEntry(
        entry_id="entry", lead_id=LEAD, kind=EntryKind.REQUEST, at=NOW, source_topic="", source_partition=0,
        source_offset=OFFSET, body=request(cell),
    )  # fmt: skip
    state = lead(cell.stage, cell.mode, cell.case, cell.ask.action == "leave_voicemail")
    outputs = step(state, entry, Position(partition=0, offset=OFFSET), COURT, LAW).outputs
    return [output.value for output in outputs if isinstance(output.value, Decision)]


def request(cell: Cell) -> AgentRequest:
    """A request that is well formed in every respect that the cell is not about."""
    role = BUNDLE.roles.get(cell.role)
    parameters = {AMOUNTS[cell.ask.action][0]: cell.ask.amount} if cell.ask.amount is not None else {}
    field = role.crm_fields[0] if role and role.crm_fields else "need"
    return AgentRequest(
        request_id=RequestId("request"), lead_id=LEAD, conversation_id=None if cell.mode == NO_CALL else CALL,
        agent_id=AgentId("agent"), role=cell.role, action=cell.ask.action, channel=_channel(cell), requested_at=NOW,
        parameters=parameters, crm_fields={field: "x"} if cell.ask.action == "update_crm" else {},
    )  # fmt: skip


def _channel(cell: Cell) -> Channel:
    role = BUNDLE.roles.get(cell.role)
    if cell.ask.action == "send_message":
        return Channel.SMS if role is None or Channel.SMS in role.channels else Channel.EMAIL
    return Channel.BACKEND if cell.ask.action == "update_crm" else Channel.VOICE


# --- leads
@cache
def lead(stage: str, mode: str, cause: str, by_machine: bool) -> LeadState:
    """The row of a lead in a stage, in a conversation in a mode (in none for NO_CALL), with a case open or none."""
    facts = {
        "lead.external_id": "crm-1", "lead.time_zones": "America/New_York", "lead.jurisdictions": "US",
        **{f"consent.{channel.lower()}.sales": "EXPRESS_WRITTEN" for channel in Channel}, **_of_stage(stage),
    }  # fmt: skip
    conversations: tuple[Conversation, ...] = ()
    if mode != NO_CALL:
        facts |= _of_call(SpeechMode(mode), by_machine)
        conversations = (
            Conversation(
                conversation_id=CALL, channel=Channel.VOICE, provider="twilio", started_at=NOW - 60 * SECOND,
                answered_at=NOW - 50 * SECOND, last_activity_at=NOW - SECOND, barge_ins=0,
            ),
        )  # fmt: skip
    case = _case(cause)
    if case is not None:
        facts |= {f"case.{cause}": CaseStatus.OPEN, **_behind(cause, mode != NO_CALL)}
        facts |= {f"suspended.{action}": cause for action in case.suspended}
    return structs.replace(
        new_lead(LEAD), now=NOW - SECOND, applied_offset=OFFSET - 1, version=1, revision=LAW.revision,
        facts={name: _fact(value) for name, value in facts.items()}, conversations=conversations,
        cases=() if case is None else (case,),
    )  # fmt: skip


def _fact(value: str) -> Fact:
    return Fact(value=value, version=1, offset=1, at=NOW - 30 * SECOND, final=True)


def _of_stage(stage: str) -> dict[str, str]:
    reached = BUNDLE.stages[: STAGES.index(stage) + 1]
    earned = {condition.fact: condition.values[0] for one in reached for condition in one.earned_by}
    return earned | ({"stage": stage} if stage != STAGES[0] else {})


_BEHIND_MODE = {
    SpeechMode.NO_COMMITMENT: {"objection.open": "price", "objection.about.price": "raised"},
    SpeechMode.NEUTRAL_HOLDING: {f"conversation.disengaged/{CALL}": "yes"},
    SpeechMode.TRANSFER_ONLY: {f"conversation.transfer/{CALL}": "started"},
    SpeechMode.SILENT: {f"conversation.hold/{CALL}": "yes"},
}


def _of_call(mode: SpeechMode, by_machine: bool) -> dict[str, str]:
    kinds = {action.kind for action in BUNDLE.actions.values()}
    return {
        "conversation.live": CALL, f"conversation.phase/{CALL}": "answered", f"conversation.channel/{CALL}": "VOICE",
        f"speech_mode/{CALL}": mode,
        f"conversation.answered_by/{CALL}": "MACHINE" if by_machine else "HUMAN",
        **{f"obligation.{name}/{CALL}": "fulfilled" for name in BUNDLE.obligations},
        **{f"barred.{kind}/{CALL}": mode for kind in kinds - set(LAW.mode(mode).kinds)},
        **_BEHIND_MODE.get(mode, {}),
    }  # fmt: skip


_BEHIND_CASE = {
    "stop_phrase": {f"conversation.stop_phrase/{CALL}": "yes", f"execution.locked/{CALL}": "stop_phrase"},
    "conflicting_signals": {"conflict.language_commitment": "yes"},
    "risk": {"risk": "high"},
    "prohibited_claim": {f"conversation.wording/{CALL}": "prohibited"},
}


def _behind(cause: str, in_call: bool) -> dict[str, str]:
    return {name: value for name, value in _BEHIND_CASE.get(cause, {}).items() if in_call or "/" not in name}


def _case(cause: str) -> OpenCase | None:
    if cause == NO_CASE:
        return None
    trigger = LAW.trigger_of_cause(cause)
    return OpenCase(
        case_id="case", cause=cause, status=CaseStatus.OPEN, opened_at=NOW - 10 * SECOND, message="",
        suspended=trigger.suspends if trigger else (cause.removeprefix("defer_expired_"),),
        deadline=NOW + 600 * SECOND,
    )  # fmt: skip


# --- counts
Counts = dict[str, dict[tuple[str, str], int]]
"""Permits by title of a count: by row and role."""


def is_permit(decisions: list[Decision]) -> bool:
    """Was the request permitted?"""
    return any(decision.verdict is Verdict.PERMIT for decision in decisions)


def is_whole(decision: Decision) -> bool:
    """Three criteria, each with the verdict of its reasons; a permit has none, and nothing else has a grant."""
    names = tuple(criterion.name for criterion in decision.criteria)
    reasons = [reason for criterion in decision.criteria for reason in criterion.reasons]
    agree = all((c.verdict is Verdict.PERMIT) is (not c.reasons) for c in decision.criteria)
    is_permitted = decision.verdict is Verdict.PERMIT
    waits = (decision.verdict is Verdict.DEFER) is (decision.defer is not None)
    return (
        names == tuple(CriterionName) and agree and waits
        and is_permitted is (not reasons) and is_permitted is (decision.grant is not None)
    )  # fmt: skip


def counts(found: Table) -> Counts:
    """Permits by role, against each of the other things."""
    titles = ("action", "stage", "speech mode", "case")
    tallies: dict[str, Counter[tuple[str, str]]] = {title: Counter() for title in titles}
    for cell, decisions in found.items():
        permits = int(is_permit(decisions))
        for title, row in zip(titles, (str(cell.ask), cell.stage, cell.mode, cell.case), strict=True):
            tallies[title][row, cell.role] += permits
    return {title: dict(tally) for title, tally in tallies.items()}


def render(count: Counts) -> str:
    """The counts as tables for people, whole rows and columns of zeros too."""
    sizes = [len(axis) for axis in (ROLES, ASKS, STAGES, MODES, CASES)]
    parts = [_PREFACE.format(cells=prod(sizes), sizes=" x ".join(map(str, sizes)))]
    for title, tally in count.items():
        rows = list(dict.fromkeys(row for row, _ in tally))
        lines = [f"| {title} | " + " | ".join(ROLES) + " | all |", "|---|" + "---:|" * (len(ROLES) + 1)]
        lines += [_line(row, [tally[row, role] for role in ROLES]) for row in rows]
        lines.append(_line("**all**", [sum(tally[row, role] for row in rows) for role in ROLES]))
        parts.append(f"## Permits by role and {title}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _line(row: str, numbers: list[int]) -> str:
    return f"| {row} | " + " | ".join(map(str, numbers)) + f" | {sum(numbers)} |"


_PREFACE = """# Decision table of the default bundle

How many of {cells} combinations (roles x asks x stages x speech modes x cases = {sizes}) are permitted. Reviewed by
people; compared with what the fold decides by `tests/core/test_decision_table.py`. Written by
`python -m tests.core.decision_table --write`: do not edit by hand, look at the difference before it is committed.
"""


def read(text: str) -> Counts:
    """The counts of a snapshot, without its sums."""
    found: Counts = {}
    tally: dict[tuple[str, str], int] = {}
    roles: list[str] = []
    for line in text.splitlines():
        row, *values = [part.strip() for part in line.strip("|").split("|")]
        if line.startswith("## "):
            tally = found[line.removeprefix("## Permits by role and ")] = {}
            roles = []
        elif line.startswith("|") and not roles:
            roles = values[:-1]
        elif line.startswith("|") and not row.startswith(("---", "**")):
            tally |= {(row, role): int(value) for role, value in zip(roles, values[:-1], strict=True)}
    return found


def differences(snapshot: Counts, now: Counts) -> list[str]:
    """What changed, a sentence a count."""
    lines = []
    for title in dict.fromkeys((*snapshot, *now)):
        old, new = snapshot.get(title, {}), now.get(title, {})
        for key in dict.fromkeys((*old, *new)):
            was, is_now = old.get(key, "not listed"), new.get(key, "not listed")
            if was != is_now:
                lines.append(f"role {key[1]}, {title} {key[0]}: from {was} to {is_now}")
    return lines


def report(found: Table) -> str:
    """What changed since the snapshot and how to accept it; empty when nothing did."""
    snapshot = read(SNAPSHOT.read_text(encoding="utf-8")) if SNAPSHOT.exists() else {}
    lines = differences(snapshot, counts(found))
    if not lines:
        return ""
    how = "If this is meant: python -m tests.core.decision_table --write, and review the difference of the snapshot."
    return "\n".join(["The permits of the default bundle changed:", *lines, how])


def main() -> int:
    """Compares, or writes with --write; 1 when the permits changed."""
    found = table()
    changed = report(found)
    if "--write" in sys.argv[1:]:
        SNAPSHOT.write_text(render(counts(found)), encoding="utf-8")
    print(changed or f"{len(found)} combinations, {sum(map(is_permit, found.values()))} permits, as reviewed.")
    return 1 if changed and "--write" not in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
