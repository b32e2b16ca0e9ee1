"""What the rounds come to: medians over rounds, ratios between the systems, a table for people."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from statistics import median
from typing import Any

import psutil

from tests.benchmarks.figures import middle, percentiles, table

SHOWN = ("p50", "p95", "p99", "p99.9", "max")
BUSY_CORES = 0.15
"""Processor time of others, in cores, from which on a run is disturbed."""


def machine() -> dict[str, Any]:
    """What it ran on."""
    packages = ("faust-streaming", "aiokafka", "confluent-kafka", "fastavro", "rocksdict")
    return {
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def summary(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of each system over its rounds, and the ratios of the first to the second.

    found: of each system its rounds of `latency`, each a run at each rate, and those of `backlog`.
    """
    systems = {name: _system(rounds["latency"], rounds["backlog"]) for name, rounds in found.items()}
    report: dict[str, Any] = {"systems": systems}
    if len(systems) == 2:
        ours, theirs = systems.values()
        report["ratios"] = _ratios(ours, theirs)
    return report


def _system(rounds: Sequence[Sequence[Mapping[str, Any]]], backlogs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    latency = {}
    for runs in zip(*rounds, strict=True):
        counted = _undisturbed(runs)
        samples = [sample for run in counted for sample in run["samples_ms"]]
        latency[str(runs[0]["rate"])] = {
            "counted_rounds": len(counted),
            "median_of_rounds": middle(run["latency_ms"] for run in counted),
            "all_samples": percentiles(samples),
            "cpu_us_per_event": middle(_per_event(run) for run in counted),
            "rounds": [{key: value for key, value in run.items() if key != "samples_ms"} for run in runs],
        }
    counted = _undisturbed(backlogs)
    return {
        "latency": latency,
        "backlog": {
            "counted_rounds": len(counted),
            "events_per_s": round(median(run["events_per_s"] for run in counted)),
            "intake_events_per_s": round(median(run["intake_events_per_s"] for run in counted)),
            "cpu_us_per_event": middle(_per_event(run) for run in counted),
            "rounds": backlogs,
        },
    }


def _undisturbed(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The runs that other processes left alone; all of them when they left none."""
    return [run for run in runs if _others(run) <= BUSY_CORES] or list(runs)


def _others(run: Mapping[str, Any]) -> float:
    """Cores that processes which are no part of this used meanwhile."""
    return float(run["cpu_s"]["others"] / run["took_s"])


def _per_event(run: Mapping[str, Any]) -> dict[str, float]:
    return {name: round(spent / run["events"] * 1e6, 1) for name, spent in run["cpu_s"].items()}


def _ratios(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    rate = round(ours["backlog"]["events_per_s"] / theirs["backlog"]["events_per_s"], 2)
    found: dict[str, Any] = {"events_per_s": rate}
    for name, run in ours["latency"].items():
        mine, other = run["median_of_rounds"], theirs["latency"][name]["median_of_rounds"]
        found[f"latency_at_{name}"] = {key: round(mine[key] / other[key], 2) for key in ("p50", "p99")}
    return found


def show(report: Mapping[str, Any]) -> str:
    """The report for people."""
    systems: Mapping[str, Any] = report["systems"]
    partitions = f"{report['partitions']} partition{'s' if report['partitions'] > 1 else ''} of each topic"
    lines = ["", f"One worker, {partitions}.", ""]
    lines.append("Decision latency in ms, open loop, from the scheduled send of the request to its verdict consumed")
    lines.append("(medians of the rounds)")
    lines.append(table(("system", "events/s", *SHOWN, "requests"), _latency_rows(systems)))
    lines += ["", "Of each round, p50 / p99 / p99.9 in ms, and processor time for each event in µs"]
    lines += _rounds(systems)
    lines += ["", "Backlog: events/s from the release of a held system to the last verdict"]
    lines.append(table(("system", "events/s", "intake alone", "of each round"), _backlog_rows(systems)))
    lines += ["", "Processor time for each event of the backlog, µs"]
    lines.append(_cpu_table(systems))
    if "ratios" in report:
        lines += ["", f"{' / '.join(systems)}: {_spoken(report['ratios'])}"]
    return "\n".join([*lines, *_disturbances(systems)])


def _latency_rows(systems: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (name, rate, *(f"{run['median_of_rounds'][key]:.1f}" for key in SHOWN), run["all_samples"]["count"])
        for rate in next(iter(systems.values()))["latency"]
        for name, system in systems.items()
        for run in [system["latency"][rate]]
    ]


def _rounds(systems: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} at {rate}/s: "
        + ", ".join(
            f"{' / '.join(format(run['latency_ms'][key], '.1f') for key in ('p50', 'p99', 'p99.9'))}"
            f" ({sum(_per_event(run).values()):.0f})"
            for run in found["rounds"]
        )
        for name, system in systems.items()
        for rate, found in system["latency"].items()
    ]


def _backlog_rows(systems: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (
            name,
            system["backlog"]["events_per_s"],
            system["backlog"]["intake_events_per_s"],
            " ".join(str(run["events_per_s"]) for run in system["backlog"]["rounds"]),
        )
        for name, system in systems.items()
    ]


def _cpu_table(systems: Mapping[str, Any]) -> str:
    spent = {name: system["backlog"]["cpu_us_per_event"] for name, system in systems.items()}
    parts = list(next(iter(spent.values())))
    return table(("system", *parts), [(name, *(round(found[part]) for part in parts)) for name, found in spent.items()])


def _spoken(ratios: Mapping[str, Any]) -> str:
    parts = [f"events/s × {ratios['events_per_s']}"]
    for name, ratio in ratios.items():
        if name.startswith("latency_at_"):
            parts.append(f"at {name.removeprefix('latency_at_')}/s p50 × {ratio['p50']}, p99 × {ratio['p99']}")
    return "; ".join(parts)


def _disturbances(systems: Mapping[str, Any]) -> list[str]:
    """What to say about runs that others disturbed."""
    kinds = [kind for system in systems.values() for kind in (*system["latency"].values(), system["backlog"])]
    worst = max(_others(run) for kind in kinds for run in kind["rounds"])
    left_out = sum(len(kind["rounds"]) - kind["counted_rounds"] for kind in kinds)
    lines = []
    if left_out:
        lines += ["", f"{left_out} runs are not counted: other processes used up to {worst:.1f} cores meanwhile."]
    if any(_others(run) > BUSY_CORES for kind in kinds for run in _undisturbed(kind["rounds"])):
        lines += ["", "DISTURBED: some figures have no round that others left alone; repeat it on a quiet machine."]
    return lines
