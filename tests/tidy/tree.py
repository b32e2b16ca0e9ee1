"""What the tree promises about itself: who imports whom, what the core may not call, how long things are."""

import ast
import re
from collections import Counter
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

AROUND_THE_CORE: dict[str, frozenset[str]] = {
    "explain": frozenset(),
    "lint": frozenset({"explain"}),
    "scenarios": frozenset(),
}
"""Packages of `processors` that tell people about the core, with those of them that each may import.

All may import the core. The core imports none of them: what decides does not depend on how it is told.
"""

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


def imports_around_the_core(root: Path = ROOT) -> list[str]:
    """Imports of a package around the core by the core, or by another of them that may not."""
    found: list[str] = []
    for path, tree in modules("processors", root):
        place = path.relative_to(root)
        home = place.parts[1]
        own = AROUND_THE_CORE.get(home, frozenset()) | {home}
        found += [
            f"{place}:{line} imports processors.{name}"
            for name, line in _parts_imported(tree, place.parts)
            if name in AROUND_THE_CORE and name not in own
        ]
    return found


def _parts_imported(tree: ast.Module, place: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """What stands after `processors.` in a module's imports, up to the next dot, with lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = [*place[: -node.level], node.module] if node.level else [node.module]
            names = [".".join([*filter(None, source), alias.name]) for alias in node.names]
        else:
            continue
        parts = [name.split(".")[1] for name in names if name.startswith("processors.")]
        yield from ((part, node.lineno) for part in dict.fromkeys(parts))


def wrong_in_the_map(root: Path = ROOT) -> list[str]:
    """Where the map of the core in docs/design.md and the tree differ."""
    _, _, rest = (root / "docs" / "design.md").read_text(encoding="utf-8").partition("## The modules of the core\n")
    rows = [line.split("|")[2] for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]
    named = Counter(name for row in rows for name in re.findall(r"`([a-z_]+/?)`", row))
    there = {path.stem for path in (root / "processors").glob("*.py") if path.stem != "__init__"}
    there |= {f"{path.parent.name}/" for path in (root / "processors").glob("*/__init__.py")}
    wrong = dict.fromkeys(there - set(named), "is not named")
    wrong |= dict.fromkeys(set(named) - there, "is not there")
    wrong |= {name: "is named twice" for name, times in named.items() if times > 1}
    return [f"{name} {wrong[name]}" for name in sorted(wrong)]


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
