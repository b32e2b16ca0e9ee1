"""When and how often a person may be contacted, and on what consent."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from pydantic import Field, model_validator

from processors.policy.model import Model
from schemas.records import Channel


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


class Retry(Model):
    """How a contact that ended in one way may be tried again."""

    max: Annotated[int, Field(ge=0)] = Field(description="such outcomes in the window, after which no more is tried")
    window_s: Annotated[int, Field(ge=60)] = 86_400
    gap_s: Annotated[int, Field(ge=0)] = Field(description="time to leave after the last such outcome")


class Contact(Model):
    """Contact rules."""

    jurisdictions: Mapping[str, Jurisdiction]
    default_jurisdiction: str
    min_gap_s: Annotated[int, Field(ge=0)]
    retries: Mapping[str, Retry] = Field(default_factory=dict, description="by outcome of an attempt, lower case")
    consent: Mapping[Channel, tuple[str, ...]] = Field(description="consent types that suffice, by channel")
    consent_purpose: str = "sales"
    cool_off_s: Annotated[int, Field(ge=60)]
    cool_off_effects: tuple[str, ...]
    declined_s: Annotated[int, Field(ge=60)] = Field(86_400, description="how long what the buyer declined is barred")
    declined_lifted_by: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict, description="effect -> facts whose later confirmation lifts the buyer's no"
    )

    @model_validator(mode="after")
    def _default_exists(self) -> "Contact":
        if self.default_jurisdiction not in self.jurisdictions:
            raise ValueError(f"default_jurisdiction {self.default_jurisdiction!r} is not among jurisdictions")
        return self


class Regulation(Model):
    """A row of law that the bundle knows of, with its source. Not legal advice."""

    title: str
    jurisdiction: str
    parameters: Mapping[str, str] = Field(default_factory=dict)
    effective_from: date | None = None
    effective_to: date | None = None
    source: str = Field(description="statute or ruling, with an address")
    enforced_by: tuple[str, ...] = Field((), description="rule ids and `contact.*` places that carry it out")
    not_enforced: str = Field("", description="why this bundle does not carry it out; who does")
    note: str = "confirm with counsel"

    @model_validator(mode="after")
    def _says_who_enforces(self) -> "Regulation":
        if bool(self.enforced_by) == bool(self.not_enforced):
            raise ValueError(f"{self.title}: state either enforced_by or not_enforced")
        return self
