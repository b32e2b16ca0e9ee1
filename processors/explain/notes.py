"""An explanation of a decision as a value, and its JSON. A grant is never part of it: its id and claims are."""

from datetime import UTC, datetime, timedelta

import msgspec

from processors.explain.refold import Comparison
from processors.timing import zone
from schemas.jsonio import iso
from schemas.records import TimeUs

Claim = str | int | bool | None | list[str]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the parts of an explanation: a value."""


class Moment(Part, frozen=True, kw_only=True):
    """A time. local: the same by the clock of each time zone that the lead may be in."""

    utc: str
    local: dict[str, str]


class Words(Part, frozen=True, kw_only=True):
    """What was said. text None: the journal at hand does not hold it."""

    segment_id: str
    speaker: str
    status: str
    text: str | None
    said_at: Moment | None


class FactNote(Part, frozen=True, kw_only=True):
    """A fact as it was read. value None: it was not set. set_by None: the journal at hand does not say."""

    name: str
    value: str | None
    final: bool
    version: int
    offset: int
    confidence: float | None = None
    set_by: str | None = None
    set_at: Moment | None = None
    words: tuple[Words, ...] = ()


class ReasonNote(Part, frozen=True, kw_only=True):
    """One reason. would_hold_when: clauses that are true together when the rule holds.

    severity: by the policy, from low to critical; None when no rule of the policy at hand gave the reason.
    """

    code: str
    meaning: str
    advice: str
    rule_id: str
    title: str | None
    severity: str | None
    source: str
    message: str
    facts: tuple[FactNote, ...]
    would_hold_when: tuple[str, ...]
    stood_in_the_way: tuple[str, ...]


class CriterionNote(Part, frozen=True, kw_only=True):
    """One criterion. held: ids of its rules about this action and role that held."""

    name: str
    verdict: str
    reasons: tuple[ReasonNote, ...]
    held: tuple[str, ...]


class DeferNote(Part, frozen=True, kw_only=True):
    """What a defer waits, or waited, for."""

    defer_id: str
    resume_when: tuple[str, ...]
    not_before: Moment | None
    deadline: Moment
    on_deadline: str


class GrantNote(Part, frozen=True, kw_only=True):
    """A grant without its token."""

    grant_id: str
    expires_at: Moment | None
    single_use: bool
    claims: dict[str, Claim]


class PolicyNote(Part, frozen=True, kw_only=True):
    """The policy that judged. Empty version: none was in force."""

    version: str
    digest: str
    title: str | None = None
    revision: int | None = None
    approved_by: str | None = None
    since: Moment | None = None


class OverrideNote(Part, frozen=True, kw_only=True):
    """What a person's override changed. before: the verdict of the rules alone; lifted: what no longer counted."""

    override_id: str
    author: str
    author_role: str
    reason: str
    before: str
    lifted: tuple[ReasonNote, ...]


class AnswerNote(Part, frozen=True, kw_only=True):
    """Another answer to the same request."""

    decision_id: str
    verdict: str
    at: Moment


class Explanation(Part, frozen=True, kw_only=True):
    """A decision explained.

    changes: what would change the verdict. obligations: titles by name. caveats: what could not be shown, and why.
    """

    decision_id: str
    request_id: str
    lead_id: str
    conversation_id: str | None
    agent_id: str
    role: str
    action: str
    action_title: str | None
    channel: str
    verdict: str
    requested_at: Moment
    at: Moment
    partition: int
    offset: int
    asked: dict[str, str | int | bool]
    criteria: tuple[CriterionNote, ...]
    override: OverrideNote | None
    rests_on: tuple[FactNote, ...]
    changes: tuple[str, ...]
    defer: DeferNote | None
    grant: GrantNote | None
    obligations: dict[str, str]
    speech_mode: str
    max_tokens: int | None
    prompt_scope: tuple[str, ...]
    policy: PolicyNote
    answers: tuple[AnswerNote, ...]
    caveats: tuple[str, ...]
    rederived: Comparison


def as_json(explanation: Explanation) -> str:
    """An explanation as JSON; `from_json` reads it again."""
    return msgspec.json.format(msgspec.json.encode(explanation), indent=2).decode()


def from_json(text: str) -> Explanation:
    """An explanation from its JSON."""
    return msgspec.json.decode(text, type=Explanation)


class Calendar:
    """Times by UTC and by the lead's own clock."""

    def __init__(self, zones: str) -> None:
        self._zones = {name: place for name in zones.split(",") if name and (place := zone(name)) is not None}

    def moment(self, at: TimeUs) -> Moment:
        """A time as a value."""
        instant = _EPOCH + timedelta(microseconds=at)
        local = {name: instant.astimezone(place).isoformat(timespec="seconds") for name, place in self._zones.items()}
        return Moment(utc=iso(at), local=local)

    def maybe(self, at: TimeUs | None) -> Moment | None:
        """A time that may be missing."""
        return None if at is None else self.moment(at)

    def tell(self, at: TimeUs) -> str:
        """A time in words."""
        return told(self.moment(at))


def told(moment: Moment) -> str:
    """A moment as people write it: to the second, local times in brackets."""
    utc = f"{moment.utc[:10]} {moment.utc[11:19]}Z"
    local = [
        f"{'' if at[:10] == moment.utc[:10] else at[:10] + ' '}{at[11:19]} {name}" for name, at in moment.local.items()
    ]
    return f"{utc} ({', '.join(local)})" if local else utc
