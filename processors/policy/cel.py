"""CEL conditions of rules: a typed context, compiled once, with the facts that a condition may read.

`docs/policy.md` documents the context for authors. What a condition is evaluated on is in `processors.conditions`.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

from processors.policy.cel_tree import Node, tree_of
from processors.policy.model import PolicyError

_STRING, _INT, _BOOL, _DOUBLE = cel.Type.STRING, cel.Type.INT, cel.Type.BOOL, cel.Type.DOUBLE


def _by_name(values: Any) -> Any:
    return cel.Type.Map(_STRING, values)


BY_FACT: Mapping[str, Any] = {
    "facts": _by_name(_STRING),
    "final": _by_name(_BOOL),
    "confidence": _by_name(_DOUBLE),
    "age_s": _by_name(_INT),
}
"""Variables that are asked by a fact's name, which must stand there literally: the read set must be known."""

VARIABLES: Mapping[str, Any] = {
    **BY_FACT,
    "request.action": _STRING,
    "request.role": _STRING,
    "request.agent_id": _STRING,
    "request.channel": _STRING,
    "request.tool": _STRING,
    "request.prompt_scope": _STRING,
    "request.text": _STRING,
    "request.max_tokens": _INT,
    "request.ints": _by_name(_INT),
    "request.strings": _by_name(_STRING),
    "request.bools": _by_name(_BOOL),
    "request.crm_fields": _by_name(_STRING),
    "role.max_discount_bp": _INT,
    "role.max_price_minor": _INT,
    "attempts": _INT,
    "now": cel.Type.TIMESTAMP,
}
"""All that a condition may name, with types."""

_ENVIRONMENT = cel.NewEnv(variables=VARIABLES, extensions=[ext_strings.ExtStrings()])
_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_IN_ZONE = re.compile(r"get(FullYear|Month|Date|DayOfMonth|DayOfWeek|DayOfYear|Hours|Minutes|Seconds|Milliseconds)")


class ConditionSyntaxError(PolicyError):
    """A condition that can't be used. line and column count from 1, within the condition."""

    def __init__(self, sentence: str, line: int, column: int) -> None:
        place = f"column {column}" if line == 1 else f"line {line}, column {column}"
        super().__init__(f"CEL, {place}: {sentence}")
        self.line = line
        self.column = column


class ConditionError(ValueError):
    """A condition that could not be evaluated on this state, in CEL's words."""


class CompiledCondition:
    """A condition, ready to be evaluated.

    facts: every fact that it may read. keys: for each variable of `BY_FACT` that it mentions, the facts it asks there.
    names: all variables that it mentions; only those need a value.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._expression = _compiled(source)
        self.tree = tree_of(self._expression.serialize())
        keys: dict[str, dict[str, None]] = {}
        names: dict[str, None] = {}
        for variable, fact in _uses(self.tree, source):
            names[variable] = None
            if fact is not None:
                keys.setdefault(variable, {})[fact] = None
        self.keys: dict[str, tuple[str, ...]] = {variable: tuple(facts) for variable, facts in keys.items()}
        self.names: tuple[str, ...] = tuple(names)
        self.facts: tuple[str, ...] = tuple(dict.fromkeys(fact for facts in keys.values() for fact in facts))

    def evaluate(self, context: Mapping[str, object]) -> bool:
        """Is it true? context: a value for each of `names`. ConditionError when CEL can't say."""
        try:
            answer = self._expression.eval(data=context).value()
        except RuntimeError as error:  # text that is not UTF-8, for one
            raise ConditionError(str(error)) from error
        if answer is True or answer is False:
            return answer
        raise ConditionError(str(answer))


@lru_cache(maxsize=4096)
def compile_condition(source: str) -> CompiledCondition:
    """A condition from its text; ConditionSyntaxError says where it is wrong."""
    return CompiledCondition(source)


def _compiled(source: str) -> Any:
    try:
        expression = _ENVIRONMENT.compile(source)
    except RuntimeError as error:
        found = _ERROR.search(str(error))
        if found is None:
            raise ConditionSyntaxError(str(error), 1, 1) from error
        sentence = found[3].replace(" (in container '')", "")
        raise ConditionSyntaxError(sentence, int(found[1]), int(found[2])) from error
    if expression.return_type() != _BOOL:
        kind = expression.return_type().name().lower()
        raise ConditionSyntaxError(f"a condition must be true or false, this is of type {kind}", 1, 1)
    return expression


def _uses(node: Node, source: str) -> Iterator[tuple[str, str | None]]:
    """Each variable that is mentioned, with the fact that is asked of it, if it is one of `BY_FACT`."""
    asked = _asked_by_fact(node)
    if asked is not None:
        yield asked
        return
    if node.kind == "name" and node.text in BY_FACT:
        sentence = f'{node.text} takes a fact\'s name as literal text: {node.text}["..."] or "..." in {node.text}'
        raise ConditionSyntaxError(sentence, *_place(source, node.at))
    if node.kind == "call" and len(node.children) > 1 and _IN_ZONE.fullmatch(node.text):
        sentence = f"{node.text} takes no zone here: times are UTC, calling hours belong in contact.jurisdictions"
        raise ConditionSyntaxError(sentence, *_place(source, node.at))
    if node.kind == "name" and node.text in VARIABLES:
        yield node.text, None
    for child in node.children:
        yield from _uses(child, source)


def _asked_by_fact(node: Node) -> tuple[str, str] | None:
    """`facts["x"]`, `"x" in facts`, `facts.x`: the variable and the fact; None for anything else."""
    if node.kind == "select":
        holder, is_literal, name = node.children[0], True, node.text
    elif node.kind == "call" and node.text == "_[_]":
        holder, is_literal, name = node.children[0], node.children[1].kind == "string", node.children[1].text
    elif node.kind == "call" and node.text == "@in":
        holder, is_literal, name = node.children[1], node.children[0].kind == "string", node.children[0].text
    else:
        return None
    is_asked = holder.kind == "name" and holder.text in BY_FACT and is_literal
    return (holder.text, name) if is_asked else None


def _place(source: str, at: int) -> tuple[int, int]:
    before = source[:at]
    return before.count("\n") + 1, at - before.rfind("\n")
