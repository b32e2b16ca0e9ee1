"""What a scenario may say of the answer to a request."""

from collections.abc import Callable
from typing import Any, NamedTuple

from processors.scenarios.finding import Finding, Look, came
from processors.scenarios.matching import ALIASES, expected_value, is_same
from processors.scenarios.moments import moment
from schemas.avro_files import definition
from schemas.jsonio import iso, to_json
from schemas.records import Criterion, CriterionName, Decision, PermissionStatus, ReasonCode, Revocation, Verdict

VERDICTS = [verdict.value for verdict in Verdict]
_STATUS = {status.value: status.value.lower() for status in PermissionStatus} | {"GRANTED": "in force"}


def check_answer(look: Look) -> list[Finding]:
    """A verdict, or a mapping of what is said about the answers. What is not a word is a field of the decision."""
    expected = {"verdict": look.expected} if isinstance(look.expected, str) else look.mapping()
    answers = look.tale.decisions(look.word)
    if not answers:
        return [Finding(look.where, f"{look.word}: an answer", str(look.expected), "no answer")]
    found: list[Finding] = []
    for key, value in expected.items():
        word = WORDS.get(key)
        found += word.check(look, answers, value) if word else _field(look, answers[-1], key, value)
    return [finding._replace(because=finding.because or reasons(answers[-1])) for finding in found]


def reasons(decision: Decision) -> tuple[str, ...]:
    """The decision's reasons in words, with the facts that they rest on."""
    lines = []
    for criterion in decision.criteria:
        lines.append(f"{criterion.name}: {criterion.verdict}")
        for reason in criterion.reasons:
            facts = ", ".join(f"{fact.name} = {fact.value or 'absent'}" for fact in reason.facts)
            lines.append(f"  {reason.code} ({reason.rule_id or 'no rule'}): {reason.message} [{facts}]")
    return tuple(lines)


def _field(look: Look, answer: Decision, key: str, value: Any) -> list[Finding]:
    """Any other field of the decision, by its schema name."""
    schema = {field["name"]: field["type"] for field in definition("Decision")["fields"]}
    name = ALIASES.get(key, key)
    if name not in schema:
        raise look.bad(f"unknown word {key!r}; words: {', '.join(WORDS)}; or a field: {', '.join(schema)}")
    wanted, actual = expected_value(look, schema[name], name, value), to_json(answer)[name]
    return [] if is_same(wanted, actual) else came(look, f"{look.word}: {key}", wanted, actual)


# --- reasons
def _codes_of(criteria: tuple[Criterion, ...]) -> set[str]:
    return {reason.code.value for criterion in criteria for reason in criterion.reasons}


def _rules_of(answer: Decision) -> set[str]:
    return {reason.rule_id for criterion in answer.criteria for reason in criterion.reasons if reason.rule_id}


def _listed(look: Look, value: Any) -> list[str]:
    return [str(item) for item in (value if isinstance(value, list) else [value])]


def _known(look: Look, names: list[str]) -> None:
    rules = [rule.id for rule in look.tale.bundle.rules]
    codes = [code.value for code in ReasonCode]
    for name in names:
        if name not in codes and name not in rules:
            raise look.bad(f"{name!r} is neither a reason code nor the id of a rule")


def _exactly(look: Look, answers: list[Decision], value: Any) -> list[Finding]:
    wanted = _listed(look, value)
    for name in wanted:
        look.one_of([code.value for code in ReasonCode], name)
    return _sets(look, "codes, exactly", set(wanted), _codes_of(answers[-1].criteria))


def _rules(look: Look, answers: list[Decision], value: Any) -> list[Finding]:
    wanted = _listed(look, value)
    _known(look, wanted)
    return _sets(look, "rules, exactly", set(wanted), _rules_of(answers[-1]))


def _has(look: Look, answers: list[Decision], value: Any) -> list[Finding]:
    wanted = _listed(look, value)
    _known(look, wanted)
    there = _codes_of(answers[-1].criteria) | _rules_of(answers[-1])
    return [] if set(wanted) <= there else _sets(look, "reasons, at least", set(wanted), there)


def _has_not(look: Look, answers: list[Decision], value: Any) -> list[Finding]:
    banned = _listed(look, value)
    _known(look, banned)
    there = _codes_of(answers[-1].criteria) | _rules_of(answers[-1])
    return _sets(look, "reasons, none of", set(banned), there) if set(banned) & there else []


def _sets(look: Look, what: str, wanted: set[str], there: set[str]) -> list[Finding]:
    return came(
        look, f"{look.word}: {what}", ", ".join(sorted(wanted)) or "none", ", ".join(sorted(there)) or "none"
    )  # fmt: skip


def _criteria(look: Look, answers: list[Decision], value: Any) -> list[Finding]:
    """By criterion: a verdict, or the list of exactly its codes."""
    if not isinstance(value, dict):
        raise look.bad(f"criteria: expected a mapping of {', '.join(CriterionName)}")
    found: list[Finding] = []
    for name, expected in value.items():
        look.one_of([criterion.value for criterion in CriterionName], name)
        criterion = next((c for c in answers[-1].criteria if c.name == name), None)
        if isinstance(expected, list):
            for code in expected:
                look.one_of([code.value for code in ReasonCode], code)
            there = _codes_of((criterion,)) if criterion else set()
            found += _sets(look, f"codes of {name}, exactly", set(expected), there)
        else:
            look.one_of(VERDICTS, expected)
            found += came(look, f"{look.word}: {name}", expected, criterion.verdict.value if criterion else "missing")
    return found


# --- answers
def _verdict(look: Look, answers: list[Decision], value: Any) -> list[Finding]:
    look.one_of(VERDICTS, value)
    return came(look, f"{look.word}: verdict", value, answers[-1].verdict.value)


def _answers(look: Look, answers: list[Decision], value: Any) -> list[Finding]:
    wanted = _listed(look, value)
    for item in wanted:
        look.one_of(VERDICTS, item)
    there = [answer.verdict.value for answer in answers]
    return came(look, f"{look.word}: answers", ", ".join(wanted), ", ".join(there))


def _decisions(look: Look, answers: list[Decision], value: Any) -> list[Finding]:
    return came(look, f"{look.word}: number of decisions", value, len(answers))


# --- waiting
def _terms(field: str) -> Callable[[Look, list[Decision], Any], list[Finding]]:
    def check(look: Look, answers: list[Decision], value: Any) -> list[Finding]:
        waited = [answer for answer in answers if answer.defer]
        if not waited:
            return came(look, f"{look.word}: {field}", value, "it never waited")
        there = getattr(waited[-1].defer, field)
        if value in (None, "none"):
            return came(look, f"{look.word}: {field}", "none", "none" if there is None else iso(there))
        try:
            wanted = moment(value, waited[0].at)
        except ValueError as error:
            raise look.bad(str(error)) from error
        return came(look, f"{look.word}: {field}", iso(wanted), "none" if there is None else iso(there))

    return check


def _waits_for(look: Look, answers: list[Decision], value: Any) -> list[Finding]:
    terms = next((answer.defer for answer in answers if answer.defer), None)
    there = set(terms.resume_when) if terms else set()
    wanted = set(_listed(look, value))
    return [] if wanted <= there else _sets(look, "waits for, at least", wanted, there)


def _on_deadline(look: Look, answers: list[Decision], value: Any) -> list[Finding]:
    look.one_of(definition("DeferEnd")["symbols"], value)
    terms = next((answer.defer for answer in answers if answer.defer), None)
    return came(look, f"{look.word}: on_deadline", value, terms.on_deadline.value if terms else "it never waited")


# --- grants
def _grant(look: Look, answers: list[Decision], value: Any) -> list[Finding]:
    look.one_of(["none", "gone", *_STATUS.values()], value)
    because = tuple(f"revoked: {revocation.message} ({revocation.code})" for revocation in _revocations(look))
    return came(look, f"{look.word}: grant", value, _grant_status(look), because)


def _grant_status(look: Look) -> str:
    """none: never permitted; gone: used or expired and no longer kept."""
    grant = look.tale.grant_of(look.word)
    if grant is None:
        return "none"
    if _revocations(look):
        return "revoked"
    state = look.tale.state(look.tale.requests()[look.word].lead_id)
    held = next((p for p in (state.permissions if state else ()) if p.grant_id == grant), None)
    return _STATUS[held.status.value] if held else "gone"


def _revocations(look: Look) -> list[Revocation]:
    grant = look.tale.grant_of(look.word)
    return [revocation for revocation in look.tale.of(Revocation) if revocation.subject == grant]


def _revoked_for(look: Look, answers: list[Decision], value: Any) -> list[Finding]:
    look.one_of([code.value for code in ReasonCode], value)
    there = ", ".join(revocation.code.value for revocation in _revocations(look)) or "not revoked"
    return came(look, f"{look.word}: revoked for", value, there)


class Word(NamedTuple):
    """A word about an answer: how it is checked, and what it says (the docs list it)."""

    check: Callable[[Look, list[Decision], Any], list[Finding]]
    says: str


WORDS: dict[str, Word] = {
    "verdict": Word(_verdict, "the latest answer"),
    "answers": Word(_answers, "all answers so far, in order"),
    "decisions": Word(_decisions, "number of answers so far"),
    "codes": Word(_exactly, "exactly these reason codes"),
    "rules": Word(_rules, "exactly these rule ids"),
    "has": Word(_has, "at least these codes or rule ids"),
    "not": Word(_has_not, "none of these codes or rule ids"),
    "criteria": Word(_criteria, "by STATE, ROLE, GOVERNANCE: a verdict, or the list of exactly its codes"),
    "not_before": Word(_terms("not_before"), "when it is judged again at the earliest; none"),
    "deadline": Word(_terms("deadline"), "when it ends at the latest"),
    "waits_for": Word(_waits_for, "at least these facts have it judged again"),
    "on_deadline": Word(_on_deadline, "what it becomes at the deadline: BLOCK, ESCALATE"),
    "grant": Word(_grant, "in force, used, expired, revoked, none (never permitted), gone (ended and no longer kept)"),
    "revoked_for": Word(_revoked_for, "the code of the grant's revocation"),
}
