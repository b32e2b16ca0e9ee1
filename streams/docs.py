"""Writes `docs/topics.md`, `reason-codes.md`, `facts.md` and a table of `security.md`: `python -m streams.docs`.

A test fails when they drift.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deploy.acls import SETUP, Acl, Principals, acls, stages
from processors.facts import FACTS, scoped
from schemas.avro_files import definition
from schemas.catalogue import AGENT, DAY_MS, TOPICS, Topic
from schemas.records import DeadLetterCode, ReasonCode
from streams.code_texts import DEAD_LETTERS, REASONS, CodeText
from streams.figure import figure

WRITTEN_BY = "<!-- Written by `python -m streams.docs`: do not edit. -->\n"
DOCS = Path(__file__).resolve().parent.parent / "docs"
PERMISSIONS_BEGIN = "<!-- Written by `python -m streams.docs` from here: do not edit. -->\n"
PERMISSIONS_END = "<!-- to here -->\n"
Rows = Iterable[tuple[str, ...]]


def topics() -> str:
    """Text of docs/topics.md."""
    rows = [
        (f"[{topic.name}](#{_anchor(topic.name)})", topic.key, topic.value_schema or "bytes", _keeps(topic))
        for topic in TOPICS.values()
    ]
    return "\n".join(
        [
            WRITTEN_BY,
            "# Topics\n",
            "Values are Avro in the Confluent wire format, subject `<topic>-value`; headers are CloudEvents",
            "(`ce_*`) and `traceparent`. Partitions marked P are the deployment's (`MANDATE_PARTITIONS`): a lead has",
            "the same partition number in all of them. Topic, group and table names are permanent.\n",
            f"## The dataflow\n\n```text\n{figure()}\n```\n",
            "## All topics\n",
            _table(("topic", "key", "value", "keeps"), rows),
            *(_topic(topic) for topic in TOPICS.values()),
        ]
    )


def _topic(topic: Topic) -> str:
    facts = [
        ("partitions", str(topic.partitions)),
        ("written by", ", ".join(topic.writers)),
        ("read by", ", ".join(topic.readers)),
        ("compatibility", topic.compatibility if topic.value else "none: bytes"),
        ("settings", ", ".join(f"`{key}={value}`" for key, value in topic.config.items())),
    ]
    lines = [f"\n## {topic.name}\n", f"{topic.doc}{' Internal.' if topic.internal else ''}\n"]
    lines += [f"- {name}: {value}" for name, value in facts]
    if topic.value_schema:
        lines.append(f"\n### {topic.value_schema}\n")
        fields = definition(topic.value_schema)["fields"]
        rows = [(f"`{field['name']}`", _type(field["type"]), field["doc"]) for field in fields]
        lines.append(_table(("field", "type", "meaning"), rows))
    return "\n".join(lines)


def reason_codes() -> str:
    """Text of docs/reason-codes.md."""
    return "\n".join(
        [
            WRITTEN_BY,
            "# Codes\n",
            "Every reason of a decision, every revocation and every refusal of an enforcer bears one of these codes.",
            "Readers treat a code that they do not know as `UNKNOWN`, and never as a permit.\n",
            "## Reasons\n",
            _codes(ReasonCode, REASONS),
            "\n## Dead letters\n",
            "Why a record is in `dead.letters`; the record itself is there, whole, and can be sent again once it",
            "is mended.\n",
            _codes(DeadLetterCode, DEAD_LETTERS),
            "",
        ]
    )


def facts() -> str:
    """Text of docs/facts.md."""
    rows = [
        (
            f"`{kind.name}{'/<conversation>' if _is_scoped(kind.name) else ''}`",
            ", ".join(f"`{value}`" for value in kind.values) or "text",
            kind.set_by,
            kind.meaning,
            kind.missing,
        )
        for kind in FACTS
    ]
    return "\n".join(
        [
            WRITTEN_BY,
            "# Facts\n",
            "A lead's shared state: `name -> value, version, journal offset, time, finality, confidence, evidence`.",
            "Rules read facts, a grant rests on those that its judgement read, a defer waits for some. A policy names",
            "them as they stand here; `*` stands for what the policy or the buyer adds to the name.\n",
            _table(("fact", "values", "set by", "meaning", "when it does not stand"), rows),
            "",
        ]
    )


def security() -> str:
    """Text of docs/security.md: its own, with the table of permissions put in."""
    text = (DOCS / "security.md").read_text(encoding="utf-8")
    before, begin, rest = text.partition(PERMISSIONS_BEGIN)
    _, end, after = rest.partition(PERMISSIONS_END)
    if not begin or not end:
        raise ValueError("docs/security.md has lost the marks of its table")
    parts = [*stages(), AGENT, SETUP]
    given = acls(Principals({part: part for part in parts}, (AGENT,)))
    rows = [(part, *_permissions([acl for acl in given if acl.principal == part])) for part in parts]
    return f"{before}{begin}\n{_table(('part', 'writes', 'reads', 'groups'), rows)}\n{end}{after}"


def _permissions(given: list[Acl]) -> tuple[str, str, str]:
    def names(resource: str, operation: str) -> list[str]:
        found = [acl for acl in given if (acl.resource, acl.operation) == (resource, operation)]
        return [f"`{acl.name}{'*' if acl.prefix else ''}`" for acl in found]

    if names("topic", "Create"):
        return "nothing; creates every topic", "nothing; describes every topic", ""
    named = [f"({name})" for name in names("group", "Describe")]
    cells = (names("topic", "Write"), names("topic", "Read"), names("group", "Read") + named)
    return tuple(", ".join(cell) for cell in cells)  # type: ignore[return-value]


def _is_scoped(name: str) -> bool:
    return scoped(name, None) != name


def _codes(codes: Iterable[Any], texts: Mapping[Any, CodeText]) -> str:
    return _table(("code", "means", "what to do"), [(f"`{code}`", *texts[code]) for code in codes])


def _table(head: tuple[str, ...], rows: Rows) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _type(avro: Any) -> str:
    if isinstance(avro, list):
        return " or ".join(_type(branch) for branch in avro if branch != "null") + (
            " or null" if "null" in avro else ""
        )
    if isinstance(avro, dict):
        if avro["type"] in ("array", "map"):
            return f"{'list' if avro['type'] == 'array' else 'map'} of {_type(avro.get('items') or avro['values'])}"
        return str(avro["logicalType"])
    name = str(avro).removeprefix("mandate.")
    if name == avro:
        return name
    schema = definition(name)
    return f"{name}: {', '.join(schema['symbols'])}" if schema["type"] == "enum" else name


def _keeps(topic: Topic) -> str:
    if topic.cleanup == "compact":
        return "the latest of each key"
    kept = f"{topic.retention_ms // DAY_MS} days"
    return kept if topic.cleanup == "delete" else f"the latest of each key, {kept}"


def _anchor(name: str) -> str:
    return name.replace(".", "")


FILES = {"topics.md": topics, "reason-codes.md": reason_codes, "facts.md": facts, "security.md": security}
"""Files of docs/ and what writes them."""

if __name__ == "__main__":
    for name, text in FILES.items():
        (DOCS / name).write_text(text(), encoding="utf-8")
