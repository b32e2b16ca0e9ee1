"""Who may ask for what: actions, roles, stages, people."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from processors.policy.keys import PublicKey
from processors.policy.model import Model
from schemas.records import Channel

ActionKind = Literal["contact", "question", "information", "offer", "commitment", "handover", "record", "end"]
"""What an action does in a conversation; speech modes bar kinds."""

Count = Annotated[int, Field(ge=0)]


class Action(Model):
    """One action that agents may ask for."""

    title: str
    kind: ActionKind
    stage: str = Field(description="stage that must be reached; earlier stages' permits count for nothing")
    effect: str = Field(description="what it does to the person; actions of one effect never overlap")
    irreversible: bool = False
    single_use: bool = False
    safe: bool = Field(False, description="may be permitted though nothing is known of the lead; lint asks for it")
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
    prompt_scope: tuple[str, ...] = Field((), description="parts of the prompt that the role may work with")
    max_tokens: Annotated[int, Field(ge=1)] | None = Field(None, description="longest answer; null = no limit")
    max_discount_bp: Annotated[int, Field(ge=0, le=10_000)] = Field(0, description="in 1/100 of a per cent")
    max_price_minor: Count = Field(0, description="in minor units of the currency")
    human: bool = Field(False, description="a person, who need not disclose that an AI speaks")


class FactCondition(Model):
    """A fact with one of some values."""

    fact: str
    values: tuple[str, ...]


class Stage(Model):
    """A stage and what earns it, beyond all earlier stages."""

    name: str
    earned_by: tuple[FactCondition, ...] = ()


class Person(Model):
    """A person whose signed word counts: who may override, and with which key."""

    role: str
    public_key: PublicKey
    may_override: tuple[str, ...] = Field((), description="actions; * is all of them")


class RegisteredAgent(Model):
    """An agent that is who it says only with a signature by one of its keys."""

    roles: tuple[str, ...] = Field(description="roles it may act in")
    public_keys: Mapping[str, PublicKey] = Field(
        description="kid -> raw Ed25519 public key, base64url; several while one follows another; none: nobody is it"
    )


class Identity(Model):
    """What an agent must show before it is heard."""

    required: bool = Field(False, description="agents that `agents` does not name are not heard at all")


class Obligation(Model):
    """What an agent must do with a permit, and what shows that it was done."""

    title: str
    shown_by: Literal["report", "transcript", "both"] = Field(
        "report", description="the agent's report, its final words in the transcript, or both of them"
    )
    confirmed_by: tuple[str, ...] = Field((), description="phrases, of which the agent's words must hold one")

    @model_validator(mode="after")
    def _can_be_shown(self) -> "Obligation":
        if (self.shown_by == "report") == bool(self.confirmed_by):
            raise ValueError(f"{self.title}: state confirmed_by where the transcript shows it, and only there")
        return self


class Limits(Model):
    """Times, leases and caps."""

    floor_lease_s: Annotated[int, Field(ge=1)]
    fair_wait_s: Annotated[int, Field(ge=1)] = Field(
        60, description="a request that waited so long for the floor goes before later stages"
    )
    handover_s: Annotated[int, Field(ge=1, le=120)] = Field(
        15, description="longest that an agent who gave up the lead is waited for to stop speaking"
    )
    request_max_age_s: Annotated[int, Field(ge=1)]
    silence_s: Annotated[int, Field(ge=1)]
    call_timeout_s: Annotated[int, Field(ge=60)]
    thread_timeout_s: Annotated[int, Field(ge=60)] = Field(
        604_800, description="a written conversation without a message for so long is over"
    )
    reorder_window_s: Annotated[int, Field(ge=1, le=300)] = Field(
        10, description="how long a gap in a provider's sequence may still be filled"
    )
    max_skew_s: Annotated[int, Field(ge=0)] = Field(30, description="how far a producer's clock may be ahead")
    refusal_retries: Count = Field(
        3, description="how often a refused effect is judged again before it is just refused"
    )
    override_ttl_s: Annotated[int, Field(ge=60, le=86_400)] = Field(3600, description="longest life of an override")
