"""An explanation as text: what a careful colleague would say, in short lines."""

from collections.abc import Iterator
from textwrap import wrap

from processors.explain.notes import (
    CriterionNote,
    Explanation,
    FactNote,
    GrantNote,
    Moment,
    OverrideNote,
    PolicyNote,
    ReasonNote,
    Words,
    told,
)
from processors.explain.refold import Comparison
from processors.explain.severity import gravest

WIDTH = 110
Seen = set[tuple[str, int]]
"""Facts that were told already, with their offsets."""
_CRITERIA = {"STATE": "Shared state", "ROLE": "Role", "GOVERNANCE": "Governance"}


def as_text(explanation: Explanation, *, rederived: bool = False) -> str:
    """An explanation as text. rederived: with the comparison of bytes."""
    return "\n".join(line.rstrip() for line in _lines(explanation, rederived)) + "\n"


def _lines(e: Explanation, rederived: bool) -> Iterator[str]:
    yield from _say(
        0, f"{e.verdict}  {e.action} by {e.agent_id} ({e.role}) for {e.lead_id}, {told(e.at)}", hang=len(e.verdict) + 2
    )
    place = f"in conversation {e.conversation_id} on {e.channel}" if e.conversation_id else f"on {e.channel}"
    yield from _say(2, f"{e.action_title or 'Asked'}, {place}; asked {told(e.requested_at)}.")
    if e.asked:
        yield from _say(2, "With " + ", ".join(f"{name} = {value}" for name, value in e.asked.items()) + ".")
    yield from _gravest(e)
    for caveat in e.caveats:
        yield from _say(2, f"Note: {caveat}")
    yield ""
    seen: Seen = set()
    for criterion in e.criteria:
        yield from _criterion(criterion, e.at, seen)
    if e.override:
        yield from _override(e.override, e.at, seen)
    yield from _permit(e)
    yield ""
    yield "What would change this"
    for change in e.changes:
        yield from _say(2, change)
    for answer in e.answers:
        yield from _say(2, f"The same request was answered {answer.verdict} at {told(answer.at)}: {answer.decision_id}")
    yield ""
    yield from _identity(e)
    if rederived:
        yield ""
        yield from _comparison(e.rederived)


def _gravest(e: Explanation) -> Iterator[str]:
    """The gravest of several reasons; one alone is told below anyway."""
    reasons = {(reason.code, reason.rule_id) for criterion in e.criteria for reason in criterion.reasons}
    first = gravest(e.criteria)
    if first is not None and len(reasons) > 1:
        yield from _say(2, f"Gravest of {len(reasons)} reasons: {first.code} {_by(first)}: {first.message}")


def _by(reason: ReasonNote) -> str:
    """Which rule gave a reason, and how grave the policy calls it."""
    return f"(rule {reason.rule_id}{f', severity {reason.severity}' if reason.severity else ''})"


def _criterion(criterion: CriterionNote, at: Moment, seen: Seen) -> Iterator[str]:
    held = f"  ({_count(len(criterion.held), 'rule')} held)" if criterion.held else ""
    yield f"{_CRITERIA.get(criterion.name, criterion.name)}: {criterion.verdict}{held}"
    for reason in criterion.reasons:
        yield from _reason(reason, at, seen)


def _reason(reason: ReasonNote, at: Moment, seen: Seen) -> Iterator[str]:
    yield from _say(2, f"{reason.code}  {reason.title or reason.meaning} {_by(reason)}")
    yield from _say(5, reason.message)
    if reason.source:
        yield from _say(5, f"Source: {reason.source}")
    yield from _facts(reason.facts, at, "not set", seen)
    yield from _clauses("Would hold when", reason.would_hold_when)
    yield from _clauses("At the time", reason.stood_in_the_way)
    if reason.advice:
        yield from _say(5, f"What to do: {reason.advice}")


def _override(override: OverrideNote, at: Moment, seen: Seen) -> Iterator[str]:
    yield f"Overridden: the rules alone say {override.before}"
    yield from _say(5, f"{override.author} ({override.author_role}): {override.reason}")
    yield from _say(5, f"override {override.override_id}; it lifted")
    for reason in override.lifted:
        yield from _reason(reason, at, seen)


def _clauses(heading: str, clauses: tuple[str, ...]) -> Iterator[str]:
    for i, clause in enumerate(clauses):
        end = "." if i == len(clauses) - 1 else ";"
        yield from _say(5 if i == 0 else 7, (f"{heading}: " if i == 0 else "") + clause + end)


def _facts(facts: tuple[FactNote, ...], at: Moment, unset: str, seen: Seen) -> Iterator[str]:
    """Facts that were set, each told once; then the names of those that were not."""
    for fact in facts:
        if fact.value is not None and (fact.name, fact.offset) in seen:
            yield from _say(5, f"{fact.name} = {fact.value} (as above)")
        elif fact.value is not None:
            seen.add((fact.name, fact.offset))
            yield from _fact(fact, at)
    missing = [fact.name for fact in facts if fact.value is None]
    if missing:
        yield from _say(5, f"{unset}: {', '.join(missing)}")


def _fact(fact: FactNote, at: Moment) -> Iterator[str]:
    said = f"{fact.name} = {fact.value or '(empty)'} ({'final' if fact.final else 'interim'}"
    said += f", confidence {fact.confidence:g})" if fact.confidence is not None else ")"
    if fact.set_by is None or fact.set_at is None:
        said += f", set at journal offset {fact.offset}, which the journal at hand does not show"
    else:
        said += f", set by {fact.set_by} at {_short(fact.set_at, at)}"
    yield from _say(5, said + (", on the words:" if fact.words else ""))
    for words in fact.words:
        yield from _say(9, _words(words, at), hang=2)


def _words(words: Words, at: Moment) -> str:
    if words.text is None or words.said_at is None:
        return f"segment {words.segment_id}, whose words are not in the journal at hand"
    quoted = f'"{words.text}"' if words.text else "(withdrawn)" if words.status == "WITHDRAWN" else "(no words)"
    return (
        f"{quoted} ({words.speaker.lower()}, {_short(words.said_at, at)}, {words.status.lower()}, "
        f"segment {words.segment_id})"
    )


def _permit(e: Explanation) -> Iterator[str]:
    if not e.rests_on:
        return
    yield ""
    yield "It rests on"
    yield from _facts(e.rests_on, e.at, "not set, and to stay so", set())
    if e.obligations:
        yield "With it the agent must"
        for name, title in e.obligations.items():
            yield from _say(5, f"{name}: {title}" if title else name)
    if e.grant:
        yield from _grant(e.grant)


def _grant(grant: GrantNote) -> Iterator[str]:
    yield "Grant"
    yield from _say(5, f"{grant.grant_id}, {'single use' if grant.single_use else 'not single use'}")
    claims = ", ".join(f"{name} = {value}" for name, value in grant.claims.items())
    yield from _say(5, f"claims: {claims}" if claims else "its claims can't be read")


def _identity(e: Explanation) -> Iterator[str]:
    yield from _say(0, f"Decision {e.decision_id} on request {e.request_id}")
    yield from _say(0, f"Journal  partition {e.partition}, offset {e.offset}")
    yield from _say(0, f"Policy   {_policy(e.policy)}", hang=9)
    limits = f", at most {e.max_tokens} tokens" if e.max_tokens is not None else ""
    limits += f", prompt scope {', '.join(e.prompt_scope)}" if e.prompt_scope else ""
    yield from _say(0, f"Limits   speech mode {e.speech_mode}{limits}", hang=9)


def _policy(policy: PolicyNote) -> str:
    if not policy.version:
        return "none in force"
    found = f"{policy.version}, sha256 {policy.digest}"
    if policy.revision is not None and policy.since is not None:
        found += f", revision {policy.revision}, approved by {policy.approved_by}, in force since {told(policy.since)}"
    return found


def _comparison(found: Comparison) -> Iterator[str]:
    if found.identical and found.signature_compared:
        yield "Rederived: identical"
    elif found.identical:
        yield "Rederived: identical but for the grant's signature and key id, which were NOT compared:"
        yield "  the key at hand (MANDATE_SIGNING_KEY_PATH) did not sign this grant."
    else:
        yield from _say(0, f"Rederived: DIFFERENT. {found.difference}", hang=2)
    yield f"  recorded  sha256 {found.recorded_sha256}"
    yield f"  journal   sha256 {found.derived_sha256 or '(no such decision)'}"


def _short(moment: Moment, beside: Moment) -> str:
    """A time beside another: the date only where it differs."""
    if moment.utc[:10] != beside.utc[:10]:
        return told(moment)
    local = ", ".join(at[11:19] for at in moment.local.values())
    return f"{moment.utc[11:19]}Z" + (f" ({local} local)" if local else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _say(indent: int, text: str, hang: int = 2) -> Iterator[str]:
    """Text in lines; control characters of what people said do not reach the terminal."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    margin = " " * indent
    yield from wrap(
        clean, WIDTH, initial_indent=margin, subsequent_indent=margin + " " * hang, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
