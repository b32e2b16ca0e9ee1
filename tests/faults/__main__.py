"""`python -m tests.faults`: faults at random moments on a real broker, under load; then a checker of what is left.

The faults take turns. Each injection is followed by a wait until requests are decided again. Ctrl-C ends the
injections; what was seen is checked and printed all the same, a second Ctrl-C ends everything.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from tests.faults import table
from tests.faults.injections import FAULTS, Fault
from tests.faults.stage import Stage, stage
from tests.stacks import end_leftovers

RATE = 50.0
SETTLE_WITHIN_S = 150.0


@dataclass
class Tally:
    """What is counted while injecting. rescued: the state had to be removed by hand. trouble: what did not settle."""

    injections: Counter[str] = field(default_factory=Counter)
    rescued: Counter[str] = field(default_factory=Counter)
    trouble: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing lost, nothing doubled, nothing wrong."""
    asked = _arguments(arguments)
    faults = chosen(asked.only)
    end_leftovers()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="mandate-faults-") as name:
        directory = Path(name)
        with stage(directory, asked.seed, asked.rate) as on:
            try:
                found = _run(on, directory, faults, asked, tally)
            finally:
                _keep(directory, asked.keep)
            rows = [_row(on, fault, tally, found) for fault in faults]
            ended = {name: count for name, count in on.cast.ended().items() if count}
    return _conclude(rows, found, tally, asked, ended)


def _run(
    on: Stage, directory: Path, faults: Sequence[Fault], asked: argparse.Namespace, tally: Tally
) -> dict[str, Any]:
    """Injections, quiet, the checker's findings."""
    _say(f"seed {asked.seed}, {asked.rate:.0f} records/s, {len(faults)} faults, {asked.minutes:g} minutes")
    with _listening(on):
        on.begin()
        _inject_all(on, faults, asked, tally)
    _say("injections are over; waiting until everything is dealt with")
    on.load.label = "calm"
    on.heal()
    tally.trouble += on.quieten()
    return _check(on, directory, tally)


def chosen(only: str | None) -> list[Fault]:
    """The faults of that name, separated by commas; all of them without."""
    names = [name.strip() for name in only.split(",")] if only else [fault.name for fault in FAULTS]
    unknown = set(names) - {fault.name for fault in FAULTS}
    if unknown:
        raise SystemExit(f"no fault {', '.join(sorted(unknown))}; there are {', '.join(f.name for f in FAULTS)}")
    return [fault for fault in FAULTS if fault.name in names]


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="time for injections in all; default 10")
    parser.add_argument("--injections", type=int, help="of each fault at least; default 20 from an hour on, else 1")
    parser.add_argument("--only", help="names of faults, separated by commas: " + ", ".join(f.name for f in FAULTS))
    parser.add_argument("--seed", type=int, default=0, help="of load, moments and choices; default 0")
    parser.add_argument("--rate", type=float, default=RATE, help=f"records a second; default {RATE:.0f}")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    parser.add_argument("--keep", type=Path, help="a directory for the processes' output and the findings")
    asked = parser.parse_args(given)
    if asked.injections is None:
        asked.injections = 20 if asked.minutes >= 60 else 1
    return asked


@contextmanager
def _listening(on: Stage) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the injections; the second one everything."""

    def stop(number: int, frame: FrameType | None) -> None:
        if on.over.is_set():
            raise KeyboardInterrupt
        _say("ending; Ctrl-C once more ends it at once")
        on.over.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _inject_all(on: Stage, faults: Sequence[Fault], asked: argparse.Namespace, tally: Tally) -> None:
    """Rounds through all faults in an order of their own, until the time is over and each had its number."""
    began = time.monotonic()
    end = began + asked.minutes * 60
    order = random.Random(asked.seed)
    while not on.over.is_set():
        turn = order.sample(list(faults), len(faults))
        for fault in turn:
            is_enough = tally.injections[fault.name] >= asked.injections
            if on.over.is_set() or (is_enough and time.monotonic() >= end):
                continue
            _inject(on, fault, tally)
            left = max(0.0, end - time.monotonic())
            _say(f"{sum(tally.injections.values()):>4} injections, {left / 60:.1f} minutes left: {fault.name}")
        if time.monotonic() >= end and all(tally.injections[f.name] >= asked.injections for f in faults):
            return


def _inject(on: Stage, fault: Fault, tally: Tally) -> None:
    """One injection at a random moment, and the wait until it is got over."""
    on.load.label = fault.name
    on.wait(0.2, 1.5)
    fault.inject(on)
    tally.injections[fault.name] += 1
    if on.recovered(SETTLE_WITHIN_S) or on.over.is_set():
        return
    _say(f"not got over within {SETTLE_WITHIN_S:.0f} s; removing the worker's state, as an operator would")
    tally.rescued[fault.name] += 1
    on.remove_state()
    if not on.recovered(SETTLE_WITHIN_S) and not on.over.is_set():
        tally.trouble.append(f"{fault.name}: nothing is decided any more; injections ended there")
        on.over.set()


def _check(on: Stage, directory: Path, tally: Tally) -> dict[str, Any]:
    """Findings of the checker, which is a program of its own."""
    on.write_notes(directory / "notes")
    command = [sys.executable, "-m", "tests.faults.checker", str(directory / "notes")]
    out = directory / "found.json"
    env = {**os.environ, **on.settings.to_env(), "MANDATE_CONFIG": ""}
    subprocess.run([*command, "--json", str(out)], env=env, check=False)
    if not out.exists():
        tally.trouble.append("the checker did not come to its end")
        return {}
    found = dict(json.loads(out.read_text()))
    vain = [name for name in ("decisions", "effects", "revocations") if not found["counts"][name]]
    tally.trouble += [f"there were no {name}: the checks say nothing" for name in vain]
    return found


def _row(on: Stage, fault: Fault, tally: Tally, found: dict[str, Any]) -> table.Row:
    stalls = on.stalls(fault.name)
    requests = {r for r in on.load.acknowledged if r.startswith(f"{fault.name}/")}
    counted = {kind: _distinct(found, fault, kind) if found else None for kind in ("lost", "doubled", "wrong")}
    return table.Row(
        title=fault.title,
        injections=tally.injections[fault.name],
        requests=len(requests),
        worst_stall_s=max(stalls, default=None),
        rescued=tally.rescued[fault.name],
        **counted,
    )


def _distinct(found: dict[str, Any], fault: Fault, kind: str) -> int:
    """Requests of a fault that something of this kind was found about."""
    findings = (finding for list_ in found["found"].values() for finding in list_)
    return len({request for k, request, _ in findings if k == kind and request.startswith(f"{fault.name}/")})


def _conclude(
    rows: list[table.Row], found: dict[str, Any], tally: Tally, asked: argparse.Namespace, ended: dict[str, int]
) -> int:
    print("\n" + table.plain(rows))
    for line in tally.trouble:
        print(f"TROUBLE: {line}")
    if ended:
        print("ended by themselves and were started again: " + ", ".join(f"{n} {c}×" for n, c in ended.items()))
    counts: Counter[str] = Counter(kind for list_ in found.get("found", {}).values() for kind, _, _ in list_)
    print("all findings: " + (", ".join(f"{kind} {n}" for kind, n in counts.items()) or "none"))
    if asked.write and found:
        facts = {
            "command": f"`python -m tests.faults --minutes {asked.minutes:g} --seed {asked.seed}`",
            "when": f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores shared with the broker",
            "load": f"{asked.rate:g} records a second",
            "checked": ", ".join(f"{value} {name}" for name, value in found["counts"].items()),
            "findings of the checker in all": str(sum(counts.values())),
        }
        table.write(table.markdown(rows, facts))
    return 0 if found and not counts and not tally.trouble else 1


def _keep(directory: Path, keep: Path | None) -> None:
    if keep is None:
        return
    keep.mkdir(parents=True, exist_ok=True)
    for path in (directory / "notes", directory / "found.json", *(directory / "processes").iterdir()):
        if path.exists():
            (keep / path.name).write_bytes(path.read_bytes())


def _say(line: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
