"""The policy bundle: the whole rule set as one versioned document.

A bundle is a directory of YAML files whose top-level keys together make a `Bundle`. It says what actions, roles,
stages and rules there are; `checks.py` says what each kind of check means; nothing is decided here.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import rfc8785
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.records import Channel, CriterionName, DeferEnd, ReasonCode, SignalType, SpeechMode, Verdict


class PolicyError(ValueError):
    """A bundle that can't be used. Its author mends the named place; the policy in force stays in force."""


class Model(BaseModel):
    """Base of the bundle's parts: unknown keys are errors, values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Action(Model):
    """One action that agents may ask for."""

    title: str
    stage: str = Field(description="stage that must be reached; earlier stages' permits count for nothing")
    effect: str = Field(description="what it does to the person; actions of one effect never overlap")
    irreversible: bool = False
    single_use: bool = False
    in_conversation: bool = Field(True, description="needs an answered conversation on its channel")
    takes_floor: bool = Field(True, description="the holder has the lead to itself until outcome or lease end")
    keeps_floor: bool = Field(False, description="its outcome does not release the floor")
    grant_ttl_s: Annotated[int, Field(ge=1, le=3600)] = 60
    obligations: tuple[str, ...] = ()
    shown_by: Literal["outcome", "contact", "conversation_end"] = Field(
        "outcome", description="event that shows it was done, and uses up the grant, before the outcome is reported"
    )
    establishes: Mapping[str, str] = Field(default_factory=dict, description="facts set by an outcome DONE")


class Role(Model):
    """A role's envelope: what it may ask for at all."""

    title: str
    actions: tuple[str, ...]
    channels: tuple[Channel, ...]
    tools: tuple[str, ...] = ()
    crm_fields: tuple[str, ...] = ()
    max_discount_bp: Annotated[int, Field(ge=0, le=10_000)] = 0
    max_price_minor: Annotated[int, Field(ge=0)] = 0


class FactCondition(Model):
    """A fact with one of some values."""

    fact: str
    values: tuple[str, ...]


class Stage(Model):
    """A stage and what earns it, beyond all earlier stages."""

    name: str
    earned_by: tuple[FactCondition, ...] = ()


class FactIn(Model):
    """The fact must have one of the values (and be final). A missing fact fails."""

    kind: Literal["fact_in"]
    fact: str
    values: tuple[str, ...]
    final: bool = False


class FactNotIn(Model):
    """The fact must not have one of the values. A missing fact passes."""

    kind: Literal["fact_not_in"]
    fact: str
    values: tuple[str, ...]


class FactAbsent(Model):
    """No fact of this name (or, with a trailing dot, of this family) may stand."""

    kind: Literal["fact_absent"]
    fact: str


class FactPresent(Model):
    """The fact must stand, with whatever value."""

    kind: Literal["fact_present"]
    fact: str


class IntentConfirmed(Model):
    """The intent must be confirmed, on final evidence."""

    kind: Literal["intent_confirmed"]
    intent: str


class Simple(Model):
    """Checks that take no parameters."""

    kind: Literal[
        "action_in_role", "channel_in_role", "fields_in_role", "tool_in_role", "stage_reached", "calling_hours",
        "attempts", "floor_free", "effect_free", "effect_not_refused", "not_suspended", "consent", "in_time",
        "conversation_live",
    ]  # fmt: skip


class WithinAuthority(Model):
    """An integer parameter must be there and not exceed the role's limit of that name."""

    kind: Literal["within_authority"]
    parameter: str
    limit: Literal["max_discount_bp", "max_price_minor"]


Check = Annotated[
    FactIn | FactNotIn | FactAbsent | FactPresent | IntentConfirmed | Simple | WithinAuthority,
    Field(discriminator="kind"),
]


class Rule(Model):
    """One rule: what is checked, for which actions, and what its failure means."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    criterion: CriterionName
    title: str
    actions: tuple[str, ...] = Field(("*",), description="actions it is about; * is all of them")
    roles: tuple[str, ...] = ("*",)
    check: Check
    code: ReasonCode
    on_fail: Literal[Verdict.BLOCK, Verdict.DEFER] = Verdict.BLOCK
    wait_s: Annotated[int, Field(ge=1, le=7 * 86_400)] | None = Field(None, description="longest defer, seconds")
    resume_when: tuple[str, ...] = Field((), description="facts that have it judged again, beside those it read")
    on_deadline: DeferEnd = DeferEnd.BLOCK
    message: str
    source: str = ""

    @model_validator(mode="after")
    def _defer_ends(self) -> "Rule":
        if (self.on_fail is Verdict.DEFER) != (self.wait_s is not None):
            raise ValueError(f"rule {self.id}: a rule that defers states wait_s, and only such a rule does")
        return self


class CallingWindow(Model):
    """Hours in which a person of a jurisdiction may be contacted, by the person's own clock."""

    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...]
    start: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    end: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")


class Jurisdiction(Model):
    """Timing and frequency rules of one jurisdiction; a lead in several gets the strictest of each."""

    windows: tuple[CallingWindow, ...]
    max_attempts: Annotated[int, Field(ge=1)]
    attempts_window_s: Annotated[int, Field(ge=60)]
    source: str
    note: str = "confirm with counsel"


class Contact(Model):
    """Contact rules."""

    jurisdictions: Mapping[str, Jurisdiction]
    default_jurisdiction: str
    min_gap_s: Annotated[int, Field(ge=0)]
    consent: Mapping[Channel, tuple[str, ...]] = Field(description="consent types that suffice, by channel")
    consent_purpose: str = "sales"
    cool_off_s: Annotated[int, Field(ge=60)]
    cool_off_effects: tuple[str, ...]

    @model_validator(mode="after")
    def _default_exists(self) -> "Contact":
        if self.default_jurisdiction not in self.jurisdictions:
            raise ValueError(f"default_jurisdiction {self.default_jurisdiction!r} is not among jurisdictions")
        return self


class Threshold(Model):
    """What a positive signal takes to confirm an intent."""

    min_confidence: Annotated[float, Field(ge=0, le=1)]
    min_asr_confidence: Annotated[float, Field(ge=0, le=1)]


class Signals(Model):
    """From signals to intents."""

    intents: Mapping[SignalType, str]
    threshold: Threshold
    thresholds: Mapping[SignalType, Threshold] = Field(default_factory=dict)
    restrain_from: Annotated[float, Field(ge=0, le=1)] = Field(
        description="confidence from which a restraining signal (opt-out, objection, not now) counts"
    )
    accept_unknown_asr_confidence: bool = Field(
        True, description="final words without a recognition confidence count; some providers never give one"
    )
    paused_by_objection: tuple[str, ...] = ()


class Phrases(Model):
    """Words that count without any agent's help, matched on final transcript and received messages.

    A phrase matches whole words anywhere in the text, ignoring case and punctuation. A keyword must be the whole
    message.
    """

    opt_out: tuple[str, ...]
    opt_out_keywords: tuple[str, ...]
    asks_for_human: tuple[str, ...]


class Trigger(Model):
    """What opens an escalation case."""

    cause: str
    signals: tuple[SignalType, ...] = ()
    codes: tuple[ReasonCode, ...] = Field((), description="reason codes of a BLOCK")
    suspends: tuple[str, ...] = ()
    speech_mode: SpeechMode = Field(SpeechMode.NEUTRAL_HOLDING, description="widest mode while the case is open")
    deadline_s: Annotated[int, Field(ge=60)]
    message: str


class Limits(Model):
    """Times and leases."""

    floor_lease_s: Annotated[int, Field(ge=1)]
    request_max_age_s: Annotated[int, Field(ge=1)]
    silence_s: Annotated[int, Field(ge=1)]
    call_timeout_s: Annotated[int, Field(ge=60)]


class Bundle(Model):
    """A whole policy bundle."""

    version: str
    title: str
    limits: Limits
    stages: tuple[Stage, ...]
    actions: Mapping[str, Action]
    roles: Mapping[str, Role]
    contact: Contact
    signals: Signals
    phrases: Phrases
    triggers: tuple[Trigger, ...]
    rules: tuple[Rule, ...]

    @model_validator(mode="after")
    def _names_exist(self) -> "Bundle":
        stages, known = {stage.name for stage in self.stages}, set(self.actions)
        problems = [
            f"action {name}: no stage {action.stage!r}"
            for name, action in self.actions.items()
            if action.stage not in stages
        ]
        named = [(f"role {name}", role.actions) for name, role in self.roles.items()]
        named += [(f"rule {rule.id}", rule.actions) for rule in self.rules]
        named += [(f"trigger {trigger.cause}", trigger.suspends) for trigger in self.triggers]
        problems += [
            f"{who}: no action {action!r}"
            for who, actions in named
            for action in actions
            if action not in known and action != "*"
        ]
        problems += [
            f"rule {rule.id}: no role {role!r}"
            for rule in self.rules
            for role in rule.roles
            if role != "*" and role not in self.roles
        ]
        ids = [rule.id for rule in self.rules]
        problems += [
            f"rule {rule_id}: stands more than once" for rule_id in sorted({i for i in ids if ids.count(i) > 1})
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def canonical_json(self) -> str:
        """The bundle as RFC 8785 JSON: the text that is signed and activated."""
        return rfc8785.dumps(self.model_dump(mode="json")).decode("utf-8")

    def digest(self) -> str:
        """sha256 of the canonical JSON, hex."""
        return sha256(self.canonical_json().encode("utf-8")).hexdigest()


def parse_bundle(text: str) -> Bundle:
    """A bundle from its JSON text; PolicyError when it is not one."""
    try:
        return Bundle.model_validate_json(text)
    except ValidationError as error:
        raise PolicyError(_explain(error)) from error


def load_bundle(directory: Path) -> Bundle:
    """A bundle from a directory of YAML files; PolicyError names the file or the place."""
    files = sorted(directory.glob("*.yaml"))
    if not files:
        raise PolicyError(f"{directory}: no .yaml files; a policy bundle is a directory of them")
    merged: dict[str, object] = {}
    for file in files:
        for key, value in _read_yaml(file).items():
            if key in merged:
                raise PolicyError(f"{file}: {key!r} already stands in another file of the bundle")
            merged[key] = value
    try:
        return Bundle.model_validate_json(json.dumps(merged))
    except ValidationError as error:
        raise PolicyError(f"{directory}: {_explain(error)}") from error


def _read_yaml(file: Path) -> dict[str, object]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PolicyError(f"{file}: not readable as YAML: {error}") from error
    if not isinstance(content, dict):
        raise PolicyError(f"{file}: expected keys and values at the top level")
    return content


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "bundle"
    more = error.error_count() - 1
    return f"{place}: {first['msg']}" + (f" (and {more} more)" if more else "")
