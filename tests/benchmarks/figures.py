"""Percentiles of samples and the tables that show them."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


def percentiles(samples: Sequence[float], digits: int = 2) -> dict[str, float]:
    """Nearest-rank percentiles, maximum and count; of no samples, the count alone."""
    ordered = sorted(samples)
    if not ordered:
        return {"count": 0}
    found = {name: round(ordered[_rank(share, len(ordered))], digits) for name, share in QUANTILES.items()}
    return {**found, "count": len(ordered)}


def _rank(share: float, count: int) -> int:
    """Index of the smallest sample that at least this share of all does not exceed."""
    return max(0, -(-int(share * count * 1_000) // 1_000) - 1)


def middle(figures: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure over some runs."""
    runs = list(figures)
    return {name: median(run[name] for run in runs) for name in runs[0]} if runs else {}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under their head; the first column to the left, the others to the right."""
    lines = [list(map(str, head)), *(list(map(str, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    shown = [
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    ]
    return "\n".join([shown[0].rstrip(), "  ".join("-" * width for width in widths), *map(str.rstrip, shown[1:])])
