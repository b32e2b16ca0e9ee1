"""`mandate intervene`: a person acts on a lead. Overrides and their withdrawal bear the person's signature."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy import keys
from deploy.settings import Settings, SettingsError
from processors.authority import override_text
from processors.bounds import fault_in
from processors.ids import derive
from schemas.catalogue import TOPIC_OF
from schemas.headers import cloud_event
from schemas.jsonio import iso, parse_time, to_json
from schemas.records import HumanIntervention, InterventionType, LeadId, PolicySignature, RequestId, TimeUs

BAD_INPUT = 2


class Wrong(ValueError):  # noqa: N818  (the family "refused" of errors)
    """The intervention can't be one. The person who typed it does what the message says."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a kind of intervention takes beside lead, author, role and reason.

    shows: the fact whose transition says that it was taken.
    """

    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    shows: str = ""

    @property
    def is_signed(self) -> bool:
        return "--key" in self.needs


_KINDS: Mapping[InterventionType, _Kind] = {
    InterventionType.CASE_ACKNOWLEDGED: _Kind(needs=("--case",), shows="case.<cause>"),
    InterventionType.CASE_RESOLVED: _Kind(needs=("--case",), shows="case.<cause>"),
    InterventionType.PAUSE: _Kind(shows="paused"),
    InterventionType.RESUME: _Kind(shows="paused"),
    InterventionType.STOP: _Kind(shows="paused"),
    InterventionType.OVERRIDE: _Kind(needs=("--request", "--key"), may=("--until",), shows="override.<action>"),
    InterventionType.OVERRIDE_WITHDRAWN: _Kind(needs=("--override", "--key"), shows="override.<action>"),
    InterventionType.REFUSE: _Kind(needs=("--effect",), may=("--since", "--until"), shows="refused.<effect>"),
    InterventionType.REFUSAL_LIFTED: _Kind(needs=("--effect",), shows="refused.<effect>"),
}
_HELP: Mapping[str, str] = {
    "--lead": "the lead's id",
    "--author": "who you are, as the policy's `people:` names you",
    "--author-role": "the role that gives you the authority",
    "--reason": "why, in words; it is kept for review",
    "--case": "the case_id; `mandate tail escalation.cases --from-start` shows it",
    "--request": "the request_id of what was refused; `mandate tail permission.decisions --from-start` shows it",
    "--override": "the id that `mandate intervene override` printed",
    "--effect": "an effect, as actions.yaml of the policy names it; may be given more than once",
    "--key": "your private key; `mandate intervene --new-key FILE` makes one",
}
_ALWAYS = ("--lead", "--author", "--author-role", "--reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was typed; empty = not given."""

    kind: str
    lead: str = ""
    author: str = ""
    author_role: str = ""
    reason: str = ""
    case: str = ""
    request: str = ""
    override: str = ""
    effects: Sequence[str] = ()
    since: str = ""
    until: str = ""
    key: Path | None = None

    def given(self) -> Mapping[str, object]:
        """What was typed, by the option that takes it."""
        return {
            "--lead": self.lead, "--author": self.author, "--author-role": self.author_role,
            "--reason": self.reason.strip(), "--case": self.case, "--request": self.request,
            "--override": self.override, "--effect": self.effects, "--since": self.since, "--until": self.until,
            "--key": self.key,
        }  # fmt: skip


def run(settings: Settings, wanted: Wanted) -> int:
    """Write one intervention to its topic; wrong input exits 2 and writes nothing."""
    from streams.clock import make_clock

    try:
        kind = check(wanted)
        key = keys.load_private_key(wanted.key) if wanted.key is not None else None
        # Never 0, which means "the wall clock" to the Kafka client: a driven clock that stands at nothing yet stays.
        intervention = build(wanted, max(make_clock(settings).now(), 1000), key)
    except Wrong as error:
        print(f"mandate: {error}", file=sys.stderr)
        return BAD_INPUT
    _append(settings, intervention)
    print(intervention.intervention_id)
    print(
        f"{kind} is on the log. What came of it: mandate tail execution.transitions --lead {wanted.lead} --from-start, "
        f"lines with this cause_id: {_KINDS[kind].shows} when it was taken, intervention.rejected with the reason "
        "when it was not.",
        file=sys.stderr,
    )
    return 0


def check(wanted: Wanted) -> InterventionType:
    """The kind, when it has what it needs and nothing that would go unheard; raises Wrong."""
    kind = _kind(wanted.kind)
    rules, given = _KINDS[kind], wanted.given()
    for option in (*_ALWAYS, *rules.needs):
        if not given[option]:
            raise Wrong(f"{kind} needs {option}: {_HELP[option]}.")
    for option, value in given.items():
        if value and option not in (*_ALWAYS, *rules.needs, *rules.may):
            takers = [str(k) for k, other in _KINDS.items() if option in other.needs + other.may]
            raise Wrong(f"{kind} takes no {option}: leave it out. It is for {' and '.join(takers)}.")
    return kind


def build(wanted: Wanted, now: TimeUs, key: Ed25519PrivateKey | None) -> HumanIntervention:
    """The record, signed when its kind is; raises Wrong. Typed again at another moment it is another intervention."""
    kind = check(wanted)
    since, until = _time("--since", wanted.since), _time("--until", wanted.until)
    if until is not None and until <= max(now, since or 0):
        raise Wrong(f"--until {wanted.until} is over before it begins; it is {iso(now)}: give a later time.")
    intervention = HumanIntervention(
        intervention_id="not derived yet", lead_id=LeadId(wanted.lead), type=kind, author=wanted.author,
        author_role=wanted.author_role, reason=wanted.reason, case_id=wanted.case or None, occurred_at=now,
        request_id=RequestId(wanted.request) if wanted.request else None, override_id=wanted.override or None,
        effects=tuple(dict.fromkeys(wanted.effects)), since=since, until=until,
    )  # fmt: skip
    fault = fault_in(intervention)
    if fault is not None:
        raise Wrong(f"{fault}.")
    name = derive("intervention", json.dumps(to_json(intervention)))
    intervention = msgspec.structs.replace(intervention, intervention_id=name)
    return sign(intervention, key) if _KINDS[kind].is_signed and key is not None else intervention


def sign(intervention: HumanIntervention, key: Ed25519PrivateKey) -> HumanIntervention:
    """The intervention with its author's signature."""
    signature = PolicySignature(key_id=keys.key_id(key), signature=key.sign(override_text(intervention)))
    return msgspec.structs.replace(intervention, signature=signature)


def make_key(path: Path) -> int:
    """Make a person's key pair (mode 0600) and print its public half; a key that is there already is kept."""
    verb = "holds a key already, which is kept" if path.exists() else "is your private key: keep it to yourself"
    try:
        keys.create_private_key(path)
    except SettingsError as error:
        print(f"mandate: {error} Name another file.", file=sys.stderr)
        return BAD_INPUT
    print(keys.public_jwk(keys.load_private_key(path).public_key())["x"])
    print(
        f"{path} {verb}. The line above is the public_key for your entry under people: in the policy.", file=sys.stderr
    )
    return 0


def _kind(text: str) -> InterventionType:
    found = next((kind for kind in _KINDS if kind == text.upper().replace("-", "_")), None)
    if found is None:
        raise Wrong(f"there is no intervention {text!r}; there are {', '.join(kind.lower() for kind in _KINDS)}.")
    return found


def _time(option: str, text: str) -> TimeUs | None:
    try:
        return parse_time(text) if text else None
    except (ValueError, OverflowError):
        example = "2026-11-18T17:00:00Z or 2026-11-18T12:00:00-05:00"
        raise Wrong(f"{option} {text!r} is no ISO 8601 time with a zone: write it as {example}.") from None


def _append(settings: Settings, intervention: HumanIntervention) -> None:
    from streams.kafka import make_producer
    from streams.registry import connect
    from streams.sender import Sender

    codec, sender = connect(settings), Sender(make_producer(settings))
    lead, at = intervention.lead_id, intervention.occurred_at
    headers = cloud_event(
        intervention, id=intervention.intervention_id, source="/mandate/intervene", subject=lead, at=at
    )
    topic = TOPIC_OF[HumanIntervention]
    sender.send(topic, codec.encode(intervention), key=lead, headers=headers, timestamp_ms=at // 1000)
    sender.flush()
