"""What a rule's check demands, in words, from the bundle alone: no request, no state.

`requirement` is for anybody who tells a person about a rule: `mandate policy explain` prints it for each rule.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from processors.policy import (
    Action,
    AnsweredByCheck,
    Bundle,
    Condition,
    FactAbsent,
    FactIn,
    FactNotIn,
    FactPresent,
    IntentConfirmed,
    ObligationMet,
    Role,
    Rule,
    WithinAuthority,
)
from schemas.records import Channel


class _Asked(NamedTuple):
    """Who asks for what. channel: None = on any."""

    bundle: Bundle
    action_id: str
    action: Action
    role: Role
    channel: Channel | None


def requirement(bundle: Bundle, rule: Rule, action: str, role: str, channel: Channel | None = None) -> str:
    """What must be the case for a rule to hold when a role asks for an action: a clause, without a full stop.

    Action and role must be the bundle's. channel: the one that is asked about; None words it for all channels.
    Every kind of check has its words here, and a test says so.
    """
    check = rule.check
    said = _in_words(bundle, check)
    if said is None:
        asked = _Asked(bundle, action, bundle.actions[action], bundle.roles[role], channel)
        said = _authority(asked, check) if isinstance(check, WithinAuthority) else _SIMPLE[check.kind](asked)
    return said


def one_of(values: Iterable[object]) -> str:
    """Values in words: `a`, `a or b`, `a, b or c`."""
    items = [str(value) for value in values]
    return " or ".join(filter(None, [", ".join(items[:-1]), items[-1]])) if items else "(nothing)"


def span(seconds: int) -> str:
    """A time in words, in the largest unit that says it exactly."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            count = seconds // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def _in_words(bundle: Bundle, check: object) -> str | None:
    """Checks that say by themselves what they demand."""
    match check:
        case FactIn():
            return f"{check.fact} is {one_of(check.values)}" + (", on final words" if check.final else "")
        case FactNotIn():
            return f"{check.fact} is not {one_of(check.values)}"
        case FactAbsent():
            return f"{check.fact} is not set"
        case FactPresent():
            return f"{check.fact} is known"
        case IntentConfirmed():
            return _intent(bundle, check.intent)
        case AnsweredByCheck():
            unknown = "suffices" if check.unknown == "holds" else "does not do"
            missing = "suffices" if check.missing == "holds" else "does not do"
            return (
                f"conversation.answered_by is {check.who}; "
                f"a detection without a result {unknown}, and no detection at all {missing}"
            )
        case ObligationMet():
            where = f", where the lead is in {one_of(check.jurisdictions)}" if check.jurisdictions else ""
            return f"the obligation {check.obligation} is fulfilled in this conversation{where}"
        case Condition():
            return f"this is true: {' '.join(check.cel.split())}"
    return None


def _intent(bundle: Bundle, intent: str) -> str:
    signals = bundle.signals
    kinds = [kind for kind, named in signals.intents.items() if named == intent]
    limit = signals.thresholds.get(kinds[0], signals.threshold) if kinds else signals.threshold
    valid_s = signals.valid_for_s.get(intent)
    stale = f", not longer than {span(valid_s)} ago" if valid_s is not None else ""
    return (
        f"intent.{intent} is confirmed by {one_of(kinds) if kinds else 'an outcome'} on final words, with a confidence "
        f"of at least {limit.min_confidence:g} (recognition {limit.min_asr_confidence:g}){stale}"
    )


def _authority(asked: _Asked, check: WithinAuthority) -> str:
    return f"{check.parameter} is a whole number from 0 to {getattr(asked.role, check.limit)}"


def _action_in_role(asked: _Asked) -> str:
    able = [name for name, role in asked.bundle.roles.items() if asked.action_id in role.actions]
    return f"the role may ask for {asked.action_id}; those that may: {one_of(able)}"


def _channel_in_role(asked: _Asked) -> str:
    return f"the channel is {one_of(asked.role.channels)}"


def _tool_in_role(asked: _Asked) -> str:
    return f"it uses no tool, or {one_of(asked.role.tools)}" if asked.role.tools else "it uses no tool"


def _prompt_in_scope(asked: _Asked) -> str:
    scope = asked.role.prompt_scope
    return f"it names no part of the prompt, or {one_of(scope)}" if scope else "it names no part of the prompt"


def _tokens_in_limit(asked: _Asked) -> str:
    own = f"{asked.role.max_tokens} tokens" if asked.role.max_tokens is not None else "no limit"
    modes = [
        f"{mode} {row.max_tokens}" for mode, row in asked.bundle.dialogue.modes.items() if row.max_tokens is not None
    ]
    return (
        f"the answer is no longer than the role allows ({own}) and the speech mode ({', '.join(modes) or 'no limit'})"
    )


def _wording(asked: _Asked) -> str:
    modes = [f"{mode}: {', '.join(row.wording_barred) or 'none'}" for mode, row in asked.bundle.dialogue.modes.items()]
    return f"its text holds no wording that the speech mode bars ({'; '.join(modes)})"


def _mode_allows(asked: _Asked) -> str:
    modes = [mode for mode, row in asked.bundle.dialogue.modes.items() if asked.action.kind in row.kinds]
    return f"in a conversation, its speech mode leaves actions of the kind {asked.action.kind} open: {one_of(modes)}"


def _fields_in_role(asked: _Asked) -> str:
    return f"it writes one or more of these CRM fields and no other: {', '.join(asked.role.crm_fields) or '(none)'}"


def _stage_reached(asked: _Asked) -> str:
    names = [stage.name for stage in asked.bundle.stages]
    stages = asked.bundle.stages[1 : names.index(asked.action.stage) + 1]
    if not stages:
        return f"the lead is in the stage {names[0]}, the first, or beyond"
    earned = [f"{fact.fact} is {one_of(fact.values)}" for stage in stages for fact in stage.earned_by]
    return f"the lead has reached the stage {asked.action.stage}, by final facts: {'; '.join(earned) or 'none needed'}"


def _conversation_live(asked: _Asked) -> str:
    if asked.action.in_conversation:
        return "it belongs to a conversation that is answered and not ended"
    return "nothing: the action needs no conversation"


def _calling_hours(asked: _Asked) -> str:
    rows = [
        f"{name} {'; '.join(f'{_days(window.days)} {window.start}-{window.end}' for window in row.windows)}"
        for name, row in asked.bundle.contact.jurisdictions.items()
    ]
    return (
        "by the clock of every time zone the person may be in, the hour is allowed by every jurisdiction of the person "
        f"(and by {asked.bundle.contact.default_jurisdiction}): {', '.join(rows)}"
    )


def _days(days: tuple[str, ...]) -> str:
    return "daily" if len(days) == 7 else " ".join(days)


def _attempts(asked: _Asked) -> str:
    contact = asked.bundle.contact
    rows = [
        f"{name} {row.max_attempts} in {span(row.attempts_window_s)}" for name, row in contact.jurisdictions.items()
    ]
    return (
        f"attempts on this channel stay within the caps of the person's jurisdictions ({', '.join(rows)}), and the "
        f"last is at least {span(contact.min_gap_s)} ago"
    )


def _retries(asked: _Asked) -> str:
    rows = [
        f"{outcome}: {row.max} in {span(row.window_s)}, {span(row.gap_s)} apart"
        for outcome, row in asked.bundle.contact.retries.items()
    ]
    return f"the outcomes of the last attempts allow another ({'; '.join(rows) or 'no limits'})"


def _contactable(asked: _Asked) -> str:
    channel = f".{asked.channel.lower()}" if asked.channel else ".<channel>"
    return f"neither do_not_contact nor do_not_contact{channel} is set"


def _consent(asked: _Asked) -> str:
    contact = asked.bundle.contact
    channels = [asked.channel] if asked.channel else [c for c in asked.role.channels if c in contact.consent]
    rows = [
        f"consent.{channel.lower()}.{contact.consent_purpose} is {one_of(contact.consent[channel])}"
        for channel in channels
        if channel in contact.consent
    ]
    return "; ".join(rows) or "nothing: no consent is asked on this channel"


def _floor_free(asked: _Asked) -> str:
    return "no other agent has the lead (floor)" if asked.action.takes_floor else "nothing: it does not take the floor"


def _turn_free(asked: _Asked) -> str:
    if asked.action.takes_floor:
        return "the agent who had the lead before is silent (conversation.outgoing)"
    return "nothing: it does not take the floor"


def _effect_free(asked: _Asked) -> str:
    own = "not even the agent's own" if asked.action.irreversible else "unless it is the agent's own"
    return f"no permitted action with the effect {asked.action.effect} is still to be done, {own}"


def _effect_not_refused(asked: _Asked) -> str:
    return f"nobody refused the effect {asked.action.effect} (refused.{asked.action.effect}), in whatever words"


def _not_suspended(asked: _Asked) -> str:
    causes = [
        trigger.cause
        for trigger in asked.bundle.triggers
        if asked.action_id in trigger.suspends or "*" in trigger.suspends
    ]
    return f"no open case suspends it ({', '.join(causes) if causes else 'no trigger of this bundle does'})"


def _in_time(asked: _Asked) -> str:
    return (
        f"it is judged within {span(asked.bundle.limits.request_max_age_s)} of being asked, and before its own deadline"
    )


_SIMPLE: dict[str, Callable[[_Asked], str]] = {
    say.__name__.removeprefix("_"): say
    for say in (
        _action_in_role, _channel_in_role, _tool_in_role, _prompt_in_scope, _tokens_in_limit, _wording, _mode_allows,
        _fields_in_role, _stage_reached, _conversation_live, _calling_hours, _attempts, _retries, _contactable,
        _consent, _floor_free, _turn_free, _effect_free, _effect_not_refused, _not_suspended, _in_time,
    )
}  # fmt: skip
"""Checks that take no parameters of their own: what they demand stands elsewhere in the bundle."""
