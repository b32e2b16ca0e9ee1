"""`python -m tests.faults`: faults at random moments on a real broker, under load; then a checker of what is left.

Faults that need three brokers first, then those of one, each on a ground of its own, and on a fresh one after every
five of each. The faults take turns; each injection is followed by a wait until requests are decided again. Ctrl-C ends
the injections; what was seen is checked and printed all the same, a second Ctrl-C ends everything.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from deploy.commands.state_verify import DIFFERENT
from tests.faults import table
from tests.faults.checks import Finding
from tests.faults.cluster import cluster
from tests.faults.ground import ground
from tests.faults.injections import FAULTS, Fault
from tests.faults.run import Plan, Run, Tally
from tests.faults.stage import FEED, SLOW, Stage, stage
from tests.stacks import end_leftovers

RATE = 50.0
FOUND = Path(__file__).parents[2] / "var" / "faults"
SHOWN = 20
"""Findings told again at the end, where the last lines of a log have them."""
PER_GROUND = 5
"""Injections of each fault, then a fresh ground: what folds the journal again takes longer the longer that is."""
_AFTERWARDS_S = 45.0
_AFTERWARDS_SHARE = 0.12
"""What settling and checking take: some time, and a part of the time for which there was load."""
_START_S = 30.0
"""What brokers, registry and processes take to start."""


@dataclass
class Outcome:
    """What came of one ground or of all. found: of the checker; empty when it did not come to its end."""

    rows: list[table.Row] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    trouble: list[str] = field(default_factory=list)
    interrupted: bool = False

    def add(self, other: "Outcome") -> None:
        self.rows += other.rows
        self.counts += other.counts
        self.findings += other.findings
        self.ended += other.ended
        self.trouble += other.trouble
        self.interrupted |= other.interrupted


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing lost, nothing doubled, nothing wrong."""
    began = time.monotonic()
    asked = _arguments(arguments)
    faults = chosen(asked.only)
    end_leftovers()
    outcome = Outcome()
    for brokers in (3, 1):
        these = [fault for fault in faults if fault.brokers == brokers]
        later = [fault for fault in faults if fault.brokers < brokers]
        turns = per_ground(asked.injections, must=asked.must) if these else []
        for number, least in enumerate(turns, 1):
            if outcome.interrupted:
                outcome.rows += [_row(None, fault, Tally(), {}) for fault in these]
                continue
            left = asked.minutes * 60 - (time.monotonic() - began)
            seconds = share(left, these, later) / (len(turns) - number + 1)
            keep = asked.keep / f"{brokers}-{number}" if asked.keep else None
            plan = Plan(least, seconds, asked.must)
            try:
                outcome.add(_on_ground(brokers, these, asked, plan, asked.seed + number - 1, keep))
            except Exception as error:  # what other grounds showed is not to be lost by it
                _say("".join(traceback.format_exception(error)))
                outcome.trouble.append(f"a ground with {brokers} broker(s) could not be finished: {error!r}")
            except KeyboardInterrupt:  # it was coming up, or was told a second time
                outcome.trouble.append(f"a ground with {brokers} broker(s) was given up, unchecked")
                outcome.interrupted = True
    return _conclude(outcome, asked, time.monotonic() - began)


def per_ground(injections: int, *, must: bool) -> list[int]:
    """The injections of each fault on each ground; one ground when the time alone says how many there are."""
    if not must:
        return [injections]
    return [min(PER_GROUND, injections - done) for done in range(0, injections, PER_GROUND)]


def share(left_s: float, these: Sequence[Fault], later: Sequence[Fault]) -> float:
    """Seconds for injections on this ground, of all that are left: starts, checks and later grounds have theirs.

    A fault of three brokers counts twice: they are slow to come back.
    """
    grounds = 2 if later else 1
    left_s = left_s * (1 - _AFTERWARDS_SHARE) - grounds * (_START_S + _AFTERWARDS_S)
    mine, others = (sum(2 if fault.brokers > 1 else 1 for fault in faults) for faults in (these, later))
    return max(0.0, left_s * mine / (mine + others))


def _on_ground(
    brokers: int, faults: Sequence[Fault], asked: argparse.Namespace, plan: Plan, seed: int, keep: Path | None
) -> Outcome:
    """Injections on a ground with so many brokers, quiet, the checker's findings."""
    tally = Tally()
    _say(f"{brokers} broker(s), seed {seed}, {asked.rate:.0f} records/s, {len(faults)} faults")
    with tempfile.TemporaryDirectory(prefix="mandate-faults-") as name:
        directory = Path(name)
        (directory / "stack").mkdir()
        under = ground(directory / "stack", (FEED, SLOW)) if brokers == 1 else cluster(directory / "stack")
        with stage(directory, under, seed, asked.rate) as on:
            try:
                found = _run(on, directory, faults, plan, seed, tally, verifying=asked.verify)
            finally:
                _keep(directory, keep)
            if any(found.get("found", {}).values()):
                _keep_all(directory)
            return Outcome(
                rows=[_row(on, fault, tally, found) for fault in faults],
                counts=Counter(found["counts"] if found else {}),
                findings=[Finding(*finding) for list_ in found.get("found", {}).values() for finding in list_],
                ended=Counter(on.cast.ended()),
                trouble=tally.trouble + on.trouble,
                interrupted=on.interrupted,
            )


def _run(
    on: Stage, directory: Path, faults: Sequence[Fault], plan: Plan, seed: int, tally: Tally, *, verifying: bool
) -> dict[str, Any]:
    def look(fault: Fault) -> None:
        if verifying and not on.over.is_set() and (told := _rows_that_differ(on)):
            tally.trouble.append(f"rows differ since {fault.name}\n{told}")
            on.over.set()

    with _listening(on):
        on.begin()
        Run(on, faults, plan, seed, tally, _say, look).inject_all()
        _say("injections are over; waiting until everything is dealt with")
        on.load.label = "calm"
        on.heal()
        tally.trouble += on.quieten()
        tally.trouble += [f"{name} never came about" for name in tally.vain if not tally.injections[name]]
        return _check(on, directory, tally)


def _rows_that_differ(on: Stage) -> str:
    """What `mandate state verify --all` finds now; nothing when the rows are right, or the cluster can't be asked."""
    command = [sys.executable, "-m", "deploy.cli", "state", "verify", "--all"]
    env = {**os.environ, **on.settings.to_env(), "MANDATE_CONFIG": ""}
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    return done.stdout if done.returncode == DIFFERENT else ""


def chosen(only: str | None) -> list[Fault]:
    """The faults of that name, separated by commas; all of them without."""
    names = [name.strip() for name in only.split(",")] if only else [fault.name for fault in FAULTS]
    unknown = set(names) - {fault.name for fault in FAULTS}
    if unknown:
        raise SystemExit(f"no fault {', '.join(sorted(unknown))}; there are {', '.join(f.name for f in FAULTS)}")
    return [fault for fault in FAULTS if fault.name in names]


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="time in all, start and checks with it; default 10")
    parser.add_argument(
        "--injections",
        type=int,
        help="of each fault, whatever the time; default 20 from an hour on, else as time allows",
    )
    parser.add_argument("--only", help="names of faults, separated by commas: " + ", ".join(f.name for f in FAULTS))
    parser.add_argument("--seed", type=int, default=0, help="of load, moments and choices; default 0")
    parser.add_argument("--rate", type=float, default=RATE, help=f"records a second; default {RATE:.0f}")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    parser.add_argument(
        "--verify", action="store_true", help="fold every lead again after each injection; end where a row differs"
    )
    parser.add_argument("--keep", type=Path, help="a directory for the processes' output and the findings")
    asked = parser.parse_args(given)
    asked.must = asked.injections is not None or asked.minutes >= 60
    asked.injections = asked.injections or (20 if asked.minutes >= 60 else 1)
    return asked


@contextmanager
def _listening(on: Stage) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the injections and keep from a next ground; the second one ends all, checks too."""

    def stop(number: int, frame: FrameType | None) -> None:
        if on.interrupted:
            raise KeyboardInterrupt
        on.interrupted = True
        _say("ending; Ctrl-C once more ends it at once")
        on.over.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check(on: Stage, directory: Path, tally: Tally) -> dict[str, Any]:
    """Findings of the checker, which is a program of its own."""
    on.write_notes(directory / "notes")
    command = [sys.executable, "-m", "tests.faults.checker", str(directory / "notes")]
    out = directory / "found.json"
    env = {**os.environ, **on.settings.to_env(), "MANDATE_CONFIG": ""}
    # A session of its own: Ctrl-C is the runner's alone.
    subprocess.run([*command, "--json", str(out)], env=env, check=False, start_new_session=True)
    if not out.exists():
        tally.trouble.append("the checker did not come to its end")
        return {}
    found = dict(json.loads(out.read_text()))
    vain = [name for name in ("decisions", "effects", "revocations") if not found["counts"][name]]
    tally.trouble += [f"there were no {name}: the checks say nothing" for name in vain]
    return found


def _row(on: Stage | None, fault: Fault, tally: Tally, found: dict[str, Any]) -> table.Row:
    requests = _requests(on, fault, tally) if on else set()
    stalls = on.stalls(requests) if on and not fault.beside else []
    counted = {kind: _distinct(found, requests, kind) if found else None for kind in ("lost", "doubled", "wrong")}
    return table.Row(
        title=f"{fault.name}: {fault.title}",
        injections=tally.injections[fault.name],
        requests=len(requests),
        worst_stall_s=max(stalls, default=None),
        rescued=tally.rescued[fault.name],
        **counted,
    )


def _requests(on: Stage, fault: Fault, tally: Tally) -> set[str]:
    """Those sent while it was being injected; of one that goes on beside others, those acknowledged meanwhile."""
    known = on.load.acknowledged
    if not fault.beside:
        return {request for request in known if request.startswith(f"{fault.name}/")}
    spans = tally.spans.get(fault.name, [])
    return {request for request, at in known.items() if any(began <= at <= ended for began, ended in spans)}


def _distinct(found: dict[str, Any], requests: set[str], kind: str) -> int:
    """Those of the requests that something of this kind was found about."""
    findings = (finding for list_ in found["found"].values() for finding in list_)
    return len({request for k, request, _ in findings if k == kind and request in requests})


def _conclude(outcome: Outcome, asked: argparse.Namespace, took_s: float) -> int:
    rows = table.total(outcome.rows)
    print("\n" + table.plain(rows))
    for line in outcome.trouble:
        print(f"TROUBLE: {line}")
    for finding in outcome.findings[:SHOWN]:
        print(f"FOUND: {finding.text} ({finding.kind})")
    ended = {name: count for name, count in outcome.ended.items() if count}
    if ended:
        print("ended by themselves and were started again: " + ", ".join(f"{n} {c}×" for n, c in ended.items()))
    not_injected = [row.title.partition(":")[0] for row in rows if not row.injections]
    if not_injected:
        print(f"no time for: {', '.join(not_injected)}")
    kinds_found = Counter(finding.kind for finding in outcome.findings)
    findings = ", ".join(f"{kind} {count}" for kind, count in kinds_found.items()) or "none"
    if asked.write and outcome.counts:
        facts = {
            "command": f"`python -m tests.faults --minutes {asked.minutes:g} --seed {asked.seed}`"
            + (", ended by Ctrl-C" if outcome.interrupted else ""),
            "when": f"{datetime.now(UTC):%Y-%m-%d}, {took_s / 60:.0f} minutes in all",
            "machine": f"{os.cpu_count()} cores shared with brokers, registry and load",
            "load": f"{asked.rate:g} records a second",
            "checked": ", ".join(f"{value:,} {name}" for name, value in outcome.counts.items()),
            "findings of the checker in all": findings,
        }
        table.write(table.markdown(rows, facts))
    injected = sum(row.injections for row in rows)
    is_good = injected > 0 and bool(outcome.counts) and not outcome.findings and not outcome.trouble
    kinds = len(rows) - len(not_injected)
    print(
        f"{'passed' if is_good else 'FAILED'}: {injected} injections of {kinds} faults, "
        f"{outcome.counts['requests']} requests, findings: {findings}; {took_s:.0f} s"
    )
    return 0 if is_good else 1


def _keep_all(directory: Path) -> None:
    """What a finding can be explained by: the brokers' logs, states, stores and notes."""
    place = FOUND / datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S")
    shutil.copytree(directory, place, ignore_dangling_symlinks=True)
    _say(f"everything that this ground left is in {place}")


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
