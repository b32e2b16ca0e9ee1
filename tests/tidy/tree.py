"""What the tree promises about itself: who imports whom, what the core may not call, how long things are."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "processors", "streams", "sinks", "agents", "deploy")

ALLOWED: dict[str, frozenset[str]] = {
    "schemas": frozenset(),
    "processors": frozenset({"schemas"}),
    "agents": frozenset({"schemas"}),
    "streams": frozenset({"schemas", "processors", "deploy"}),
    "sinks": frozenset({"schemas", "processors", "streams", "agents", "deploy"}),
    "deploy": frozenset({"schemas", "processors", "streams", "sinks", "agents"}),
}
"""Which of our packages each may import. deploy means its settings and keys."""

OUTSIDE_OF_THE_CORE = frozenset(
    {
        "faust", "confluent_kafka", "aiokafka", "rocksdict", "sqlalchemy", "pyiceberg", "duckdb", "httpx", "requests",
        "socket", "asyncio", "threading", "subprocess", "random", "secrets", "os", "time",
    }
)  # fmt: skip
"""Modules that neither schemas nor processors may import: the world, the clock, chance."""

BANNED_CALLS = frozenset(
    {"datetime.now", "datetime.utcnow", "date.today", "uuid.uuid1", "uuid.uuid4", "uuid1", "uuid4", "open", "hash"}
)
"""Calls that would make the core depend on more than its arguments. hash() is salted anew in every process."""


def modules(package: str, root: Path = ROOT) -> Iterator[tuple[Path, ast.Module]]:
    """Each module of a package, parsed."""
    for path in sorted((root / package).rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Top-level names of what a module imports, with lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0], node.lineno


def calls(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Dotted names of what a module calls, with lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


def wrong_imports(package: str, root: Path = ROOT) -> list[str]:
    """Imports against the direction of the tree."""
    banned = set(PACKAGES) - ALLOWED[package] - {package}
    if package in ("schemas", "processors"):
        banned |= OUTSIDE_OF_THE_CORE
    return [
        f"{path.relative_to(root)}:{line} imports {name}"
        for path, tree in modules(package, root)
        for name, line in imports(tree)
        if name in banned
    ]


def impure_calls(package: str, root: Path = ROOT) -> list[str]:
    """Calls that a pure package may not make."""
    return [
        f"{path.relative_to(root)}:{line} calls {name}"
        for path, tree in modules(package, root)
        for name, line in calls(tree)
        if name in BANNED_CALLS
    ]


def long_functions(package: str, limit: int, root: Path = ROOT) -> dict[str, int]:
    """Functions longer than a limit, with their lengths."""
    return {
        f"{path.relative_to(root)}:{node.name}": length
        for path, tree in modules(package, root)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > limit
    }


def long_modules(package: str, limit: int, root: Path = ROOT) -> dict[str, int]:
    """Modules longer than a limit, with their lengths; the generated records apart."""
    return {
        str(path.relative_to(root)): lines
        for path, _ in modules(package, root)
        if path.name != "records.py" and (lines := len(path.read_text(encoding="utf-8").splitlines())) > limit
    }
