"""`mandate topics`: dataflow and catalogue for people, as JSON, or made on the cluster."""

from __future__ import annotations

import json

from deploy.errors import OperatorError
from deploy.settings import Settings
from schemas.catalogue import TOPICS, Topic
from streams.figure import figure
from streams.topology import check

DAY_MS = 86_400_000


def run(settings: Settings, *, create: bool, as_json: bool) -> int:
    """Print the dataflow and every topic; with `create`, make the missing topics and register the schemas."""
    faults = check()
    if faults:
        raise OperatorError(f"The dataflow does not hold together: {'; '.join(faults)}.", "Mend streams/topology.py.")
    if create:
        from deploy import kafka_admin

        created = kafka_admin.ensure_topics(settings)
        ids = kafka_admin.register_schemas(settings)
        print(f"{len(created)} topics created, {len(ids)} schemas registered.")
        return 0
    rows = [_row(topic, settings) for topic in TOPICS.values()]
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        print(f"{figure()}\n")
        _print_table(rows)
    return 0


def _row(topic: Topic, settings: Settings) -> dict[str, str | int]:
    return {
        "topic": topic.name,
        "key": topic.key,
        "value": topic.value_schema or "bytes",
        "partitions": settings.partitions if topic.partitions == "P" else topic.partitions,
        "keeps": _keeps(topic),
        "compatibility": topic.compatibility if topic.value_schema else "",
        "written by": ", ".join(topic.writers),
        "read by": ", ".join(topic.readers),
        "doc": topic.doc,
    }


def _keeps(topic: Topic) -> str:
    if topic.cleanup == "compact":
        return "latest by key"
    kept = "for ever" if topic.retention_ms < 0 else f"{topic.retention_ms // DAY_MS} days"
    return kept if topic.cleanup == "delete" else f"latest by key, {kept}"


def _print_table(rows: list[dict[str, str | int]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = ("topic", "value", "partitions", "keeps", "key")
    for name in shown:
        table.add_column(name, no_wrap=name == "topic", justify="right" if name == "partitions" else "left")
    for row in rows:
        table.add_row(*(str(row[name]) for name in shown))
    Console().print(table)
