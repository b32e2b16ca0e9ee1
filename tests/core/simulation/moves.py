"""Moves: what may happen next, as plain values that shrink well and can be printed."""

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from schemas.records import (
    AnsweredBy,
    CallEndCause,
    CallEventType,
    Channel,
    InterventionType,
    MessageEventType,
    OutcomeResult,
    SegmentStatus,
    SignalType,
    Speaker,
)
from tests.core.story import default_bundle

WORDS = (
    "hello", "hello there", "yes", "fine", "yes that works", "this is about scope", "let us do it",
    "that is too expensive", "stop calling me", "I want to talk to a human", "hang on", "this offer is risk free",
    "Hello, I'm an AI assistant, and this call is recorded.",
)  # fmt: skip
SEGMENTS = ("hello", "timing", "scope", "ready", "commit", "s0", "s1", "s2")
NOW = "now"
"""The conversation of the lead's last scene."""
CONVERSATIONS = (NOW, NOW, NOW, NOW, NOW, NOW, "c1", "c2")
EFFECTS = tuple(sorted({action.effect for action in default_bundle().actions.values()}))
SUBJECTS = ("", "price", "trust", "voice", "discuss_price", "contact", "commitment_question")
ASKED = tuple(
    (role, action)
    for role, envelope in default_bundle().roles.items()
    if role != "mandate"
    for action in envelope.actions
)
STRANGE = (
    ("booking", "sell_the_moon"), ("wizard", "initiate_contact"), ("mandate", "update_crm"),
    ("booking", "offer_discount"), ("transfer", "request_commitment"), ("qualification", "capture_commitment"),
)  # fmt: skip
TIMES_S = (1, 5, 5, 16, 16, 31, 31, 61, 61, 125, 301, 950, 4000, 90_000)
POLICIES = 6
MAX_LEADS = 3
_LEADS = (0, 0, 0, 1, 2)
MAX_BACK = 6


class Move(NamedTuple):
    """One thing that happens to one lead, or to the world."""

    word: str
    lead: int
    given: dict[str, Any]


def draw(random: Random) -> Move:
    """The next move, by chance."""
    word = random.choice(_WEIGHTED)
    return Move(word, random.choice(_LEADS), _GIVEN[word](random))


def _call(random: Random) -> dict[str, Any]:
    return {
        "type": random.choice(_CALLS).value, "conversation": random.choice(CONVERSATIONS),
        "speaker": random.choice((Speaker.LEAD, Speaker.AGENT)).value,
        "answered_by": random.choice(tuple(AnsweredBy)).value, "cause": random.choice(tuple(CallEndCause)).value,
        "sequence": random.choice((None, None, 1, 2, 3, 5)), "agent": random.choice((None, "closing-1", "booking-1")),
    }  # fmt: skip


def _says(random: Random) -> dict[str, Any]:
    return {
        "conversation": random.choice(CONVERSATIONS), "segment": random.choice(SEGMENTS),
        "status": random.choice(tuple(SegmentStatus)).value, "text": random.choice(WORDS),
        "speaker": random.choice((Speaker.LEAD, Speaker.LEAD, Speaker.AGENT)).value,
        "confidence": random.choice((0.95, None, 0.4)),
    }  # fmt: skip


def _message(random: Random) -> dict[str, Any]:
    return {
        "conversation": random.choice(("m1", "m2")), "type": random.choice(tuple(MessageEventType)).value,
        "channel": random.choice((Channel.SMS, Channel.EMAIL)).value, "text": random.choice(WORDS),
    }  # fmt: skip


def _signal(random: Random) -> dict[str, Any]:
    return {
        "type": random.choice(_SIGNALS).value, "conversation": random.choice(CONVERSATIONS),
        "evidence": [random.choice(SEGMENTS) for _ in range(random.randrange(3))],
        "confidence": random.choice((0.95, 0.95, 0.5, 0.1)), "subject": random.choice(SUBJECTS),
        "denies": random.choice((False, False, False, True)), "occurred_s": random.choice((None, None, -5, -900, 900)),
    }  # fmt: skip


def _crm(random: Random) -> dict[str, Any]:
    return {
        "type": random.choice(_CRM), "channel": random.choice((Channel.VOICE, Channel.SMS, Channel.EMAIL)).value,
        "scope": random.choice(("", "sms", "voice")), "until_s": random.choice((None, 60, 4000)),
        "zones": random.choice((["America/New_York"], ["America/New_York", "Asia/Tokyo"], ["Nowhere/City"])),
        "jurisdictions": random.choice((["US"], ["US", "US-FL"], ["US-CA"])),
    }  # fmt: skip


def _ask(random: Random) -> dict[str, Any]:
    role, action = random.choice(STRANGE if random.randrange(12) == 0 else ASKED)
    envelope = default_bundle().roles.get(role)
    given: dict[str, Any] = {
        "role": role, "action": action, "agent": f"{role}-{random.choice((1, 1, 2))}",
        "conversation": random.choice((NOW, NOW, NOW, NOW, NOW, NOW, "c1", None)),
        "channel": random.choice((Channel.VOICE,) * 6 + (Channel.SMS, Channel.BACKEND)).value,
        "discount_bp": random.choice((300, 300, 800, 9000, "much")), "price_minor": random.choice((100, 100, 10**9)),
        "crm_field": random.choice((*(envelope.crm_fields if envelope else ()), "secret")),
    }  # fmt: skip
    odd = random.choice((None,) * 10 + tuple(_ODD))
    return given if odd is None else given | {odd: random.choice(_ODD[odd])}


_ODD: dict[str, tuple[Any, ...]] = {
    "text": WORDS, "prompt_scope": ("offer", "discovery", "secret"), "max_tokens": (50, 5000), "tool": ("crm", "laser"),
    "deadline_s": (20, 200, -5), "asked_s": (-60, 60),
}  # fmt: skip
"""What a request may hold besides."""


def _outcome(random: Random) -> dict[str, Any]:
    results = (OutcomeResult.DONE, OutcomeResult.DONE, *OutcomeResult)
    return {
        "of": random.randrange(MAX_BACK), "result": random.choice(results).value,
        "fulfils": random.choice((True, True, False)), "by": random.choice((None, None, None, "stranger")),
        "kind": random.choice(("permit", "permit", "defer")),
    }  # fmt: skip


def _human(random: Random) -> dict[str, Any]:
    return {
        "type": random.choice(_HUMAN).value, "of": random.randrange(MAX_BACK),
        "effects": [random.choice((*EFFECTS, "nonsense"))], "since_s": random.choice((None, None, 30, -30)),
        "until_s": random.choice((None, 60, 4000, -10)), "signed": random.choice((True, True, False)),
        "author": random.choice(("ann", "ann", "eve")), "reason": random.choice(("because", "because", " ")),
    }  # fmt: skip


def _nothing(random: Random) -> dict[str, Any]:
    return {}


def _scene(random: Random) -> dict[str, Any]:
    return {
        "name": random.choice(("known", "answered", "ready", "ready", "closing", "closing", "closing", "override")),
    }  # fmt: skip


_CALLS = (*CallEventType, CallEventType.CALL_ANSWERED, CallEventType.SPEECH_STOPPED, CallEventType.AGENT_DISENGAGED)
_SIGNALS = (*(kind for kind in SignalType if kind is not SignalType.OPT_OUT),) * 3 + (SignalType.OPT_OUT,)
_CRM = (
    "LEAD_UPSERTED",
    "CONSENT_RECORDED",
    "CONSENT_WITHDRAWN",
    "DO_NOT_CONTACT_SET",
    "DO_NOT_CONTACT_LIFTED",
    "STATUS_CHANGED",
)
_HUMAN = (
    *InterventionType, InterventionType.CASE_RESOLVED, InterventionType.CASE_RESOLVED, InterventionType.RESUME,
    InterventionType.RESUME, InterventionType.RESUME, InterventionType.OVERRIDE, InterventionType.OVERRIDE,
    InterventionType.REFUSAL_LIFTED,
)  # fmt: skip

_GIVEN: dict[str, Callable[[Random], dict[str, Any]]] = {
    "scene": _scene, "ask": _ask, "outcome": _outcome, "signal": _signal, "says": _says, "call": _call,
    "message": _message, "crm": _crm, "human": _human,
    "policy": lambda random: {"number": random.randrange(POLICIES), "forged": random.choice((False, False, True))},
    "tick": _nothing,
    "jump": lambda random: {"seconds": random.choice(TIMES_S), "ticks": random.choice((True, True, False))},
    "again": lambda random: {"of": random.randrange(40)},
    "hold": _nothing,
    "release": lambda random: {"of": random.randrange(MAX_BACK)},
    "back": lambda random: {"seconds": random.choice((1, 20, 400))},
    "flush": _nothing,
    "crash": lambda random: {"kept": random.randrange(12)},
    "fork": _nothing,
    "stale": lambda random: {"entries": random.randrange(1, 20)},
}  # fmt: skip
_WEIGHTS = {
    "scene": 8, "ask": 22, "outcome": 5, "signal": 5, "says": 5, "call": 5, "message": 1, "crm": 1, "human": 3,
    "policy": 1, "tick": 2, "jump": 3, "again": 2, "hold": 1, "release": 1, "back": 1, "flush": 3, "crash": 2,
    "fork": 1, "stale": 1,
}  # fmt: skip
_WEIGHTED = tuple(word for word, weight in _WEIGHTS.items() for _ in range(weight))
