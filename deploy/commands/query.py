"""`mandate query`: SQL over the audit lake."""

from __future__ import annotations

import csv
import json
import sys
from typing import Any, Literal

from deploy.settings import Settings

BAD_INPUT = 2


def run(settings: Settings, *, sql: str, form: Literal["table", "json", "csv"] = "table") -> int:
    """Print a query's rows. 2: DuckDB refuses the query."""
    from sinks.queries import QueryError, query

    try:
        result = query(settings, sql)
    except QueryError as error:
        print(f"mandate: {error}", file=sys.stderr)
        return BAD_INPUT
    names, rows = result.column_names, result.to_pylist()
    if form == "json":
        for row in rows:
            print(json.dumps(row, default=str, ensure_ascii=False))
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        writer.writerows([_shown(row[name]) for name in names] for row in rows)
    else:
        _print_table(names, rows)
    return 0


def _print_table(names: list[str], rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(row[name])) for name in names))
    Console(soft_wrap=False).print(table)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | dict):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)
