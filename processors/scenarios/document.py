"""The shape of a scenario file, and reading a directory of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from processors.scenarios.source import BadScenario, Map, Seq, line_of, read

NOON = "2026-11-18T12:00 America/New_York"
"""When a scenario begins that does not say when: a Wednesday."""

Group = Literal[
    "criteria", "intent", "stages", "roles", "timing", "uncertainty", "disorder", "contention", "defer", "grants",
    "no", "escalation", "override", "dialogue", "disclosure", "state", "identity",
]  # fmt: skip


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Round(_Shape):
    when: list[Any] = []
    then: list[Any] = Field(min_length=1)


class _Scenario(_Shape):
    name: str = Field(min_length=1)
    why: str = ""
    at: str = NOON
    policy: Literal["none"] | dict[str, Any] | None = None
    ticks: bool = True
    given: list[Any] = []
    when: list[Any] = []
    then: list[Any] = []
    rounds: list[_Round] = []


class _Document(_Shape):
    group: Group
    beginnings: dict[str, list[Any]] = {}
    scenarios: list[_Scenario] = Field(min_length=1)


class Part(NamedTuple):
    """Steps, and what must hold after them."""

    when: Seq
    then: Seq


class Scenario(NamedTuple):
    """One scenario as written. `policy`: None, "none" or a patch of the bundle under test."""

    file: str
    line: int
    group: str
    name: str
    at: str
    policy: Any
    ticks: bool
    given: Seq
    parts: tuple[Part, ...]
    beginnings: Mapping[str, Seq]

    @property
    def where(self) -> str:
        """file:line"""
        return f"{self.file}:{self.line}"


def load_directory(directory: Path) -> tuple[list[Scenario], list[BadScenario]]:
    """All scenarios below a directory (or of one file), and what could not be read."""
    files = [directory] if directory.is_file() else sorted([*directory.rglob("*.yaml"), *directory.rglob("*.yml")])
    if not files:
        return [], [BadScenario(str(directory), "no .yaml files; scenarios are kept in such")]
    scenarios: list[Scenario] = []
    errors: list[BadScenario] = []
    for file in files:
        try:
            scenarios += load_file(file)
        except BadScenario as error:
            errors.append(error)
    return scenarios, errors


def load_file(file: Path) -> list[Scenario]:
    """The scenarios of one file; BadScenario says line and what is allowed there."""
    name = str(file)
    content = read(file, name)
    try:
        _Document.model_validate(content)
    except ValidationError as error:
        raise _explain(error, content, name) from error
    beginnings = content.get("beginnings", {})
    found = [_scenario(item, content, name, beginnings) for item in content["scenarios"]]
    names = [scenario.name for scenario in found]
    for scenario in found:
        if names.count(scenario.name) > 1:
            raise BadScenario(scenario.where, f"two scenarios are named {scenario.name!r}")
    return found


def _scenario(item: Map, content: Map, file: str, beginnings: Mapping[str, Seq]) -> Scenario:
    rounds = item.get("rounds", [])
    where = f"{file}:{item.line}"
    if rounds and ("when" in item or "then" in item):
        raise BadScenario(where, "a scenario has either when and then, or rounds of them")
    if not rounds and not item.get("then"):
        raise BadScenario(where, f"{item['name']!r} expects nothing: write at least one line under then")
    parts = tuple(Part(part.get("when", _none(part)), part["then"]) for part in (rounds or [item]))
    return Scenario(
        file=file, line=item.line, group=content["group"], name=item["name"], at=item.get("at", NOON),
        policy=item.get("policy"), ticks=item.get("ticks", True), given=item.get("given", _none(item)), parts=parts,
        beginnings=beginnings,
    )  # fmt: skip


def _none(item: Map) -> Seq:
    empty = Seq()
    empty.line, empty.lines = item.line, []
    return empty


def _explain(error: ValidationError, content: Any, name: str) -> BadScenario:
    first = error.errors()[0]
    path = first["loc"]
    place = ".".join(str(part) for part in path) or "the file"
    where = f"{name}:{line_of(content, path)}"
    if first["type"] == "extra_forbidden":
        return BadScenario(where, f"unknown key {path[-1]!r}; allowed here: {', '.join(_allowed(path))}")
    if path == ("group",):
        return BadScenario(where, f"group is one of {', '.join(get_args(Group))}")
    return BadScenario(where, f"{place}: {first['msg']}")


def _allowed(path: tuple[int | str, ...]) -> list[str]:
    if "rounds" in path:
        return list(_Round.model_fields)
    return list(_Scenario.model_fields if "scenarios" in path else _Document.model_fields)
