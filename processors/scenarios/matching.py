"""Records against what a scenario says of them: some fields by their schema names, the rest as they are."""

from typing import Any

from processors.scenarios.finding import Finding, Look
from processors.scenarios.moments import moment
from schemas.avro_files import definition
from schemas.jsonio import iso, to_json
from schemas.records import EntryKind, Record, Revocation

ALIASES = {"agent": "agent_id", "conversation": "conversation_id", "mode": "speech_mode"}
_HOW = ("has", "not", "count")


def check_records(look: Look, kind: type[Record], records: list[Any]) -> list[Finding]:
    """A list says exactly these, in order; a mapping of has, not, count says less."""
    expected = look.expected
    if isinstance(expected, list):
        wanted = [_fields(look, kind, item) for item in expected]
        is_met = len(wanted) == len(records) and all(
            _matches(look, w, r) for w, r in zip(wanted, records, strict=False)
        )
        return [] if is_met else [_finding(look, f"{look.word}, exactly", wanted, records)]
    if not isinstance(expected, dict) or not expected or not set(expected) <= set(_HOW):
        raise look.bad(f"expected a list (exactly these) or a mapping of {', '.join(_HOW)}")
    found = []
    has = [_fields(look, kind, item) for item in expected.get("has", [])]
    if not all(any(_matches(look, wanted, record) for record in records) for wanted in has):
        found.append(_finding(look, f"{look.word}, at least", has, records))
    banned = [_fields(look, kind, item) for item in expected.get("not", [])]
    if any(_matches(look, wanted, record) for wanted in banned for record in records):
        found.append(_finding(look, f"{look.word}, none of", banned, records))
    if "count" in expected and expected["count"] != len(records):
        found.append(_finding(look, f"{look.word}, how many", [{"count": expected["count"]}], records))
    return found


def _finding(look: Look, what: str, wanted: list[dict[str, Any]], records: list[Any]) -> Finding:
    keys = {key for item in wanted for key in item}
    shown = [brief(record, keys) for record in records]
    return Finding(look.where, what, "; ".join(map(_text, wanted)) or "none", "; ".join(shown) or "none")


def _text(wanted: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in wanted.items())


def brief(record: Record, keys: set[str]) -> str:
    """A record in a few words: the fields that were asked about and those that tell it apart."""
    fields = to_json(record)
    usual = ("type", "scope", "subject", "cause", "status", "code", "agent_id", "speech_mode", "fields", "fact")
    return ", ".join(f"{key} {fields[key]}" for key in fields if key in keys or (key in usual and fields[key]))


def _fields(look: Look, kind: type[Record], item: Any) -> dict[str, Any]:
    """Expected fields by schema name; an unknown one, or a value that can never come, is an error."""
    if not isinstance(item, dict):
        raise look.bad(f"expected a mapping of fields, got {item!r}")
    schema = {field["name"]: field["type"] for field in definition(kind.__name__)["fields"]}
    found = {}
    for key, value in item.items():
        name = str(ALIASES.get(key, key))
        if name == "grant" and kind is Revocation:
            name, value = "subject", _grant(look, str(value))
        if name not in schema:
            allowed = [*schema, *(alias for alias, target in ALIASES.items() if target in schema)]
            raise look.bad(f"unknown field {key!r}; allowed: {', '.join(allowed)}")
        found[name] = expected_value(look, schema[name], name, value)
    return found


def _grant(look: Look, request: str) -> str:
    grant = look.tale.grant_of(request)
    if grant is None:
        raise look.bad(f"{request!r} is no request with a grant")
    return grant


def expected_value(look: Look, avro: Any, name: str, value: Any) -> Any:
    """A value as `to_json` would print it; enum symbols and agents are checked."""
    for branch in avro if isinstance(avro, list) else [avro]:
        if isinstance(branch, dict) and branch.get("logicalType") == "timestamp-micros" and value is not None:
            try:
                return iso(moment(value))
            except ValueError as error:
                raise look.bad(str(error)) from error
        if isinstance(branch, str) and branch.startswith("mandate.") and value is not None:
            one = definition(branch.removeprefix("mandate."))
            if one["type"] == "enum":
                look.one_of(one["symbols"], value)
    if name == "agent_id" and value is not None:
        _known_agent(look, value)
    return value


def _known_agent(look: Look, agent: Any) -> None:
    bodies = [told.entry.body for told in look.tale.told if told.entry.kind is not EntryKind.TICK]
    agents = sorted({str(a) for body in bodies if (a := getattr(body, "agent_id", None))})
    if agent not in agents:
        raise look.bad(f"no agent {agent!r} did anything; there were {', '.join(agents) or 'none'}")


def _matches(look: Look, wanted: dict[str, Any], record: Any) -> bool:
    fields = to_json(record)
    return all(is_same(value, fields[name]) for name, value in wanted.items())


def is_same(expected: Any, value: Any) -> bool:
    """Equal; lists of words in any order, mappings in the keys that are named."""
    if isinstance(expected, list) and isinstance(value, list):
        return sorted(map(str, expected)) == sorted(map(str, value))
    if isinstance(expected, dict) and isinstance(value, dict):
        return all(key in value and is_same(item, value[key]) for key, item in expected.items())
    return bool(expected == value)
