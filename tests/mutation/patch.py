"""Puts a mutant into the running process, in place: everybody who holds a function of the module gets the mutated one.

A process with a mutant in it is never used again: `__main__` forks one for each.
"""

import ast
import gc
import importlib
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import NamedTuple

from tests.mutation.mutants import GOVERNANCE, Mutant, mutated


class Place(NamedTuple):
    """Where a function is written."""

    file: str
    name: str
    line: int


class NotAppliedError(Exception):
    """The mutant can't be put into a running process. It is counted as not tried."""


def place_of(code: CodeType) -> Place:
    """Where the code of a function is written."""
    return Place(code.co_filename, code.co_qualname, code.co_firstlineno)


def load() -> dict[str, ModuleType]:
    """The modules under test, imported, and their functions found."""
    modules = {name: importlib.import_module(f"processors.{name}") for name in GOVERNANCE}
    for module in modules.values():
        _functions_of(str(module.__file__))
    return modules


def apply(mutant: Mutant, module: ModuleType) -> None:
    """Puts a mutant into this process."""
    assert module.__file__ is not None
    tree = mutated(mutant)
    code = compile(tree, module.__file__, "exec")
    if not mutant.function:
        _put_constants(tree, mutant.line, module, code)
    elif not _put_functions(module.__file__, code):
        raise NotAppliedError("the change compiles to the same code, or to none that is in use")


def _put_functions(file: str, code: CodeType) -> bool:
    new: dict[Place, list[CodeType]] = defaultdict(list)
    for inner in _codes(code):
        new[place_of(inner)].append(inner)
    found = False
    for function in _functions_of(file):
        candidates = new.get(place_of(function.__code__), [])
        if len(candidates) == 1 and candidates[0] != function.__code__:
            try:
                function.__code__ = candidates[0]
            except ValueError as error:  # it closes over other names than before
                raise NotAppliedError(str(error)) from error
            found = True
    return found


@cache
def _functions_of(file: str) -> list[FunctionType]:
    return [o for o in gc.get_objects() if isinstance(o, FunctionType) and o.__code__.co_filename == file]


def _codes(code: CodeType) -> Iterator[CodeType]:
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield const
            yield from _codes(const)


def _put_constants(tree: ast.Module, line: int, module: ModuleType, code: CodeType) -> None:
    """Runs the mutated module apart and takes the constant that differs from it, for all who imported it."""
    apart = {"__name__": module.__name__, "__file__": module.__file__}
    exec(code, apart)
    statement = next(s for s in tree.body if s.lineno <= line <= (s.end_lineno or s.lineno))
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    for name in [target.id for target in targets if isinstance(target, ast.Name)]:
        old = getattr(module, name)
        for other in [m for m in sys.modules.values() if isinstance(m, ModuleType)]:
            if other.__dict__.get(name) is old:
                setattr(other, name, apart[name])
