"""What a run showed, as lines for a terminal and as the table of `docs/reliability.md`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
HEADER = ("fault", "injections", "requests", "worst stall", "lost", "doubled", "wrong")


class Row(NamedTuple):
    """One fault. worst_stall_s: None when no request was sent meanwhile.

    rescued: how often the runner had to remove the state, as an operator does. lost, doubled, wrong: None when the
    checker did not come to it.
    """

    title: str
    injections: int
    requests: int
    worst_stall_s: float | None
    lost: int | None
    doubled: int | None
    wrong: int | None
    rescued: int = 0


def total(rows: Sequence[Row]) -> list[Row]:
    """One row a fault, of those that several grounds gave, in the order in which they came first."""
    found: dict[str, Row] = {}
    for row in rows:
        found[row.title] = _sum(found[row.title], row) if row.title in found else row
    return list(found.values())


def _sum(one: Row, other: Row) -> Row:
    if not one.injections or not other.injections:
        return one if one.injections else other
    stalls = [stall for stall in (one.worst_stall_s, other.worst_stall_s) if stall is not None]
    return Row(
        title=one.title,
        injections=one.injections + other.injections,
        requests=one.requests + other.requests,
        worst_stall_s=max(stalls, default=None),
        lost=_both(one.lost, other.lost),
        doubled=_both(one.doubled, other.doubled),
        wrong=_both(one.wrong, other.wrong),
        rescued=one.rescued + other.rescued,
    )


def _both(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def cells(row: Row) -> tuple[str, ...]:
    """A row as it is shown."""
    stall = "–" if row.worst_stall_s is None else f"{row.worst_stall_s:.1f} s"
    counts = ("?" if count is None else str(count) for count in (row.lost, row.doubled, row.wrong))
    title = row.title + (f" ({row.rescued}× state removed by hand)" if row.rescued else "")
    return (title, str(row.injections), str(row.requests), stall, *counts)


def plain(rows: Sequence[Row]) -> str:
    """Aligned columns."""
    table = [HEADER, *map(cells, rows)]
    widths = [max(len(line[n]) for line in table) for n in range(len(HEADER))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in table)


def markdown(rows: Sequence[Row], facts: Mapping[str, str]) -> str:
    """The table with what it was measured on."""
    lines = [
        *(f"- {name}: {fact}" for name, fact in facts.items()),
        "",
        "| " + " | ".join(HEADER) + " |",
        "|---|" + "---:|" * (len(HEADER) - 1),
        *("| " + " | ".join(cells(row)) + " |" for row in rows),
    ]
    return "\n".join(lines)


def write(text: str, page: Path = PAGE) -> None:
    """Puts a text between the marks of the page. ValueError when they are not there."""
    whole = page.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no marks {BEGIN} and {END}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
