"""Can a CEL condition be true, can it be false? Told by trying all values that make a difference.

That works for comparisons, `in` and their logic. With anything else (functions, arithmetic, macros, time) the answer
is that nobody knows, and lint keeps silent.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import product

from processors.lint.states import OTHER, Pair, State
from processors.policy import Bundle
from processors.policy.cel import BY_FACT, CompiledCondition, ConditionError
from processors.policy.cel_tree import Node

MOST_COMBINATIONS = 4096

Domain = Callable[[str, Iterable[str]], Iterable[State | None]]
"""States of a fact that are to be tried, with the values that are mentioned."""

Assignment = dict[tuple[str, str], object]
"""Values by variable and key; a variable without keys has the key ''."""

_LOGIC = frozenset({"_&&_", "_||_", "!_", "_?_:_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in", "_[_]", "-_"})
_MAPS = {"request.ints": "int", "request.strings": "str", "request.bools": "bool", "request.crm_fields": "str"}
_INTS = ("request.max_tokens", "attempts")
_TEXTS = ("request.agent_id", "request.tool", "request.prompt_scope", "request.text")


def outcomes(
    conditions: tuple[CompiledCondition, ...], bundle: Bundle, pair: Pair, states: Domain
) -> frozenset[bool] | None:
    """What all the conditions together can come to; False also where one can't be evaluated. None = can't be told."""
    if not all(_is_decidable(condition.tree) for condition in conditions):
        return None
    choices = _choices(conditions, bundle, pair, states)
    count = 1
    for values in choices.values():
        count *= len(values)
    if count > MOST_COMBINATIONS:
        return None
    found: set[bool] = set()
    for row in product(*choices.values()):
        context = _context(conditions, bundle, pair, dict(zip(choices, row, strict=True)))
        found.add(all(_is_true(condition, context) for condition in conditions))
        if len(found) == 2:
            break
    return frozenset(found)


def mentions(condition: CompiledCondition, *variables: str) -> bool:
    """Does a condition look at one of these?"""
    return any(name in condition.names for name in variables)


def _is_decidable(node: Node) -> bool:
    if node.kind == "comprehension" or node.kind == "struct":
        return False
    if node.kind == "name" and (node.text == "now" or node.text in _MAPS):
        return False
    if node.kind == "call" and node.text not in _LOGIC:
        return False
    return all(_is_decidable(child) for child in node.children) if _asked(node) is None else True


def _asked(node: Node) -> tuple[str, str] | None:
    """A variable asked for one literal key: facts["x"], "x" in request.ints."""
    if node.kind == "select":
        holder, key = node.children[0], node.text
    elif node.kind == "call" and node.text in ("_[_]", "@in") and len(node.children) == 2:
        holder, by = node.children if node.text == "_[_]" else node.children[::-1]
        if by.kind != "string":
            return None
        key = by.text
    else:
        return None
    return (holder.text, key) if holder.kind == "name" and (holder.text in _MAPS or holder.text in BY_FACT) else None


def _choices(
    conditions: tuple[CompiledCondition, ...], bundle: Bundle, pair: Pair, states: Domain
) -> dict[tuple[str, str], list[object]]:
    nodes = [node for condition in conditions for node in condition.tree.walk()]
    role = bundle.roles[pair.role]
    numbers = {0, role.max_discount_bp, role.max_price_minor, *(node.number for node in nodes if node.kind == "number")}
    near_by = {n + near for n in numbers for near in (-1, 0, 1) if isinstance(n, int)}
    ints = sorted(n for n in near_by if -(2**63) <= n < 2**63)
    shares = sorted({n + near for n in numbers for near in (-0.001, 0.0, 0.001) if 0 <= n + near <= 1})
    texts = [*dict.fromkeys(node.text for node in nodes if node.kind == "string"), "", OTHER]
    by_kind: dict[str, list[object]] = {"int": [None, *ints], "str": [None, *texts], "bool": [None, True, False]}
    found: dict[tuple[str, str], list[object]] = {}
    for fact in dict.fromkeys(fact for condition in conditions for fact in condition.facts):
        found["facts", fact] = list(_distinct(conditions, fact, states(fact, texts)))
        if any(fact in condition.keys.get("confidence", ()) for condition in conditions):
            found["confidence", fact] = [None, *shares]
        if any(fact in condition.keys.get("age_s", ()) for condition in conditions):
            found["age_s", fact] = [n for n in ints if n >= 0]
    for node in nodes:
        asked = _asked(node)
        if asked and asked[0] in _MAPS:
            found[asked] = by_kind[_MAPS[asked[0]]]
        elif node.kind == "name" and node.text in _INTS:
            found[node.text, ""] = [n for n in ints if n >= 0]
        elif node.kind == "name" and node.text in _TEXTS:
            found[node.text, ""] = [*texts, *role.tools] if node.text == "request.tool" else list(texts)
        elif node.kind == "name" and node.text == "request.channel":
            found[node.text, ""] = [str(channel) for channel in role.channels]
    return found


def _distinct(
    conditions: tuple[CompiledCondition, ...], fact: str, states: Iterable[State | None]
) -> Iterator[State | None]:
    """States that the conditions can tell apart."""
    by_final = any(fact in condition.keys.get("final", ()) for condition in conditions)
    seen: set[tuple[object, object]] = set()
    for state in states:
        mark = (None, None) if state is None else (state.value, state.final if by_final else None)
        if mark not in seen:
            seen.add(mark)
            yield state


def _context(
    conditions: tuple[CompiledCondition, ...], bundle: Bundle, pair: Pair, row: Assignment
) -> dict[str, object]:
    role = bundle.roles[pair.role]
    context: dict[str, object] = {
        "request.action": pair.action,
        "request.role": pair.role,
        "role.max_discount_bp": role.max_discount_bp,
        "role.max_price_minor": role.max_price_minor,
    }
    maps: dict[str, dict[str, object]] = {name: {} for name in (*BY_FACT, *_MAPS)}
    for (variable, key), value in row.items():
        if variable == "facts":
            if isinstance(value, State):
                maps["facts"][key], maps["final"][key] = value.value, value.final
        elif not key:
            context[variable] = value
        elif value is not None and (variable in _MAPS or row["facts", key] is not None):
            maps[variable][key] = value
    return {**context, **maps}


def _is_true(condition: CompiledCondition, context: dict[str, object]) -> bool:
    try:
        return condition.evaluate(context)
    except ConditionError:
        return False
