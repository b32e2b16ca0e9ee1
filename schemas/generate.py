"""Writes `records.py`, the typed side of the contract, from the .avsc files: `python -m schemas.generate`.

A test fails when the committed file differs from what the schemas say.
"""

from pathlib import Path
from typing import Any

from schemas.avro_files import definition, names

HEADER = '''"""Typed records of the contract. Written by `python -m schemas.generate` from `avro/*.avsc`: do not edit.

Times are integer microseconds since 1970 (`TimeUs`, in Avro `timestamp-micros`); None is Avro null.
"""

from enum import StrEnum
from typing import NewType

import msgspec

LeadId = NewType("LeadId", str)
ConversationId = NewType("ConversationId", str)
RequestId = NewType("RequestId", str)
DecisionId = NewType("DecisionId", str)
GrantId = NewType("GrantId", str)
AgentId = NewType("AgentId", str)
TimeUs = int


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What every record of the contract is: an immutable value."""

'''

# Field name -> distinct Python type: an id of one thing can't be passed for that of another.
ID_TYPES = {
    "lead_id": "LeadId",
    "conversation_id": "ConversationId",
    "request_id": "RequestId",
    "decision_id": "DecisionId",
    "grant_id": "GrantId",
    "agent_id": "AgentId",
    "floor_agent": "AgentId",
}
PYTHON_TYPES = {
    "string": "str", "int": "int", "long": "int", "double": "float", "float": "float",
    "boolean": "bool", "bytes": "bytes", "null": "None",
}  # fmt: skip


def python_type(avro: Any, field: str) -> str:
    """Annotation of an Avro type in a field of the given name."""
    if isinstance(avro, list):
        branches = [branch for branch in avro if branch != "null"]
        return " | ".join([python_type(branch, field) for branch in branches] + ["None"] * ("null" in avro))
    if isinstance(avro, dict):
        if avro["type"] == "array":
            return f"tuple[{python_type(avro['items'], '')}, ...]"
        if avro["type"] == "map":
            return f"dict[str, {python_type(avro['values'], '')}]"
        return "TimeUs"
    if avro == "string":
        return ID_TYPES.get(field, "str")
    return PYTHON_TYPES.get(avro) or str(avro).rsplit(".", 1)[-1]


def default_of(field: dict[str, Any]) -> str:
    """Right-hand side of a field with a default, with its equals sign; empty without one."""
    if "default" not in field:
        return ""
    value, avro = field["default"], field["type"]
    if value == []:
        return " = ()"
    if value == {}:
        return " = msgspec.field(default_factory=dict)"
    if isinstance(avro, str) and avro.startswith("mandate."):
        return f" = {avro.rsplit('.', 1)[-1]}.{value}"
    return f" = {value!r}" if not isinstance(value, str) else f' = "{value}"'


def class_of(name: str) -> str:
    """Source of the class for one type."""
    schema = definition(name)
    lines = []
    if schema["type"] == "enum":
        lines += [f"class {name}(StrEnum):", f'    """{schema["doc"]}"""', ""]
        lines += [f'    {symbol} = "{symbol}"' for symbol in schema["symbols"]]
    else:
        lines += [f"class {name}(Record, frozen=True, kw_only=True, gc=False):", f'    """{schema["doc"]}"""', ""]
        for field in schema["fields"]:
            annotation = python_type(field["type"], field["name"])
            lines.append(f"    {field['name']}: {annotation}{default_of(field)}")
    return "\n".join(lines) + "\n"


def uses(name: str) -> list[str]:
    """Types that a type refers to."""

    def walk(node: Any) -> list[str]:
        if isinstance(node, str):
            return [node.rsplit(".", 1)[-1]] if node.startswith("mandate.") else []
        if isinstance(node, list):
            return [found for branch in node for found in walk(branch)]
        inner = [node[key] for key in ("items", "values") if key in node]
        return [found for branch in inner + [f["type"] for f in node.get("fields", [])] for found in walk(branch)]

    return walk(definition(name))


def source() -> str:
    """The whole text of records.py, each type after those it uses."""
    done: list[str] = []

    def visit(name: str) -> None:
        if name not in done:
            for other in uses(name):
                visit(other)
            done.append(name)

    for name in names():
        visit(name)
    return HEADER + "\n\n" + "\n\n".join(class_of(name) for name in done)


if __name__ == "__main__":
    Path(__file__).with_name("records.py").write_text(source(), encoding="utf-8")
