"""Loads the .avsc files, the single source of the contract, in dependency order.

Each named type has its own file, `avro/mandate.<Name>.avsc`; a schema refers to another by full name.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

NAMESPACE = "mandate"
_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


@cache
def names() -> tuple[str, ...]:
    """Short names of all types, sorted."""
    found = (entry.name for entry in files("schemas").joinpath("avro").iterdir())
    return tuple(sorted(name.split(".")[1] for name in found if name.endswith(".avsc")))


@cache
def definition(name: str) -> dict[str, Any]:
    """The file of one type as parsed JSON; KeyError when there is no such type."""
    if name not in names():
        raise KeyError(f"no Avro type {NAMESPACE}.{name}; known types: {', '.join(names())}")
    text = files("schemas").joinpath("avro", f"{NAMESPACE}.{name}.avsc").read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def self_contained(name: str, *, logical_types: bool = True) -> dict[str, Any]:
    """One schema with every type it uses defined at its first use, as registries want it.

    logical_types=False leaves them out: the bytes are the same and times decode to integers.
    """
    seen: set[str] = set()

    def expand(node: Any) -> Any:
        if isinstance(node, str):
            if node in _PRIMITIVES or node in seen:
                return node
            return expand(definition(node.removeprefix(NAMESPACE + ".")))
        if isinstance(node, list):
            return [expand(branch) for branch in node]
        kind = node["type"]
        if kind == "enum":
            seen.add(f"{NAMESPACE}.{node['name']}")
            return dict(node)
        if kind == "record":
            seen.add(f"{NAMESPACE}.{node['name']}")
            return {**node, "fields": [{**field, "type": expand(field["type"])} for field in node["fields"]]}
        if kind == "array":
            return {**node, "items": expand(node["items"])}
        if kind == "map":
            return {**node, "values": expand(node["values"])}
        return dict(node) if logical_types else kind

    expanded: dict[str, Any] = expand(definition(name))
    return expanded
