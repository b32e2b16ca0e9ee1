"""What `scale` found, for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from schemas.catalogue import EVENT_INPUTS
from tests.benchmarks.figures import table
from tests.benchmarks.report import BUSY_CORES

_INPUTS, _OTHERS = "input topics", "other topics"
_SHOWN = (
    "execution.journal", "permission.decisions", "execution.transitions", "permission.revocations", "agent.directives",
    "crm.updates", "execution.state", "mandate-control-execution-changelog",
)  # fmt: skip


def show(found: Mapping[str, Any]) -> str:
    """The figures as tables."""
    audit, live = found["workers"][0]["audit"], found["calls"][0]["live"]
    lines = [
        f"Control alone, the journal filled before: {found['sizes']['partitions']} partitions, "
        f"{found['sizes']['leads']} leads in calls.",
        table(("workers", "partitions of each", "events/s", "control µs/event", "broker µs/event", "RSS, MB"),
              [_worker_row(run) for run in found["workers"]]),
        f"Intake alone, control held: {found['workers'][0]['intake_events_per_s']} events/s. The audit sink lands "
        f"{audit['entries_per_s']} entries/s with all that they gave, its start included, "
        f"{audit['cpu_us_per_event']} µs each.",
        "",
        "One worker on 4 partitions, as leads grow, from a backlog:",
        table(("leads", "", "events/s", "control µs/event", "broker µs/event", "RSS, MB", "KB for each more"),
              [row for kind in ("calls", "resting") for row in _lead_rows(found[kind], kind)]),
        "",
        f"At {live['rate']} events/s, {found['calls'][0]['leads']} leads in calls, µs of each event: "
        + ", ".join(f"{part} {spent}" for part, spent in live["cpu_us_per_event"].items()) + ".",
        "",
        "Bytes of each event of a call, in the topics (one copy) and in the lake:",
        table(("", f"at {live['rate']}/s", "from a backlog"), _byte_rows(found["calls"][0], audit["bytes_per_event"])),
        "",
        *(_state_line(kind, found[kind][-1]["state"]) for kind in ("calls", "resting")),
        *(["", "DISTURBED: other processes used the machine meanwhile."] if _disturbed(found) else []),
    ]  # fmt: skip
    return "\n".join(lines)


def _worker_row(run: Mapping[str, Any]) -> tuple[object, ...]:
    spent, shares = run["cpu_us_per_event"], "+".join(map(str, run["partitions"]))
    return run["workers"], shares, run["events_per_s"], spent["control"], spent["broker"], run["rss_mb"]


def _lead_rows(runs: Sequence[Mapping[str, Any]], kind: str) -> Iterator[tuple[object, ...]]:
    name, before = "in a call" if kind == "calls" else "at rest", None
    for run in runs:
        drained, spent = run["drain"], run["drain"]["cpu_us_per_event"]
        more = "" if before is None else _kb_for_each_more(before, run)
        rate = drained["events_per_s"]
        yield run["leads"], name, rate, round(spent["control"]), round(spent["broker"]), run["rss_mb"], more
        before = run


def _kb_for_each_more(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return f"{(now['rss_mb'] - before['rss_mb']) / (now['leads'] - before['leads']) * 1_000:.1f}"


def _byte_rows(calls: Mapping[str, Any], lake: int) -> list[tuple[str, int, int]]:
    kinds = (calls["live"]["bytes_per_event"], calls["bytes_per_event"])
    sums = [{_row_of(topic): 0 for topic in found} for found in kinds]
    for found, into in zip(kinds, sums, strict=True):
        for topic, size in found.items():
            into[_row_of(topic)] += size
    names = (_INPUTS, *_SHOWN, _OTHERS)
    rows = [(name, sums[0].get(name, 0), sums[1].get(name, 0)) for name in names]
    return [*rows, ("all topics", *(sum(into.values()) for into in sums)), ("audit lake", lake, lake)]


def _row_of(topic: str) -> str:
    if topic in EVENT_INPUTS:
        return _INPUTS
    return topic if topic in _SHOWN else _OTHERS


def _state_line(kind: str, state: Mapping[str, int]) -> str:
    leads, where = state["leads"], "in calls" if kind == "calls" else "at rest"
    disk, row = state["disk_bytes"] / leads, state["lead_row_bytes"] / leads
    return f"{leads} leads {where}: a row has {row:.0f} bytes; RocksDB's files, flushed, {disk:.0f} a lead."


def _disturbed(found: Mapping[str, Any]) -> bool:
    drains = [drained for run in found["workers"] for drained in run["drains"]]
    drains += [run["drain"] for kind in ("calls", "resting") for run in found[kind]]
    return any(drained["cpu_s"]["others"] / drained["seconds"] > BUSY_CORES for drained in drains)
