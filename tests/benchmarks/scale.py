"""What grows with workers, and what with leads: rate, processor time, memory, bytes.

Three brokers one after the other. On the first, one and more workers share the same partitions, and the audit sink
lands what they wrote. On the second all leads are in a call, then ten times as many; on the third leads are only
known, and each is heard of once in a while. The journal is filled through intake while the workers are held
(SIGSTOP), so that what is timed is control alone.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil

from deploy.settings import Settings
from schemas.catalogue import TOPIC_OF
from schemas.records import JournalEntry
from streams.registry import connect
from tests.benchmarks.bytes_on_disk import Topics, directory_bytes, state
from tests.benchmarks.load import Sent, Shot, wall_us
from tests.benchmarks.measure import Plan, Round, Spent, opened
from tests.benchmarks.systems import ROOT, Broker, Part, System, broker
from tests.benchmarks.workload import Event, Lead, Traffic

FILLED_WITHIN_S, HELD_AT_MOST_S = 5.0, 9.0
"""A worker that is held longer than its session loses its partitions; what is measured then is a takeover."""
AUDIT_WITHIN_S = 150.0
WITHIN_S = 420.0
"""After this nothing is begun any more; what is measured last takes up to three minutes."""
_CHUNK = 20_000
_PORTION = 2_000
_TAIL = 128
"""Requests that end a backlog: so many leads that each of a few partitions has one."""


class Sizes(NamedTuple):
    """How much is measured. calls, resting: how many leads there are, one after the other.

    events: of each drain. rate, seconds: of the stretch that is no backlog.
    """

    partitions: int
    workers: tuple[int, ...]
    drains: int
    calls: tuple[int, ...]
    resting: tuple[int, ...]
    events: int
    seconds: float
    leads: int = 500
    rate: int = 1_000


FULL = Sizes(8, (1, 2, 4), 2, (1_000, 10_000), (1_000, 10_000, 100_000), 20_000, 10.0)
QUICK = Sizes(4, (1, 2), 1, (100, 1_000), (100, 1_000), 2_000, 3.0, leads=100)


def measure(data_dir: Path, logs: Path, say: Callable[[str], None], sizes: Sizes) -> dict[str, Any]:
    """All figures. Below data_dir each broker has a directory of its own."""
    began = time.monotonic()
    say("workers that share partitions")
    with broker(data_dir / "workers", say, sizes.partitions) as kafka:
        workers = [_workers(kafka, logs, sizes, count, say) for count in sizes.workers]
    say("leads in calls")
    with broker(data_dir / "calls", say) as kafka:
        calls = _calls(kafka, logs, sizes, say)
    say("leads at rest")
    with broker(data_dir / "resting", say) as kafka:
        resting = _resting(kafka, logs, sizes, say, until=began + WITHIN_S)
    took = round(time.monotonic() - began)
    return {"sizes": sizes._asdict(), "took_s": took, "workers": workers, "calls": calls, "resting": resting}


def system(workers: int) -> System:
    """One intake and some control workers."""
    command = (sys.executable, "-m", "deploy.cli")
    control = (Part(f"control-{number}", (*command, "worker"), "control ready") for number in range(1, workers + 1))
    return System("mandate", "", (Part("intake", (*command, "intake"), "intake ready"), *control))


# --- one and more workers
def _workers(kafka: Broker, logs: Path, sizes: Sizes, count: int, say: Callable[[str], None]) -> dict[str, Any]:
    plan = Plan(sizes.leads, (), (), 0.0, 1_500, 0)
    topics, audit = Topics(kafka.settings), dict[str, Any]()
    with opened(system(count), kafka, connect(kafka.settings), plan, logs, count) as this:
        shares = _await_shares(logs, count, sizes.partitions)
        drains = []
        drain(kafka, this, [this.traffic.next(wall_us()) for _ in range(sizes.events)])  # warms up
        if count == 1:
            say("audit sink")
            audit = {"audit": _audit(kafka.settings, topics, logs)}
        for number in range(sizes.drains):
            say(f"{count} workers, drain {number + 1} of {sizes.drains}")
            drains.append(drain(kafka, this, [this.traffic.next(wall_us()) for _ in range(sizes.events)]))
        about = {"workers": count, "partitions": shares, "rss_mb": _rss_mb(this), "drains": drains}
        return {**about, **_middle(drains), **audit}


def _await_shares(logs: Path, count: int, partitions: int) -> list[int]:
    """How many partitions each worker has, once they are shared out; the newest line of each log says it."""
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        shares = [shared((logs / f"control-{number}.log").read_text()) for number in range(1, count + 1)]
        if sorted(number for share in shares for number in share) == list(range(partitions)) and all(shares):
            return [len(share) for share in shares]
        time.sleep(0.2)
    raise TimeoutError(f"{count} workers did not share {partitions} partitions")


def shared(log: str) -> list[int]:
    """The partitions that a worker judges, by the newest line of its log that says so."""
    found = re.findall(r"control ready: partitions \[([\d, ]*)\]", log)
    return [int(number) for number in found[-1].split(",") if number.strip()] if found else []


def _middle(drains: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians over drains."""
    rates = {key: round(median(found[key] for found in drains)) for key in ("events_per_s", "intake_events_per_s")}
    parts = drains[0]["cpu_us_per_event"]
    spent = {part: round(median(found["cpu_us_per_event"][part] for found in drains)) for part in parts}
    return {**rates, "cpu_us_per_event": spent}


def _audit(settings: Settings, topics: Topics, logs: Path) -> dict[str, Any]:
    """Lands all that is there, by the sink that ships; bytes of the lake for each entry of the journal."""
    command = (sys.executable, "-m", "deploy.cli", "sink", "audit", "--once")
    environment = {**os.environ, **settings.to_env(), "PYTHONPATH": str(ROOT), "MANDATE_CONFIG": ""}
    began, spent = time.monotonic(), _children_cpu_s()
    with (logs / "audit.log").open("wb") as out:
        subprocess.run(
            command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, check=True, timeout=AUDIT_WITHIN_S
        )
    took, spent = time.monotonic() - began, _children_cpu_s() - spent
    entries = topics.records(TOPIC_OF[JournalEntry])
    size = directory_bytes(settings.lake_dir)
    return {
        "entries": entries,
        "bytes_per_event": round(size / entries),
        "entries_per_s": round(entries / took),
        "cpu_us_per_event": round(spent / entries * 1e6),
    }


def _children_cpu_s() -> float:
    """Processor seconds of child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


# --- leads in calls
def _calls(kafka: Broker, logs: Path, sizes: Sizes, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The same traffic over more and more leads in calls: as a backlog, then as it comes, at a rate."""
    topics, found = Topics(kafka.settings), []
    plan = Plan(sizes.calls[0], (), (), 2.0, 1_500, 0)
    with opened(system(1), kafka, connect(kafka.settings), plan, logs, 1) as this:
        everyone = [this.traffic]
        drain(kafka, this, list(evenly(everyone, sizes.events)))  # warms the broker up
        for total in sizes.calls:
            say(f"{total} leads in calls")
            if new := total - sum(len(traffic.leads) for traffic in everyone):
                more = Traffic(f"call{total}", new)
                _flow(this, (step(wall_us()) for step in more.opening()), list(more.leads.values()))
                everyone.append(more)
            leads = [lead for traffic in everyone for lead in traffic.leads.values()]
            before = topics.sizes()
            drained = drain(kafka, this, list(evenly(everyone, sizes.events)), leads)
            grown = topics.grown(before, drained["events"])
            found.append({"leads": total, "drain": drained, "rss_mb": _rss_mb(this), "bytes_per_event": grown})
            if total == sizes.calls[0]:
                say(f"{sizes.rate} events/s")
                found[0]["live"] = _live(this, topics, sizes)
    found[-1]["state"] = state(kafka.settings)._asdict()
    return found


def _live(this: Round, topics: Topics, sizes: Sizes) -> dict[str, Any]:
    """What an event costs that does not come out of a backlog: fewer of them share a batch and a row's writing."""
    before = topics.sizes()
    found = this.latency(sizes.rate, sizes.seconds)
    per_event = {part: round(spent / found["events"] * 1e6) for part, spent in found["cpu_s"].items()}
    kept = {key: found[key] for key in ("rate", "events", "took_s", "latency_ms", "cpu_s")}
    return {**kept, "cpu_us_per_event": per_event, "bytes_per_event": topics.grown(before, found["events"])}


def evenly(everyone: Sequence[Traffic], events: int) -> Iterator[Event]:
    """Events of all traffics, of each as many as it has leads."""
    leads = [len(traffic.leads) for traffic in everyone]
    for traffic, share in zip(everyone, leads, strict=True):
        for _ in range(round(events * share / sum(leads))):
            yield traffic.next(wall_us())


# --- leads at rest
def _resting(
    kafka: Broker, logs: Path, sizes: Sizes, say: Callable[[str], None], *, until: float
) -> list[dict[str, Any]]:
    """More and more leads of whom only CRM and consent are known; a drain hears of some of them again."""
    found, everyone = [], list[Lead]()
    with opened(system(1), kafka, connect(kafka.settings), _NOBODY, logs, 1) as this:
        for total in sizes.resting:
            if time.monotonic() > until:
                say(f"{total} leads at rest are left out: it would take too long")
                break
            say(f"{total} leads at rest")
            more = list(Traffic(f"rest{total}", total - len(everyone)).leads.values())
            for first in range(0, len(more), _CHUNK):
                chunk = more[first : first + _CHUNK]
                _flow(this, (step(wall_us()) for lead in chunk for step in lead.opening()[:2]), chunk)
            everyone += more
            if total == sizes.resting[0]:
                drain(kafka, this, _heard_of(everyone, sizes.events), everyone)  # warms the broker up
            drained = drain(kafka, this, _heard_of(everyone, sizes.events), everyone)
            found.append({"leads": total, "drain": drained, "rss_mb": _rss_mb(this)})
    found[-1]["state"] = state(kafka.settings)._asdict()
    return found


def _heard_of(leads: Sequence[Lead], events: int) -> list[Event]:
    """The CRM tells again what it told; of each lead as often."""
    every = max(1, len(leads) // events)
    return [lead.opening()[0](wall_us()) for lead in islice(cycle(leads[::every]), events)]


_NOBODY = Plan(0, (), (), 0.0, 1_500, 0)


# --- what all of them do
def drain(kafka: Broker, this: Round, events: Sequence[Event], leads: Sequence[Lead] = ()) -> dict[str, Any]:
    """What control alone makes of a journal that intake filled while the workers were held.

    Where intake is slow only so many of the events are sent as it takes in time.
    leads: of which some ask once more behind everything else; the time ends with the last verdict on these.
    """
    controls = [part.name for part in this.processes.system.parts if part.name != "intake"]
    shots = [this.gun.load(event, 0.0) for event in events]
    with this.processes.held(controls):
        held, sent = time.monotonic(), list[Sent]()
        while shots and time.monotonic() < held + FILLED_WITHIN_S:
            sent.append(_fill(this, shots[:_PORTION]))
            shots = shots[_PORTION:]
        filled, end = time.monotonic(), this.answers.journal_end()
        last = _tail(this, leads or list(this.traffic.leads.values()))
        this.await_journal(end + len(last.due))
        before, began = Spent.now(kafka, this.processes), time.monotonic()
    this.settle(last)
    for each in sent:
        this.settle(each)
    after = Spent.now(kafka, this.processes)
    if began - held > HELD_AT_MOST_S:
        raise TimeoutError(f"the workers were held for {began - held:.1f} s: this machine is too busy")
    took = max(this.answers.at[request] for request in last.due) - began
    filling = len(events) - len(shots)
    return {
        "intake_events_per_s": round(filling / (filled - held)),
        "held_s": round(began - held, 1),
        **_figures(filling + len(last.due), took, after.since(before), controls),
    }


def _fill(this: Round, shots: Sequence[Shot]) -> Sent:
    """Sends events; returns when the journal, in which nobody else writes now, has them all."""
    end = this.answers.journal_end()
    sent = this.gun.fire(shots, time.monotonic())
    this.await_journal(end + len(shots))
    return sent


def _figures(events: int, took: float, spent: Mapping[str, float], controls: Sequence[str]) -> dict[str, Any]:
    parts = {
        "control": sum(spent[part] for part in controls),
        "broker": spent["broker"],
        "others": spent["others"],
    }
    return {
        "events": events,
        "events_per_s": round(events / took),
        "seconds": round(took, 2),
        "cpu_s": spent,
        "cpu_us_per_event": {part: round(seconds / events * 1e6, 1) for part, seconds in parts.items()},
    }


def _flow(this: Round, events: Iterator[Event], leads: Sequence[Lead]) -> None:
    """Sends events through intake and control at their own pace, and waits until all are judged."""
    shots = [this.gun.load(event, 0.0) for event in events]
    for first in range(0, len(shots), 2 * _CHUNK):
        chunk, journal = shots[first : first + 2 * _CHUNK], this.answers.journal_end()
        this.gun.fire(chunk, time.monotonic())
        this.await_journal(journal + len(chunk))
    this.settle(_tail(this, leads))


def _tail(this: Round, leads: Sequence[Lead]) -> Sent:
    every = max(1, len(leads) // _TAIL)
    return this.gun.fire([this.gun.load(lead.ask(wall_us()), 0.0) for lead in leads[::every]], time.monotonic())


def _rss_mb(this: Round) -> float:
    """Resident memory of the workers together, in MB."""
    found = [psutil.Process(pid).memory_info().rss for part, pid in this.processes.pids().items() if part != "intake"]
    return round(sum(found) / 1e6, 1)
