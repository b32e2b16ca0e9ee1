"""CEL conditions before a hearing: what they see of state and request, and whether they hold."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from processors.hearing import Hearing
from processors.lead import SECOND
from processors.policy import Condition
from processors.policy.cel import CompiledCondition, ConditionError, ConditionSyntaxError, compile_condition
from schemas.records import Fact

__all__ = ["CompiledCondition", "ConditionError", "ConditionSyntaxError", "compile_condition", "facts_alone", "holds"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NO_LIMIT = 2**63 - 1
"""What `request.max_tokens` is when the request states none: a limit can't be kept by leaving it out."""


def facts_alone(check: Condition) -> tuple[str, ...] | None:
    """Facts of a condition that sees nothing but their value and finality; None of one that sees more."""
    condition = compile_condition(check.cel)
    return condition.facts if set(condition.names) <= {"facts", "final"} and condition.facts else None


def holds(hearing: Hearing, check: Condition) -> bool:
    """Is the condition true? ConditionError when it can't be evaluated, as when it asks for a fact that is missing."""
    condition = compile_condition(check.cel)
    # All are read, also what CEL would not come to: the read set does not depend on the order of evaluation.
    known = {name: fact for name in condition.facts if (fact := hearing.read(name)) is not None}
    context: dict[str, object] = {}
    for name in condition.names:
        keys = condition.keys.get(name)
        if keys is None:
            context[name] = _OF_HEARING[name](hearing)
        else:
            context[name] = _by_fact(name, {key: known[key] for key in keys if key in known}, hearing)
    return condition.evaluate(context)


def _by_fact(variable: str, known: dict[str, Fact], hearing: Hearing) -> dict[str, object]:
    if variable == "facts":
        return {name: fact.value for name, fact in known.items()}
    if variable == "final":
        return {name: fact.final for name, fact in known.items()}
    if variable == "age_s":
        return {name: (hearing.now - fact.at) // SECOND for name, fact in known.items()}
    return {name: fact.confidence for name, fact in known.items() if fact.confidence is not None}


def _parameters(kind: type) -> Callable[[Hearing], dict[str, bool | int | str]]:
    # By exact type: a bool is an int to Python, and not to CEL.
    return lambda hearing: {name: v for name, v in hearing.request.parameters.items() if type(v) is kind}


_OF_HEARING: dict[str, Callable[[Hearing], object]] = {
    "request.action": lambda hearing: hearing.request.action,
    "request.role": lambda hearing: hearing.request.role,
    "request.agent_id": lambda hearing: hearing.request.agent_id,
    "request.channel": lambda hearing: str(hearing.request.channel),
    "request.tool": lambda hearing: hearing.request.tool or "",
    "request.prompt_scope": lambda hearing: hearing.request.prompt_scope or "",
    "request.text": lambda hearing: hearing.request.text or "",
    "request.max_tokens": lambda hearing: (
        NO_LIMIT if hearing.request.max_tokens is None else hearing.request.max_tokens
    ),
    "request.ints": _parameters(int),
    "request.strings": _parameters(str),
    "request.bools": _parameters(bool),
    "request.crm_fields": lambda hearing: hearing.request.crm_fields,
    "role.max_discount_bp": lambda hearing: hearing.role.max_discount_bp,
    "role.max_price_minor": lambda hearing: hearing.role.max_price_minor,
    "attempts": lambda hearing: int(hearing.value("contact.attempts") or 0),
    "now": lambda hearing: _EPOCH + timedelta(microseconds=hearing.now),
}
"""How each variable that is not asked by a fact's name gets its value."""
