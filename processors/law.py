"""The policy in force, compiled: indexed so that a request meets only the rules that are about it."""

import re
from functools import cached_property, lru_cache

from processors.policy import Bundle, PolicyError, Rule, Threshold, Trigger, parse_bundle
from schemas.records import ReasonCode, SignalType, SpeechMode

_WORD = re.compile(r"[a-z0-9']+")


def words(text: str) -> str:
    """Text as lower-case words between single spaces, with a space at each end, to match phrases in."""
    return " " + " ".join(_WORD.findall(text.lower().replace("\u2019", "'"))) + " "


class Law:
    """A compiled bundle. Cheap to ask, immutable in effect."""

    def __init__(self, bundle: Bundle, digest: str) -> None:
        self.bundle = bundle
        self.digest = digest
        self._by_action: dict[tuple[str, str], tuple[Rule, ...]] = {}
        self.stage_rank = {stage.name: rank for rank, stage in enumerate(bundle.stages)}

    def rules_for(self, action: str, role: str) -> tuple[Rule, ...]:
        """Rules about an action asked for in a role, in the bundle's order."""
        found = self._by_action.get((action, role))
        if found is None:
            found = tuple(
                rule
                for rule in self.bundle.rules
                if ("*" in rule.actions or action in rule.actions) and ("*" in rule.roles or role in rule.roles)
            )
            if action in self.bundle.actions and role in self.bundle.roles:
                self._by_action[action, role] = found
        return found

    def threshold(self, signal: SignalType) -> Threshold:
        """What a positive signal of a type takes."""
        return self.bundle.signals.thresholds.get(signal, self.bundle.signals.threshold)

    def intent_threshold(self, intent: str) -> Threshold:
        """What it takes to confirm an intent."""
        signals = self.bundle.signals
        return next(
            (self.threshold(signal) for signal, named in signals.intents.items() if named == intent), signals.threshold
        )

    @cached_property
    def _opt_out(self) -> tuple[str, ...]:
        return tuple(words(phrase) for phrase in self.bundle.phrases.opt_out)

    @cached_property
    def _opt_out_keywords(self) -> frozenset[str]:
        return frozenset(words(word) for word in self.bundle.phrases.opt_out_keywords)

    @cached_property
    def _asks_for_human(self) -> tuple[str, ...]:
        return tuple(words(phrase) for phrase in self.bundle.phrases.asks_for_human)

    def is_opt_out(self, text: str) -> bool:
        """Does the text hold an opt-out phrase, or is it an opt-out keyword alone?"""
        said = words(text)
        return said in self._opt_out_keywords or any(phrase in said for phrase in self._opt_out)

    def asks_for_human(self, text: str) -> bool:
        """Does the text ask for a person?"""
        said = words(text)
        return any(phrase in said for phrase in self._asks_for_human)

    def trigger_of_signal(self, signal: SignalType) -> Trigger | None:
        """The escalation trigger of a signal."""
        return next((trigger for trigger in self.bundle.triggers if signal in trigger.signals), None)

    def mode_of_case(self, cause: str) -> SpeechMode:
        """Widest speech mode while a case of this cause is open."""
        found = next((trigger for trigger in self.bundle.triggers if trigger.cause == cause), None)
        return found.speech_mode if found else SpeechMode.NEUTRAL_HOLDING

    def trigger_of_code(self, code: ReasonCode) -> Trigger | None:
        """The escalation trigger of a reason code in a BLOCK."""
        return next((trigger for trigger in self.bundle.triggers if code in trigger.codes), None)


@lru_cache(maxsize=16)
def compile_law(bundle_json: str, digest: str) -> Law:
    """A law from the activation's text; PolicyError when the text is no bundle or not of that digest."""
    bundle = parse_bundle(bundle_json)
    if bundle.digest() != digest:
        raise PolicyError(f"the bundle's digest is {bundle.digest()}, the activation says {digest}")
    return Law(bundle, digest)
