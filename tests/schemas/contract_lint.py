"""Rules that every schema file of the contract keeps, as a function from definitions to faults."""

from collections.abc import Iterable, Mapping
from typing import Any

Definition = Mapping[str, Any]
PRIMITIVES = {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}


def faults(definitions: Mapping[str, Definition], roots: Iterable[str]) -> list[str]:
    """What is wrong with a set of types by name; `roots` are those that are used from outside. Empty when fine.

    A schema that breaks one of these can't be changed later without breaking a reader, or can't be understood.
    """
    found = [fault for name, schema in definitions.items() for fault in _faults_of(name, schema, definitions)]
    reachable: set[str] = set()
    for root in roots:
        _reach(root, definitions, reachable)
    return found + [f"{name}: no topic and no table row uses it" for name in definitions if name not in reachable]


def _faults_of(name: str, schema: Definition, definitions: Mapping[str, Definition]) -> list[str]:
    found = []
    if schema.get("name") != name or schema.get("namespace") != "mandate":
        found.append(f"{name}: the file's type is {schema.get('namespace')}.{schema.get('name')}")
    if not schema.get("doc", "").strip():
        found.append(f"{name}: no doc")
    if schema["type"] == "enum":
        return found + _enum_faults(name, schema)
    for field in schema["fields"]:
        where = f"{name}.{field['name']}"
        if not field.get("doc", "").strip():
            found.append(f"{where}: no doc")
        found += [f"{where}: {fault}" for fault in _type_faults(field["type"], field, definitions)]
    return found


def _enum_faults(name: str, schema: Definition) -> list[str]:
    symbols = schema["symbols"]
    found = [f"{name}: symbol {symbol} is not upper snake case" for symbol in symbols if not _is_upper_snake(symbol)]
    if schema.get("default") not in symbols:
        found.append(f"{name}: no default among its symbols, so readers can't take a new one")
    return found


def _type_faults(avro: Any, field: Mapping[str, Any], definitions: Mapping[str, Definition]) -> list[str]:
    if isinstance(avro, list):
        found = [fault for branch in avro for fault in _type_faults(branch, field, definitions)]
        if "default" in field and field["default"] is None and avro[0] != "null":
            found.append("a default of null needs null first in the union")
        return found
    if isinstance(avro, dict):
        if avro["type"] in ("array", "map"):
            return _type_faults(avro.get("items") or avro.get("values"), {}, definitions)
        return [] if avro.get("logicalType") else ["an inline type: give it a file of its own"]
    if avro in PRIMITIVES:
        if avro == "long" and (field.get("name", "").endswith("_at") or field.get("name") == "at"):
            return ["a time without logicalType timestamp-micros"]
        return []
    if avro.removeprefix("mandate.") not in definitions:
        return [f"there is no type {avro}"]
    return []


def _reach(name: str, definitions: Mapping[str, Definition], reached: set[str]) -> None:
    if name in reached or name not in definitions:
        return
    reached.add(name)
    for field in definitions[name].get("fields", ()):
        for used in _names_in(field["type"]):
            _reach(used, definitions, reached)


def _names_in(avro: Any) -> list[str]:
    if isinstance(avro, list):
        return [name for branch in avro for name in _names_in(branch)]
    if isinstance(avro, dict):
        return [name for key in ("items", "values") if key in avro for name in _names_in(avro[key])]
    return [avro.removeprefix("mandate.")] if avro.startswith("mandate.") else []


def _is_upper_snake(symbol: str) -> bool:
    return symbol == symbol.upper() and symbol.replace("_", "").isalnum()
