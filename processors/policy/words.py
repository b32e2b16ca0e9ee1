"""What is made of words: signals, phrases, speech modes, and what opens a case for a person."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from processors.policy.acting import ActionKind, FactCondition
from processors.policy.model import Model
from schemas.records import ReasonCode, SignalType, SpeechMode

Share = Annotated[float, Field(ge=0, le=1)]


class Threshold(Model):
    """What a positive signal takes to confirm an intent."""

    min_confidence: Share
    min_asr_confidence: Share


class Signals(Model):
    """From signals to intents."""

    intents: Mapping[SignalType, str]
    threshold: Threshold
    thresholds: Mapping[SignalType, Threshold] = Field(default_factory=dict)
    restrain_from: Share = Field(
        description="confidence from which a restraining or contradicting signal (opt-out, objection, not now) counts"
    )
    accept_unknown_asr_confidence: bool = Field(
        True, description="final words without a recognition confidence count; some providers never give one"
    )
    paused_by_objection: tuple[str, ...] = ()
    contradicted_by: Mapping[SignalType, tuple[str, ...]] = Field(
        default_factory=dict, description="restraining signal -> intents that it lowers"
    )
    max_delay_s: Annotated[int, Field(ge=1)] = Field(
        300, description="a positive signal that took longer from its utterance to the journal only indicates"
    )
    valid_for_s: Mapping[str, Annotated[int, Field(ge=60)]] = Field(
        default_factory=dict, description="intent -> how long its confirmation can be rested on; absent = for ever"
    )
    risk_from: Share = Field(0.7, description="confidence from which a RISK signal sets the fact `risk`")


class Phrases(Model):
    """Words that count without any agent's help, matched on final transcript and received messages.

    A phrase matches whole words anywhere in the text, ignoring case and punctuation. A keyword must be the whole
    message.
    """

    opt_out: tuple[str, ...]
    opt_out_keywords: tuple[str, ...]
    asks_for_human: tuple[str, ...]
    stop: tuple[str, ...] = Field((), description="the buyer calls a halt: nothing is executed until a person looked")


class Mode(Model):
    """What one speech mode leaves open."""

    kinds: tuple[ActionKind, ...] = Field(description="kinds of actions that may go on")
    wording_barred: tuple[str, ...] = Field((), description="classes of wording that may not be used")
    max_tokens: Annotated[int, Field(ge=0)] | None = Field(None, description="longest answer; null = no limit")
    tools: bool = Field(True, description="may tools be used at all?")


class Dialogue(Model):
    """Speech modes, from the widest to the narrowest, and classes of wording."""

    modes: Mapping[SpeechMode, Mode]
    wording: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict, description="class -> phrases, matched as whole words"
    )

    @model_validator(mode="after")
    def _is_whole(self) -> "Dialogue":
        missing = [mode.value for mode in SpeechMode if mode not in self.modes]
        unknown = [w for mode in self.modes.values() for w in mode.wording_barred if w not in self.wording]
        if missing:
            raise ValueError(f"no row for speech mode {', '.join(missing)}")
        if unknown:
            raise ValueError(f"no wording class {', '.join(sorted(set(unknown)))}")
        return self


class Repeated(Model):
    """So many BLOCKs of one action within a time."""

    blocks: Annotated[int, Field(ge=2, le=32)]
    within_s: Annotated[int, Field(ge=1)]


class Trigger(Model):
    """What opens an escalation case: any of its causes."""

    cause: str = Field(pattern=r"^[a-z0-9_]+$")
    signals: tuple[SignalType, ...] = ()
    codes: tuple[ReasonCode, ...] = Field((), description="reason codes of a BLOCK")
    facts: tuple[FactCondition, ...] = Field((), description="facts that come to have one of the values")
    repeated: Repeated | None = None
    suspends: tuple[str, ...] = ()
    speech_mode: SpeechMode = Field(SpeechMode.NEUTRAL_HOLDING, description="widest mode while the case is open")
    deadline_s: Annotated[int, Field(ge=60)]
    message: str

    @model_validator(mode="after")
    def _has_a_cause(self) -> "Trigger":
        if not (self.signals or self.codes or self.facts or self.repeated):
            raise ValueError(f"trigger {self.cause}: nothing opens it; state signals, codes, facts or repeated")
        return self
