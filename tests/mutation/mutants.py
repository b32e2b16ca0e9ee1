"""Mutants: each is one governance module with one place changed, as a syntax tree.

What is changed: conditions (negated, forced), comparisons, and/or, what a function returns, constants, enum members of
verdicts, statements and calls (left out), arms of conditional expressions. What is not: docstrings, texts for people,
annotations, defaults of parameters and fields, imports.
"""

import ast
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
GOVERNANCE = (
    "judge", "plan", "checks", "contact_checks", "conditions", "requests", "grants", "refusals", "overrides",
    "escalation", "dialogue", "intents", "objections", "signals", "interventions", "outcomes", "timers", "timing",
    "hearing", "law", "identity",
)  # fmt: skip
"""Modules of `processors` that decide or keep what is decided on."""


RETURN_FAILED = "return None -> return FAILED"


class Mutant(NamedTuple):
    """A change of one place. function: qualified name of where it is, empty for a constant of the module.

    number: which of the module's mutants it is.
    """

    module: str
    line: int
    function: str
    change: str
    number: int

    def __str__(self) -> str:
        return f"processors/{self.module}.py:{self.line} {self.function or 'module'}: {self.change}"


class Change(NamedTuple):
    """A node and what stands in its place."""

    old: ast.AST
    new: ast.AST
    what: str


def source_of(module: str) -> ast.Module:
    """A module under test, parsed."""
    return ast.parse((ROOT / "processors" / f"{module}.py").read_text(encoding="utf-8"))


def mutants_of(module: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    return mutants_in(module, source_of(module))


def mutants_in(module: str, tree: ast.Module) -> list[Mutant]:
    """Every mutant of a parsed module."""
    return [
        Mutant(module, getattr(change.old, "lineno", 0), function, change.what, number)
        for number, (function, change) in enumerate(_changes_in(tree))
    ]


def mutated(mutant: Mutant) -> ast.Module:
    """The module with the mutant's change in it; what is not changed keeps its lines."""
    tree = source_of(mutant.module)
    _, change = _changes_in(tree)[mutant.number]
    replaced = copy.deepcopy(tree, {id(change.old): ast.copy_location(copy.deepcopy(change.new), change.old)})
    return ast.fix_missing_locations(replaced)


def _changes_in(tree: ast.Module) -> list[tuple[str, Change]]:
    """Every change, with the function it is in."""
    knows_failed = any(isinstance(node, ast.Name) and node.id == "FAILED" for node in ast.walk(tree))
    return [
        (function, change)
        for top in tree.body
        for function, place in _places(top)
        for node in _nodes(place)
        for change in _changes(node)
        if knows_failed or change.what != RETURN_FAILED
    ]


def _places(top: ast.stmt, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Function bodies and values of constants: where a change can be put into a running process."""
    if isinstance(top, ast.FunctionDef):
        for statement in top.body:
            yield prefix + top.name, statement
    elif isinstance(top, ast.ClassDef):
        for inner in top.body:
            if isinstance(inner, ast.FunctionDef):
                yield from _places(inner, f"{top.name}.")
    elif isinstance(top, ast.Assign | ast.AnnAssign) and top.value is not None and not prefix:
        yield "", top.value


def _nodes(place: ast.AST) -> Iterator[ast.AST]:
    """A place and all in it, without annotations, docstrings and parts of texts."""
    if isinstance(place, ast.JoinedStr) or (isinstance(place, ast.Expr) and isinstance(place.value, ast.Constant)):
        return
    yield place
    for field, value in ast.iter_fields(place):
        if field in ("annotation", "returns", "args") and isinstance(place, ast.FunctionDef | ast.AnnAssign):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _nodes(child)


# --- changes
_COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
}  # fmt: skip
_BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
_NAMES = {"any": "all", "all": "any", "max": "min", "min": "max", "FAILED": "None"}
_MEMBERS = {
    ("Verdict", "BLOCK"): "PERMIT", ("Verdict", "DEFER"): "PERMIT", ("Verdict", "PERMIT"): "BLOCK",
    ("PermissionStatus", "GRANTED"): "USED", ("CaseStatus", "OPEN"): "EXPIRED", ("SpeechMode", "SILENT"): "OPEN",
}  # fmt: skip


def _changes(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        for place, op in enumerate(node.ops):
            for other in _COMPARE[type(op)]:
                ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield _to(node, ast.Compare(node.left, ops, node.comparators))
    elif isinstance(node, ast.BoolOp):
        yield _to(node, ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))
        for place in range(len(node.values)):
            rest = node.values[:place] + node.values[place + 1 :]
            yield _to(node, ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield _to(node, node.operand)
    elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        yield _to(node, ast.BinOp(node.left, _BINARY[type(node.op)](), node.right))
    elif isinstance(node, ast.IfExp):
        yield from (_to(node, new) for new in (node.body, node.orelse))
    elif isinstance(node, ast.comprehension):
        for place, test in enumerate(node.ifs):
            yield _to(test, ast.Constant(True), f"filter {place + 1} is left out")
            yield _to(test, _negated(test))
    elif isinstance(node, ast.expr):
        yield from _of_value(node)
    elif isinstance(node, ast.stmt):
        yield from _of_statement(node)


def _of_value(node: ast.expr) -> Iterator[Change]:
    match node:
        case ast.Constant(value=bool(value)):
            yield _to(node, ast.Constant(not value))
        case ast.Constant(value=int(value)):
            yield _to(node, ast.Constant(value + 1))
        case ast.Constant(value=str(value)) if " " not in value.strip():
            yield _to(node, ast.Constant(value + "x"))
        case ast.Name(id=name, ctx=ast.Load()) if name in _NAMES:
            yield _to(node, ast.parse(_NAMES[name], mode="eval").body)
        case ast.Attribute(value=ast.Name(id=of), attr=member) if (of, member) in _MEMBERS:
            yield _to(node, ast.Attribute(node.value, _MEMBERS[of, member], ast.Load()))


def _of_statement(node: ast.stmt) -> Iterator[Change]:
    match node:
        case ast.If(test=test) | ast.While(test=test):
            yield _to(test, _negated(test), f"if {_short(test)} -> if not")
            if isinstance(node, ast.If):
                yield _left_out(node)
        case ast.Return(value=ast.Constant(value=None)) | ast.Return(value=None):
            yield _to(node, ast.Return(ast.Name("FAILED", ast.Load())), RETURN_FAILED)
        case ast.Return():
            yield _to(node, ast.Return(ast.Constant(None)))
        case ast.Expr() | ast.AugAssign() | ast.For() | ast.Continue() | ast.Break():
            yield _left_out(node)
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute(), *_]):
            yield _left_out(node)


def _negated(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), test)


def _left_out(node: ast.stmt) -> Change:
    return Change(node, ast.Pass(), f"left out: {_short(node)}")


def _to(old: ast.AST, new: ast.AST, what: str = "") -> Change:
    return Change(old, new, what or f"{_short(old)} -> {_short(new)}")


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split())
    return text if len(text) <= 90 else text[:87] + "..."
