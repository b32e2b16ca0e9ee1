"""A bundle in words: what it takes for a role to be permitted an action, rule by rule, and what a permit brings."""

from collections.abc import Iterator
from textwrap import fill

from processors.explain.requirement import one_of, requirement, span
from processors.explain.severity import gravest_rules
from processors.policy import Bundle, Rule
from schemas.records import Channel, CriterionName, DeferEnd, Verdict

WIDTH = 110

_QUESTIONS = {
    CriterionName.ROLE: "ROLE: may this role ask for it?",
    CriterionName.STATE: "STATE: does the shared state of the lead carry it?",
    CriterionName.GOVERNANCE: "GOVERNANCE: do the rules of people and of law allow it?",
}


class UnknownNameError(LookupError):
    """The bundle has no such action, role or channel of the role. Its text lists what there is."""


def explain(bundle: Bundle, action: str, role: str, channel: Channel | None = None) -> str:
    """What it takes, as text. channel: narrows it to one; UnknownNameError when there is no such action or role."""
    _must_be_known("action", action, bundle.actions)
    _must_be_known("role", role, bundle.roles)
    if channel is not None:
        _must_be_known(f"channel of {role}", channel, bundle.roles[role].channels)
    about = [rule for rule in bundle.rules if _is_about(rule, action, role)]
    idle: list[str] = []
    blocks: list[str] = []
    for criterion, question in _QUESTIONS.items():
        lines = [question]
        for rule in about:
            if rule.criterion is criterion:
                takes = requirement(bundle, rule, action, role, channel)
                if takes.startswith("nothing:"):
                    idle.append(rule.id)
                else:
                    lines += _rule(bundle, rule, action, takes)
        blocks.append("\n".join(lines if len(lines) > 1 else [*lines, "  no rule of this bundle asks anything here"]))
    asking = [rule for rule in about if rule.id not in idle]
    blocks.insert(0, "\n".join([*_head(bundle, action, role, channel), *_gravest(asking)]))
    blocks.append("\n".join(_permit(bundle, action)))
    blocks.append("\n".join(_people(bundle, about, action)))
    if idle:
        blocks.append(_line("", f"Rules that demand nothing here: {', '.join(idle)}."))
    return "\n\n".join(blocks)


def _must_be_known(what: str, name: str, known: object) -> None:
    names = [str(item) for item in known] if isinstance(known, dict | tuple) else []
    if name not in names:
        raise UnknownNameError(f"there is no {what} {str(name)!r}; there are: {', '.join(names)}")


def _is_about(rule: Rule, action: str, role: str) -> bool:
    return ("*" in rule.actions or action in rule.actions) and ("*" in rule.roles or role in rule.roles)


def _head(bundle: Bundle, action: str, role: str, channel: Channel | None) -> Iterator[str]:
    row, asker = bundle.actions[action], bundle.roles[role]
    on = f"on {channel}" if channel else f"on {one_of(asker.channels)}"
    yield _line("", f"{action} ({row.title}), asked for by {role} ({asker.title}) {on}.")
    yield _line(
        "", f"Policy {bundle.version}. It is permitted if all of this is so; everything is judged on every request."
    )
    if action not in asker.actions:
        able = [name for name, other in bundle.roles.items() if action in other.actions]
        yield _line("", f"The role may NOT ask for it, so the answer is always BLOCK; {one_of(able)} may.")


def _gravest(rules: list[Rule]) -> Iterator[str]:
    grave = gravest_rules(rules)
    if len(grave) < len(rules):
        yield _line("", f"Gravest to fail, severity {grave[0].severity}: {', '.join(rule.id for rule in grave)}.")


def _rule(bundle: Bundle, rule: Rule, action: str, takes: str) -> Iterator[str]:
    yield f"  {rule.title}  [{rule.id}]  severity {rule.severity}"
    yield _line("    takes   ", takes + ".")
    yield _line("    else    ", _failure(bundle, rule, action) + ".")
    if rule.source:
        row = bundle.regulations.get(rule.source)
        yield _line("    source  ", f"{row.title}: {row.source} ({row.note})" if row else rule.source)
    dates = [f"from {rule.effective_from}"] if rule.effective_from else []
    dates += [f"until {rule.effective_to}, that day included"] if rule.effective_to else []
    if dates:
        yield _line("    counts  ", " ".join(dates) + " (UTC)")


def _failure(bundle: Bundle, rule: Rule, action: str) -> str:
    if rule.on_fail is Verdict.BLOCK or rule.wait_s is None:
        said = f"BLOCK {rule.code}"
    else:
        end = "a case for a person and BLOCK" if rule.on_deadline is DeferEnd.ESCALATE else "BLOCK"
        said = f"DEFER {rule.code} for up to {span(rule.wait_s)}, then {end}"
    if rule.binds_s is not None:
        said += f"; a BLOCK bars the effect {bundle.actions[action].effect} for everybody for {span(rule.binds_s)}"
    return said + ("; a person may lift it" if rule.overridable else "")


def _permit(bundle: Bundle, action: str) -> Iterator[str]:
    row = bundle.actions[action]
    yield "WITH A PERMIT"
    use = "for one use" if row.single_use else "for any number of uses until then"
    yield _line("    grant   ", f"lives {span(row.grant_ttl_s)}, {use}; it falls when a fact that was read changes.")
    if row.takes_floor:
        keeps = "keeps it after the outcome" if row.keeps_floor else "gives it back with the outcome"
        yield _line(
            "    floor   ", f"the agent has the lead for up to {span(bundle.limits.floor_lease_s)} and {keeps}."
        )
    for name in row.obligations:
        obligation = bundle.obligations[name]
        report, words = "the agent's report", f"its final words, one of: {'; '.join(obligation.confirmed_by)}"
        shown = {"report": report, "transcript": words, "both": f"{report} and {words}"}[obligation.shown_by]
        yield _line("    must    ", f"{obligation.title} ({name}); shown by {shown}.")
    for fact, value in row.establishes.items():
        yield _line("    brings  ", f"{fact} is {value}, when the agent reports that it is done.")
    if row.irreversible:
        yield _line("    note    ", "it can't be undone: the agent gets one such grant at a time.")


def _people(bundle: Bundle, rules: list[Rule], action: str) -> Iterator[str]:
    yield "OVERRIDE"
    liftable = [rule.id for rule in rules if rule.overridable]
    people = [
        f"{name} ({person.role})"
        for name, person in bundle.people.items()
        if action in person.may_override or "*" in person.may_override
    ]
    if not liftable:
        yield _line("    ", "No rule about this may be lifted by a person.")
    else:
        yield _line("    rules   ", f"a person may lift, for one decision: {', '.join(liftable)}.")
        yield _line("    people  ", f"{one_of(people) if people else 'nobody in this bundle'} may do so.")


def _line(indent: str, text: str) -> str:
    return fill(text, WIDTH, initial_indent=indent, subsequent_indent=" " * len(indent), break_on_hyphens=False)
