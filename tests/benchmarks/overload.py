"""More than can be judged, for minutes: does memory stay, is every request answered, which of them too late?

First what a worker sustains is measured, from a backlog; then the traffic is sent at a multiple of that, each request
with a deadline. Memory counts as flat when its middle third and its last third differ by no more than 5 %: the first
third fills caches.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import psutil

from schemas.codec import Codec
from schemas.records import AgentRequest, RequestId
from tests.benchmarks.figures import percentiles, table
from tests.benchmarks.load import schedule, wall_us
from tests.benchmarks.measure import Plan, Round, opened
from tests.benchmarks.systems import Broker, mandate

FLAT = 0.05
DEADLINE_S = 2.0
DRAIN_S = 60.0
_CHUNK_S = 0.5
PLAN = Plan(leads=500, rates=(), seconds=(), warm_s=0.0, opening_rate=1_500, backlog=10_000)
QUICK = PLAN._replace(leads=50, backlog=1_000)


def measure(
    kafka: Broker, codec: Codec, logs: Path, *, minutes: float, factor: float, plan: Plan = PLAN
) -> dict[str, Any]:
    """What became of so many minutes of the sustained rate times a factor."""
    with opened(mandate(kafka.settings.partitions), kafka, codec, plan, logs, 1) as this:
        sustained = this.backlog(plan.backlog)["events_per_s"]
        before = this.answers.journal_end()
        run = _push(this, rate=sustained * factor, seconds=minutes * 60)
        after = this.answers.journal_end()
        until = time.monotonic() + DRAIN_S
        while time.monotonic() < until and _unanswered(this, run["asked"]):
            this.processes.look()
            time.sleep(0.2)
        asked = run.pop("asked")
        latency = [(this.answers.at[r] - due) * 1_000 for r, due in asked.items() if r in this.answers.at]
        return {
            "sustained_events_per_s": sustained,
            "asked_events_per_s": round(sustained * factor),
            **run,
            "journal_grew_meanwhile": after - before,
            "requests": len(asked),
            "unanswered_after_drain": len(_unanswered(this, asked)),
            "too_late": sum(request in this.answers.late for request in asked),
            "latency_ms": percentiles(latency),
            "memory": {part: flatness(samples) for part, samples in run["rss_mb"].items()},
        }


def _unanswered(this: Round, asked: Mapping[RequestId, float]) -> list[RequestId]:
    this.answers.look()
    return [request for request in asked if request not in this.answers.at]


def _push(this: Round, *, rate: float, seconds: float) -> dict[str, Any]:
    """Sends at a rate, half a second's worth encoded at a time; a driver that can't keep up is told, not hidden."""
    rss: dict[str, list[float]] = {part: [] for part in this.processes.pids()}
    asked: dict[RequestId, float] = {}
    began = time.monotonic()
    sent = chunk = 0
    while time.monotonic() < began + seconds:
        start = began + chunk * _CHUNK_S
        behind = max(0.0, time.monotonic() - start)
        shots = []
        for due_s in schedule(rate, _CHUNK_S, seed=chunk):
            event = this.traffic.next(wall_us())
            if isinstance(event.value, AgentRequest):
                deadline = event.value.requested_at + round(DEADLINE_S * 1e6)
                event = event._replace(value=msgspec.structs.replace(event.value, deadline=deadline))
            shots.append(this.gun.load(event, due_s))
        asked |= this.gun.fire(shots, start + behind).due
        sent, chunk = sent + len(shots), chunk + 1
        this.processes.look()
        this.answers.look()
        for part, pid in this.processes.pids().items():
            rss[part].append(round(psutil.Process(pid).memory_info().rss / 1e6, 1))
    took = time.monotonic() - began
    return {
        "events": sent,
        "seconds": round(took, 1),
        "events_per_s": round(sent / took),
        "rss_mb": rss,
        "asked": asked,
    }


def flatness(samples: Sequence[float]) -> dict[str, float | bool]:
    """Memory of the middle and of the last third, in MB, and whether it stayed; the first third fills caches."""
    third = len(samples) // 3
    if not third:
        return {"flat": False}
    middle, last = median(samples[third : 2 * third]), median(samples[-third:])
    return {"middle_mb": middle, "last_mb": last, "max_mb": max(samples), "flat": last <= middle * (1 + FLAT)}


def show(found: Mapping[str, Any]) -> str:
    """The figures as tables."""
    rows = [
        (part, figures.get("middle_mb", "-"), figures.get("last_mb", "-"), figures.get("max_mb", "-"),
         "flat" if figures["flat"] else "GROWS")
        for part, figures in found["memory"].items()
    ]  # fmt: skip
    late, asked = found["too_late"], found["requests"]
    lines = [
        f"Sustained {found['sustained_events_per_s']} events/s; asked for {found['asked_events_per_s']}, sent "
        f"{found['events_per_s']} for {found['seconds']:.0f} s: {found['events']} events.",
        f"Requests {asked}, answered TOO_LATE {late}, without an answer {DRAIN_S:.0f} s after the end "
        f"{found['unanswered_after_drain']}.",
        "",
        table(("memory, MB", "middle third", "last third", "max", ""), rows),
    ]
    return "\n".join(lines)
