"""The words of then: each looks at what came out and says where it is not as expected.

A word that is unknown, or that names what never happened in the scenario, is an error of the scenario, not a failure
of judgement: it never passes.
"""

from collections.abc import Callable
from typing import NamedTuple

from processors.scenarios.answers import check_answer
from processors.scenarios.finding import Finding, Look, came
from processors.scenarios.known import known_fact, possible_value
from processors.scenarios.matching import check_records
from processors.scenarios.source import BadScenario, Map, Seq, plain
from processors.scenarios.tale import FIRST_CONVERSATION, FIRST_LEAD, Tale
from schemas.records import (
    CrmUpdate,
    Directive,
    EscalationCase,
    ExecutionState,
    Record,
    Revocation,
    SpeechMode,
    Transition,
)

ABSENT, PRESENT = "absent", "present"


def check(tale: Tale, items: Seq, file: str) -> list[Finding]:
    """What is not as expected, in order. BadScenario when an expectation can't be understood."""
    findings: list[Finding] = []
    for index, item in enumerate(items):
        where = f"{file}:{items.lines[index]}"
        if not isinstance(item, Map) or not set(item) - {"lead", "conversation"}:
            raise BadScenario(where, f"an expectation is a mapping of a word; words: {_words(tale)}")
        lead = str(item.get("lead", FIRST_LEAD))
        conversation = str(item.get("conversation") or tale.conversations.get(lead, FIRST_CONVERSATION))
        for word, expected in item.items():
            if word not in ("lead", "conversation"):
                look = Look(tale, word, plain(expected), lead, conversation, f"{file}:{item.lines[word]}")
                findings += _check_word(look, is_default_lead="lead" not in item)
    return findings


def _check_word(look: Look, *, is_default_lead: bool) -> list[Finding]:
    word = WORDS.get(look.word)
    if word is not None:
        if look.lead != FIRST_LEAD and not any(told.entry.lead_id == look.lead for told in look.tale.told):
            raise look.bad(f"nothing happened to a lead {look.lead!r}")
        return word.check(look)
    request = look.tale.requests().get(look.word)
    if request is not None:
        if not is_default_lead and request.lead_id != look.lead:
            raise look.bad(f"it was asked about {request.lead_id}, not about {look.lead}")
        return check_answer(look)
    raise BadScenario(look.where, f"{look.word!r} is neither a word nor a request that was asked; {_words(look.tale)}")


def _words(tale: Tale) -> str:
    return f"words: {', '.join(WORDS)}; requests: {', '.join(tale.requests()) or 'none'}"


# --- state
def _facts(look: Look) -> list[Finding]:
    found = []
    for name, expected in look.mapping().items():
        value = look.tale.fact(look.lead, name)
        if expected in (None, ABSENT):
            known_fact(look, name)
            found += came(look, f"fact {name}", ABSENT, value or ABSENT)
        elif expected == PRESENT:
            found += came(look, f"fact {name}", PRESENT, PRESENT if value else ABSENT)
        else:
            possible_value(look, name, str(expected))
            found += came(look, f"fact {name}", str(expected), value or ABSENT)
    return found


def _stage(look: Look) -> list[Finding]:
    stages = [stage.name for stage in look.tale.bundle.stages]
    look.one_of(stages)
    return came(look, "stage", look.expected, look.tale.fact(look.lead, "stage") or stages[0])


def _speech_mode(look: Look) -> list[Finding]:
    look.one_of([mode.value for mode in SpeechMode])
    state = look.tale.state(look.lead)
    if not any(c.conversation_id == look.conversation for c in (state.conversations if state else ())):
        raise look.bad(f"there is no conversation {look.conversation!r} with {look.lead}")
    name = f"speech_mode/{look.conversation}"
    return came(look, f"speech mode in {look.conversation}", look.expected, look.tale.fact(look.lead, name) or ABSENT)


def _floor(look: Look) -> list[Finding]:
    agents = {request.agent_id for request in look.tale.requests().values()}
    look.one_of(["free", *sorted(agents)])
    state = look.tale.state(look.lead)
    holder = state.floor.agent_id if state and state.floor else "free"
    return came(look, "floor", look.expected, holder)


# --- what came out
def _transitions(look: Look) -> list[Finding]:
    """`fact: old -> new`, through any number of values, within this round; {} = none at all."""
    seen: dict[str, list[str]] = {}
    for record in look.tale.of(Transition, lead=look.lead, this_round=True):
        path = seen.setdefault(record.fact, [record.old_value or ABSENT])
        path.append(record.new_value or ABSENT)
    expected = look.mapping()
    if not expected:
        return came(look, "transitions", "none", ", ".join(seen) or "none")
    found = []
    for fact, path in expected.items():
        values = [value.strip() for value in str(path).split("->")]
        if values == ["unchanged"]:
            known_fact(look, fact)
        elif len(values) < 2:
            raise look.bad(f"{fact}: write old -> new, or unchanged")
        found += came(look, f"transition of {fact}", " -> ".join(values), " -> ".join(seen.get(fact, ["unchanged"])))
    return found


def _cases(look: Look) -> list[Finding]:
    newest: dict[str, EscalationCase] = {}
    for case in look.tale.of(EscalationCase, lead=look.lead):
        newest[case.case_id] = case
    return check_records(look, EscalationCase, list(newest.values()))


def _records(kind: type[Record]) -> Callable[[Look], list[Finding]]:
    def check_kind(look: Look) -> list[Finding]:
        return check_records(look, kind, look.tale.of(kind, lead=look.lead, this_round=True))

    return check_kind


def _view(look: Look) -> list[Finding]:
    views = look.tale.of(ExecutionState, lead=look.lead)
    return check_records(look._replace(expected=[look.expected]), ExecutionState, views[-1:])


def _nothing(look: Look) -> list[Finding]:
    if look.expected is not True:
        raise look.bad("it is only ever true")
    told = look.tale.told[look.tale.round_start :]
    kinds = [type(o.value).__name__ for t in told if t.entry.lead_id == look.lead for o in t.outputs]
    return came(look, "what came out in this round", "nothing", ", ".join(kinds) or "nothing")


class Word(NamedTuple):
    """A word of then: how it is checked, and what it says (the docs list it)."""

    check: Callable[[Look], list[Finding]]
    says: str


WORDS: dict[str, Word] = {
    "facts": Word(_facts, "values of facts by name; absent, present"),
    "stage": Word(_stage, "the lead's stage"),
    "speech_mode": Word(_speech_mode, "the widest speech allowed in the conversation"),
    "floor": Word(_floor, "the agent that has the lead; free"),
    "cases": Word(_cases, "all cases of the lead as they stand now"),
    "view": Word(_view, "fields of the public view as last published"),
    "transitions": Word(_transitions, "fact: old -> new, or unchanged, in this round"),
    "directives": Word(_records(Directive), "orders to agents in this round"),
    "revocations": Word(_records(Revocation), "grants and cut-offs revoked in this round"),
    "crm_updates": Word(_records(CrmUpdate), "writes to the CRM in this round"),
    "nothing_happens": Word(_nothing, "true: this round changed nothing and nothing came out"),
}
