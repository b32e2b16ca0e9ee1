"""The policy in force, compiled: indexed so that a request meets only the rules that are about it."""

import re
from collections.abc import Iterable
from functools import cached_property, lru_cache
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from processors.authority import public_key_of
from processors.facts import is_named
from processors.policy import Bundle, Mode, PolicyError, Rule, Threshold, Trigger, parse_bundle
from schemas.records import ReasonCode, SignalType, SpeechMode, TimeUs

_WORD = re.compile(r"[a-z0-9']+")


def words(text: str) -> str:
    """Text as lower-case words between single spaces, with a space at each end, to match phrases in."""
    return " " + " ".join(_WORD.findall(text.lower().replace("\u2019", "'"))) + " "


def _phrases(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(words(text) for text in texts)


class Law:
    """A compiled bundle. Cheap to ask, immutable in effect."""

    def __init__(self, bundle: Bundle, digest: str, revision: int = 0) -> None:
        self.bundle = bundle
        self.digest = digest
        self.revision = revision
        self.plans: dict[tuple[str, str, tuple[str, ...]], object] = {}
        """What `processors.plan` makes of the rules; it is kept with them."""
        bounds = {rule.id: rule.in_force_between() for rule in bundle.rules}
        self._dated = {rule_id: found for rule_id, found in bounds.items() if found != (None, None)}
        self.stage_facts = frozenset(c.fact for stage in bundle.stages for c in stage.earned_by)
        self.stage_rank = {stage.name: rank for rank, stage in enumerate(bundle.stages)}

    def is_last_stage(self, stage: str) -> bool:
        """Is it the policy's last stage? Empty: no fact carries more than the first."""
        stages = self.bundle.stages
        return (stage or stages[0].name) == stages[-1].name

    # --- rules
    def rules_for(self, action: str, role: str, now: TimeUs) -> tuple[Rule, ...]:
        """Rules about an action asked for in a role that are in force at a time, in the bundle's order."""
        in_force = self.dated_in_force(now)
        return tuple(
            rule
            for rule in self.bundle.rules
            if ("*" in rule.actions or action in rule.actions)
            and ("*" in rule.roles or role in rule.roles)
            and (rule.id not in self._dated or rule.id in in_force)
        )

    def dated_in_force(self, now: TimeUs) -> tuple[str, ...]:
        """Ids of the rules with a first or last day that are in force at a time."""
        if not self._dated:
            return ()
        return tuple(
            rule_id
            for rule_id, (since, before) in self._dated.items()
            if (since is None or since <= now) and (before is None or now < before)
        )

    @cached_property
    def effects(self) -> frozenset[str]:
        """Every effect that an action can have."""
        return frozenset(action.effect for action in self.bundle.actions.values())

    @cached_property
    def agent_keys(self) -> dict[tuple[str, str], Ed25519PublicKey]:
        """Public keys of the registered agents, by agent_id and kid."""
        agents = self.bundle.agents.items()
        return {(name, kid): public_key_of(key) for name, agent in agents for kid, key in agent.public_keys.items()}

    @cached_property
    def cuts_off(self) -> bool:
        """Does the bundle cut anybody off?"""
        cut = self.bundle.cut_off
        return bool(cut.agents or cut.roles or cut.policies)

    # --- signals
    def threshold(self, signal: SignalType) -> Threshold:
        """What a positive signal of a type takes."""
        return self.bundle.signals.thresholds.get(signal, self.bundle.signals.threshold)

    def intent_threshold(self, intent: str) -> Threshold:
        """What it takes to confirm an intent."""
        signals = self.bundle.signals
        return next(
            (self.threshold(signal) for signal, named in signals.intents.items() if named == intent), signals.threshold
        )

    # --- words
    @cached_property
    def _opt_out(self) -> tuple[str, ...]:
        return _phrases(self.bundle.phrases.opt_out)

    @cached_property
    def _opt_out_keywords(self) -> frozenset[str]:
        return frozenset(_phrases(self.bundle.phrases.opt_out_keywords))

    @cached_property
    def _asks_for_human(self) -> tuple[str, ...]:
        return _phrases(self.bundle.phrases.asks_for_human)

    @cached_property
    def _stop(self) -> tuple[str, ...]:
        return _phrases(self.bundle.phrases.stop)

    @cached_property
    def _wording(self) -> dict[str, tuple[str, ...]]:
        return {name: _phrases(texts) for name, texts in self.bundle.dialogue.wording.items()}

    @cached_property
    def _confirming(self) -> dict[str, tuple[str, ...]]:
        return {name: _phrases(row.confirmed_by) for name, row in self.bundle.obligations.items()}

    def is_opt_out(self, text: str) -> bool:
        """Does the text hold an opt-out phrase, or is it an opt-out keyword alone?"""
        said = words(text)
        return said in self._opt_out_keywords or any(phrase in said for phrase in self._opt_out)

    def asks_for_human(self, text: str) -> bool:
        """Does the text ask for a person?"""
        said = words(text)
        return any(phrase in said for phrase in self._asks_for_human)

    def calls_a_halt(self, text: str) -> bool:
        """Does the text hold a stop phrase?"""
        said = words(text)
        return any(phrase in said for phrase in self._stop)

    def barred_wording(self, text: str, mode: SpeechMode) -> str | None:
        """The first class of wording that a mode bars and the text holds."""
        said = words(text)
        for name in self.bundle.dialogue.modes[mode].wording_barred:
            if any(phrase in said for phrase in self._wording[name]):
                return name
        return None

    def confirmed_obligations(self, text: str) -> list[str]:
        """Obligations that these words of an agent fulfil."""
        said = words(text)
        return [name for name, phrases in self._confirming.items() if any(phrase in said for phrase in phrases)]

    # --- modes and triggers
    def mode(self, mode: SpeechMode) -> Mode:
        """What a speech mode leaves open."""
        return self.bundle.dialogue.modes[mode]

    def trigger_of_signal(self, signal: SignalType) -> Trigger | None:
        """The escalation trigger of a signal."""
        return next((trigger for trigger in self.bundle.triggers if signal in trigger.signals), None)

    def trigger_of_code(self, code: ReasonCode) -> Trigger | None:
        """The escalation trigger of a reason code in a BLOCK."""
        return next((trigger for trigger in self.bundle.triggers if code in trigger.codes), None)

    def trigger_of_cause(self, cause: str) -> Trigger | None:
        """The trigger that opens cases of a cause; None for a cause that no trigger names."""
        return next((trigger for trigger in self.bundle.triggers if trigger.cause == cause), None)

    @cached_property
    def repeated_triggers(self) -> tuple[Trigger, ...]:
        """Triggers that count BLOCKs."""
        return tuple(trigger for trigger in self.bundle.triggers if trigger.repeated)

    def triggers_of_fact(self, stored_name: str, value: str) -> list[Trigger]:
        """Triggers that a fact's value opens."""
        return [
            trigger for name, values, trigger in self._fact_triggers if value in values and is_named(stored_name, name)
        ]

    @cached_property
    def _fact_triggers(self) -> tuple[tuple[str, tuple[str, ...], Trigger], ...]:
        return tuple((c.fact, c.values, trigger) for trigger in self.bundle.triggers for c in trigger.facts)

    def mode_of_case(self, cause: str) -> SpeechMode:
        """Widest speech mode while a case of this cause is open."""
        found = self.trigger_of_cause(cause)
        return found.speech_mode if found else SpeechMode.NEUTRAL_HOLDING


@lru_cache(maxsize=16)
def compile_law(bundle_json: str, digest: str, revision: int = 0) -> Law:
    """A law from the activation's text; PolicyError when the text is no bundle or not of that digest.

    The digest is that of the text as it was signed: a release that knows a key more, with a default, reads an older
    bundle as what it was.
    """
    found = sha256(bundle_json.encode("utf-8")).hexdigest()
    if found != digest:
        raise PolicyError(f"the bundle's digest is {found}, the activation says {digest}")
    return Law(parse_bundle(bundle_json), digest, revision)
