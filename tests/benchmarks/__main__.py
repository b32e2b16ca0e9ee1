"""`python -m tests.benchmarks`: latency and throughput of the real processes beside the broker, and of their peer.

`core` measures the pure core alone; `overload` sends more than can be judged, for `--minutes`; `revocation` measures
from the event that revokes to the refusal at an enforcer; `scale` what grows with workers and leads; `recovery`
how soon control judges again. Figures go to `var/bench/` and, as tables, to stdout.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from streams.registry import connect
from tests.benchmarks import core, judging, overload, recovery, report, revocation, scale, scale_tables
from tests.benchmarks.measure import Plan, latencies, throughput, warm_up
from tests.benchmarks.systems import PEER_PYTHON, ROOT, System, broker, mandate, peer

OUT = ROOT / "var" / "bench"
KEPT_VARIABLES = {"MANDATE_CACHE_DIR", "MANDATE_MAVEN_URL"}
WITHIN_S = 400.0  # for the rounds of latency; those with backlogs take two minutes more
FULL = Plan(
    leads=500,
    rates=(200, 1_000),
    seconds=(12.0, 10.0),
    warm_s=2.0,
    opening_rate=1_500,
    backlog=20_000,
    compile_s=60.0,
    rest_s=66.0,
    backlogs=2,
)
QUICK = Plan(
    leads=200, rates=(200, 1_000), seconds=(5.0, 5.0), warm_s=1.0, opening_rate=1_500, backlog=6_000, compile_s=5.0
)


def main() -> int:
    """0: measured; 1: a system failed while it was measured, or the core did not keep its limits."""
    arguments = _arguments()
    # Nobody's own settings: what is measured is what ships.
    for name in [name for name in os.environ if name.startswith("MANDATE_") and name not in KEPT_VARIABLES]:
        del os.environ[name]
    os.environ["MANDATE_CONFIG"] = ""
    signal.signal(signal.SIGTERM, _interrupted)
    OUT.mkdir(parents=True, exist_ok=True)
    if arguments.what == "core":
        return _measure_core(quick=arguments.quick)
    if arguments.what in ("overload", "revocation"):
        return _measure_alone(arguments)
    if arguments.what == "scale":
        return _measure_scale(quick=arguments.quick)
    if arguments.what == "recovery":
        return _measure_recovery(quick=arguments.quick)
    systems = [mandate(arguments.partitions)]
    if arguments.peer.is_file():
        systems.append(peer(arguments.peer))
    else:
        print(f"No peer: there is no {arguments.peer}; `make bench` makes it.", file=sys.stderr)
    rounds = 1 if arguments.quick else arguments.rounds
    found = _run(systems, QUICK if arguments.quick else FULL, rounds, WITHIN_S, arguments.partitions)
    _write(found, "report.json")
    print(report.show(found))
    print(f"\n{OUT.relative_to(ROOT)}/report.json has the details; docs/performance.md says how it was measured.")
    return 0


def _measure_core(*, quick: bool) -> int:
    """The judgement by itself, held against its limits, and what an entry costs from end to end of the core."""
    judged = judging.measure(2_000 if quick else 20_000)
    entries = core.measure(5_000 if quick else 20_000)
    _write({"judging": judged, "entries": entries}, "core.json")
    print(judging.show(judged), core.show(entries), sep="\n\n")
    missed = judging.missed(judged)
    for sentence in missed:
        print(f"NOT HELD: {sentence}", file=sys.stderr)
    return 1 if missed else 0


def _measure_scale(*, quick: bool) -> int:
    """What grows with workers and with leads, on three brokers one after the other."""
    with _scratch() as data_dir:
        found = scale.measure(data_dir, OUT / "logs", _say, scale.QUICK if quick else scale.FULL)
    _write({"machine": report.machine(), **found}, "scale.json")
    print(scale_tables.show(found))
    return 0


def _measure_recovery(*, quick: bool) -> int:
    """How soon control judges again, on three brokers one after the other."""
    with _scratch() as data_dir:
        found = recovery.measure(data_dir, OUT / "logs", _say, recovery.QUICK if quick else recovery.FULL)
    _write({"machine": report.machine(), **found}, "recovery.json")
    print(recovery.show(found))
    return 1 if recovery.missed(found) else 0


def _measure_alone(arguments: argparse.Namespace) -> int:
    """Mandate alone, on a broker of its own."""
    with _scratch() as data_dir, broker(data_dir, _say, arguments.partitions) as kafka:
        codec = connect(kafka.settings)
        _say(f"measuring {arguments.what}")
        logs = OUT / "logs"
        if arguments.what == "overload":
            plan = overload.QUICK if arguments.quick else overload.PLAN
            minutes, factor = arguments.minutes, arguments.factor
            found = overload.measure(kafka, codec, logs, minutes=minutes, factor=factor, plan=plan)
            shown = overload.show(found)
        else:
            seconds, plan = (5.0, revocation.QUICK) if arguments.quick else (60.0, revocation.PLAN)
            found = revocation.measure(kafka, codec, logs, seconds=seconds, rate=arguments.rate, plan=plan)
            shown = revocation.show(found)
    _write({"machine": report.machine(), **found}, f"{arguments.what}.json")
    print(shown)
    return 1 if "GROWS" in shown or "NOT HELD" in shown else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    choices = ("all", "core", "overload", "revocation", "scale", "recovery")
    parser.add_argument("what", nargs="?", choices=choices, default="all")
    parser.add_argument("--quick", action="store_true", help="one short round: to see that it works")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of latency of each system, in turns")
    parser.add_argument("--peer", type=Path, default=PEER_PYTHON, help="Python of the peer's virtual environment")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long overload goes on")
    parser.add_argument("--factor", type=float, default=2.0, help="overload: times the sustained rate")
    parser.add_argument(
        "--partitions",
        type=int,
        default=1,
        help="of the one worker, but for scale and recovery; each costs every event",
    )
    parser.add_argument("--rate", type=int, default=revocation.RATE, help="revocation: events a second beside it")
    return parser.parse_args()


def _run(systems: list[System], plan: Plan, rounds: int, within_s: float, partitions: int) -> dict[str, Any]:
    """Rounds of latency in turns, one that would not end in time left out; then those with backlogs."""
    about = {
        "machine": report.machine(),
        "plan": plan._asdict(),
        "asked_rounds": rounds,
        "partitions": partitions,
    }
    measured: dict[str, dict[str, list[Any]]] = {system.name: {"latency": [], "backlog": []} for system in systems}
    began, longest = time.monotonic(), 0.0
    with _scratch() as data_dir, broker(data_dir, _say, partitions) as kafka:
        codec = connect(kafka.settings)
        _say("warming up")
        opened_at = {systems[0].name: time.monotonic()}
        warm_up(systems[0], kafka, codec, plan, logs=OUT / "logs")
        for number in range(1, rounds + 1):
            if time.monotonic() - began + longest > within_s:
                _say(f"round {number} is left out: it would not end within {within_s:.0f} s")
                break
            started = time.monotonic()
            for system in systems:
                _wait_until(opened_at.get(system.name, 0.0) + plan.rest_s)
                opened_at[system.name] = time.monotonic()
                _say(f"round {number} of {rounds}: {system.name}")
                found = latencies(system, kafka, codec, plan, logs=OUT / "logs", number=number)
                measured[system.name]["latency"].append(found)
            longest = max(longest, time.monotonic() - started)
        for number in range(rounds + 1, rounds + 1 + plan.backlogs):
            for system in systems if number % 2 else reversed(systems):
                _say(f"backlogs {number - rounds} of {plan.backlogs}: {system.name}")
                found = throughput(system, kafka, codec, plan, logs=OUT / "logs", number=number)
                measured[system.name]["backlog"] += found
    return {**about, "took_s": round(time.monotonic() - began), **report.summary(measured)}


def _wait_until(at: float) -> None:
    wait_s = at - time.monotonic()
    if wait_s > 0:
        _say(f"waiting {wait_s:.0f} s: the grants of the last opening end")
        time.sleep(wait_s)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A directory for the data of brokers; gone afterwards."""
    data_dir = OUT / f"run-{os.getpid()}"
    try:
        yield data_dir
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _write(found: dict[str, Any], name: str) -> None:
    (OUT / name).write_text(json.dumps(found, indent=1) + "\n")


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
