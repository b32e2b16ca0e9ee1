"""Rules and the checks that they name. What a check means stands in `processors.checks`."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from processors.policy.cel import ConditionSyntaxError, compile_condition
from processors.policy.model import Model
from schemas.records import CriterionName, DeferEnd, ReasonCode, TimeUs, Verdict

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    """No fact of this name may stand."""

    kind: Literal["fact_absent"]
    fact: str


class FactPresent(Model):
    """The fact must stand, with whatever value."""

    kind: Literal["fact_present"]
    fact: str


class IntentConfirmed(Model):
    """The intent must be confirmed, on final evidence, and not stale."""

    kind: Literal["intent_confirmed"]
    intent: str


class AnsweredByCheck(Model):
    """Who answered, by machine detection.

    unknown: what a detection counts as, for these actions, that came to no result. missing: the same when there was
    none at all, as where it is not in use.
    """

    kind: Literal["answered_by"]
    who: Literal["HUMAN", "MACHINE"]
    unknown: Literal["holds", "fails"]
    missing: Literal["holds", "fails"]


class ObligationMet(Model):
    """An obligation must be fulfilled in this conversation. jurisdictions: only where one of these is the lead's."""

    kind: Literal["obligation_met"]
    obligation: str
    jurisdictions: tuple[str, ...] = ()


class Condition(Model):
    """A CEL expression that must be true. `docs/policy.md` lists what it may name."""

    kind: Literal["condition"]
    cel: str


class Simple(Model):
    """Checks that take no parameters."""

    kind: Literal[
        "action_in_role", "channel_in_role", "fields_in_role", "tool_in_role", "prompt_in_scope", "tokens_in_limit",
        "wording", "mode_allows", "stage_reached", "calling_hours", "attempts", "retries", "floor_free", "turn_free",
        "effect_free", "effect_not_refused", "not_suspended", "consent", "contactable", "in_time", "conversation_live",
    ]  # fmt: skip


class WithinAuthority(Model):
    """An integer parameter must be there and not exceed the role's limit of that name."""

    kind: Literal["within_authority"]
    parameter: str
    limit: Literal["max_discount_bp", "max_price_minor"]


Check = Annotated[
    FactIn
    | FactNotIn
    | FactAbsent
    | FactPresent
    | IntentConfirmed
    | AnsweredByCheck
    | ObligationMet
    | Condition
    | Simple
    | WithinAuthority,
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
    binds_s: Annotated[int, Field(ge=1)] | None = Field(
        None, description="its BLOCK bars the effect for every agent, tool and channel for so long, or until its time"
    )
    overridable: bool = Field(False, description="a person may lift it for one decision")
    severity: Literal["low", "medium", "high", "critical"] = "medium"
    effective_from: date | None = Field(None, description="first day, UTC; null = always")
    effective_to: date | None = Field(None, description="last day, UTC; null = always")
    message: str = Field(description="reason in words, for people")
    source: str = Field("", description="statute, contract or decision, or the id of a regulation of the bundle")

    @model_validator(mode="after")
    def _is_whole(self) -> "Rule":
        if (self.on_fail is Verdict.DEFER) != (self.wait_s is not None):
            raise ValueError(f"rule {self.id}: a rule that defers states wait_s, and only such a rule does")
        if self.effective_from and self.effective_to and self.effective_to < self.effective_from:
            raise ValueError(f"rule {self.id}: it ends ({self.effective_to}) before it begins ({self.effective_from})")
        if isinstance(self.check, Condition):
            try:
                compile_condition(self.check.cel)
            except ConditionSyntaxError as error:
                raise ValueError(f"rule {self.id}: {error}") from error
        return self

    def in_force_between(self) -> tuple[TimeUs | None, TimeUs | None]:
        """Journal times from which and before which the rule counts; None = no bound."""
        return _start_of(self.effective_from, 0), _start_of(self.effective_to, 1)


def _start_of(day: date | None, days_later: int) -> TimeUs | None:
    if day is None:
        return None
    start = datetime.combine(day + timedelta(days=days_later), time(), UTC)
    return (start - _EPOCH) // timedelta(microseconds=1)
