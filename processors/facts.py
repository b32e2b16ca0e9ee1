"""Every fact there can be: its name, its values, who sets it. What a policy may name, and what the docs list.

A name that ends in `.*` is a family: the rest of the name is open (an intent, an objection's subject, an effect).
Names of `CONVERSATION` families belong to one conversation and are stored as `<name>/<conversation_id>`.
"""

from typing import NamedTuple

from schemas.records import AnsweredBy, Channel, ConversationId, SpeechMode

CONVERSATION = ("conversation.", "obligation.", "barred.", "speech_mode", "execution.")
"""Facts of these families belong to one conversation; `conversation.live` alone is the lead's."""


class FactKind(NamedTuple):
    """One fact or family of facts.

    values: all that it can have; empty = open. missing: what it means when the fact does not stand.
    """

    name: str
    values: tuple[str, ...]
    set_by: str
    meaning: str
    missing: str = "not known"


_YES = ("yes",)

FACTS: tuple[FactKind, ...] = (
    FactKind("stage", (), "the policy's stages, from other facts", "furthest stage that the facts carry", "the first"),
    FactKind("lead.external_id", (), "CRM", "the lead's record in the CRM"),
    FactKind("lead.time_zones", (), "CRM", "candidate IANA zones, joined by commas"),
    FactKind("lead.time_zone_basis", (), "CRM", "how the zones are known: address, area_code, stated"),
    FactKind("lead.jurisdictions", (), "CRM", "jurisdictions, joined by commas"),
    FactKind("lead.jurisdiction_basis", (), "CRM", "how the jurisdictions are known"),
    FactKind("crm.status", (), "CRM", "the lead's status there"),
    FactKind(
        "consent.*", ("EXPRESS", "EXPRESS_WRITTEN", "NONE", "indicated", "withdrawn"), "CRM, buyer's words",
        "consent.<channel>.<purpose>; its evidence is the proof or the segments", "no consent",
    ),
    FactKind("do_not_contact", ("buyer", "crm"), "buyer's words, CRM", "nobody may contact the person", "not asked"),
    FactKind("do_not_contact.*", ("buyer", "crm"), "CRM", "nobody may contact the person on this channel", "not asked"),
    FactKind("contact.attempts", (), "calls, messages", "number of attempts ever made", "none"),
    FactKind("contact.last_at", (), "calls, messages", "journal time of the last attempt, microseconds", "none"),
    FactKind("contact.reached", _YES, "transcript, messages", "the person spoke or wrote to us", "not reached"),
    FactKind(
        "intent.*", ("indicated", "confirmed", "paused", "withdrawn", "lapsed"), "signals",
        "what the buyer means; confirmed only above threshold on final words", "none",
    ),
    FactKind("late.*", _YES, "signals", "a signal about this intent came too late, or by a wrong clock", "none did"),
    FactKind("conflict.*", _YES, "signals", "signals about this intent contradict each other", "they do not"),
    FactKind(
        "objection.about.*", ("raised", "addressed", "resolved", "reopened"), "signals", "one objection, by subject",
        "never raised",
    ),
    FactKind("objection.open", (), "signals", "subjects of open objections, joined by commas", "none open"),
    FactKind("risk", ("high",), "signals", "a RISK signal above the policy's threshold", "none seen"),
    FactKind("meeting", ("scheduled",), "outcomes", "a meeting is booked", "none"),
    FactKind("floor", (), "grants", "agent that has the lead to itself", "free"),
    FactKind("pending.*", (), "grants", "agent whose grant for this effect is neither used nor ended", "nobody"),
    FactKind("refused.*", ("buyer", "policy", "human"), "refusals", "who barred this effect", "not barred"),
    FactKind("case.*", ("OPEN", "ACKNOWLEDGED", "EXPIRED"), "escalation", "an open case, by cause", "none open"),
    FactKind("suspended.*", (), "escalation", "causes that suspend this action, joined by commas", "not suspended"),
    FactKind("override.*", (), "people", "override in force for this action", "none"),
    FactKind("overrides.used", (), "people", "number of overrides used on this lead, for review", "none"),
    FactKind("paused", (), "people", "author who paused automation", "not paused"),
    FactKind("intervention.rejected", (), "people", "the last intervention that was not accepted, and why", "none"),
    FactKind("grants.misused", (), "outcomes", "number of outcomes reported without, or again under, a grant", "none"),
    FactKind("outcome.rejected", (), "outcomes", "the last one not shown to be by its agent, and why", "none"),
    FactKind("conversation.live", (), "calls", "the call that is in progress", "no call"),
    FactKind("conversation.channel", tuple(Channel), "calls, messages", "its channel"),
    FactKind("conversation.phase", ("initiated", "ringing", "answered", "ended"), "calls, messages", "how far it is"),
    FactKind("conversation.answered_by", tuple(AnsweredBy), "calls", "what machine detection found"),
    FactKind("conversation.voicemail", _YES, "calls", "a machine answered", "not detected"),
    FactKind("conversation.speaker", (), "calls", "who speaks", "nobody"),
    FactKind("conversation.outgoing", (), "grants", "agent that gave up the lead and still speaks", "nobody"),
    FactKind("conversation.awaited", _YES, "requests", "somebody waits for the outgoing agent to end", "nobody does"),
    FactKind("conversation.silence", _YES, "calls", "silent for longer than the policy's limit", "not silent"),
    FactKind("conversation.barged_in", _YES, "calls", "the lead cut in and still speaks", "did not"),
    FactKind("conversation.hold", _YES, "calls", "the call is on hold", "not on hold"),
    FactKind("conversation.transfer", ("started", "completed", "failed"), "calls", "a transfer", "none"),
    FactKind("conversation.disengaged", _YES, "calls, signals", "the buyer turned away", "did not"),
    FactKind(
        "conversation.gap", ("open", "lost"), "calls",
        "events of the provider's sequence are missing: still awaited, or given up", "none is missing",
    ),
    FactKind("conversation.wording", (), "transcript", "class of barred wording an agent was heard to use", "none"),
    FactKind("conversation.stop_phrase", _YES, "transcript", "the buyer called a halt", "did not"),
    FactKind("execution.locked", (), "transcript, escalation", "why nothing is executed here", "not locked"),
    FactKind("obligation.*", ("heard", "reported", "fulfilled"), "outcomes, transcript", "an obligation", "not done"),
    FactKind("barred.*", tuple(SpeechMode), "dialogue", "speech mode that bars this kind of action", "not barred"),
    FactKind("speech_mode", tuple(SpeechMode), "dialogue", "what agents may say"),
)  # fmt: skip

_EXACT = {kind.name: kind for kind in FACTS if not kind.name.endswith(".*")}
_FAMILIES = {kind.name[:-1]: kind for kind in FACTS if kind.name.endswith(".*")}


def kind_of(name: str) -> FactKind | None:
    """The kind of a fact by the name a rule gives it; None when there is no such fact."""
    found = _EXACT.get(name)
    if found is not None:
        return found
    return next(
        (kind for prefix, kind in _FAMILIES.items() if name.startswith(prefix) and len(name) > len(prefix)), None
    )


def is_named(stored_name: str, name: str) -> bool:
    """Is a stored fact the one, or of the family, that a policy names?"""
    plain = stored_name.partition("/")[0] if stored_name.startswith(CONVERSATION) else stored_name
    return plain == name or (name.endswith(".*") and plain.startswith(name[:-1]))


def scoped(name: str, conversation_id: ConversationId | None) -> str:
    """Stored name of a fact as a rule names it, in a conversation."""
    if name == "conversation.live" or not name.startswith(CONVERSATION):
        return name
    return f"{name}/{conversation_id or ''}"
