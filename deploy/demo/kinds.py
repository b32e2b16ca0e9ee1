"""The kinds of leads in the corpus: how many of each, by design, and what is claimed of each.

A kind's name is that of its script in `deploy.demo.scripts` and of its claim in `deploy.demo.claims`.
"""

from dataclasses import dataclass

RAW = ("twilio", "telnyx", "twilio+deepgram")
ANY = ("twilio", "typed", "telnyx", "typed", "twilio+deepgram", "typed")
"""Half of the lines send raw webhooks, half typed Avro."""
NUMBERED = ("twilio", "typed", "telnyx")
"""Lines whose providers retry: websockets do not."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. title: what happens. claim: what must hold of every lead of it, in words. styles: of its lines."""

    name: str
    count: int
    title: str
    claim: str
    styles: tuple[str, ...] = ANY


KINDS: tuple[Kind, ...] = (
    Kind("progress", 84, "all four roles, to a captured commitment", "every role permitted, commitment captured"),
    Kind("voicemail", 24, "a machine answers", "only a voicemail is left, nobody is asked anything"),
    Kind("dropped", 16, "the line drops mid-call", "no permit in a conversation after its end", ("telnyx", "typed")),
    Kind("timed_out", 12, "the call times out", "ended by clock or provider, then no permit", ("typed", "telnyx")),
    Kind("barge_in", 16, "the lead cuts in", "agents are told to hold", ("typed", "twilio+deepgram")),
    Kind("silence", 12, "the line goes silent", "agents are told to pause", ("typed",)),
    Kind("low_confidence", 16, "unclear speech, unsure detector", "nothing is booked on it"),
    Kind("interim_only", 16, "transcript that never becomes final", "no stage is earned by it"),
    Kind("corrected", 16, "transcript corrected after the grant", "the grant is revoked, nothing is captured"),
    Kind("duplicates", 16, "everything sent twice", "counted once, answered once", NUMBERED),
    Kind("out_of_order", 16, "events overtake each other", "phases only go forward", NUMBERED),
    Kind("terminal_first", 12, "the end comes first", "ended is never left", NUMBERED),
    Kind("opt_out", 20, "“take me off your list” in mid-call", "no permit after it, and the CRM knows"),
    Kind("outside_hours", 24, "early, late and at night, three time zones", "no call outside 08:00-21:00 over there"),
    Kind("rivals", 16, "two agents ask for one lead at once", "exactly one call is placed"),
    Kind("discount", 12, "a closer offers 25 %", "never permitted, a case for a person"),
    Kind("transfer_closes", 12, "a transfer agent tries to close", "no permit for a closing action"),
    Kind("crm_fields", 12, "a CRM write outside the role's fields", "blocked, the field stays unwritten"),
    Kind("asks_for_human", 8, "the lead asks for a person", "what the case suspends waits for a person"),
)

MALFORMED_EACH = 4
"""Malformed records of each of the five kinds in `deploy.demo.broken`."""

LEADS = sum(kind.count for kind in KINDS)
