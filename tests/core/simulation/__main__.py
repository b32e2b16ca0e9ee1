"""`python -m tests.core.simulation`: as many steps as asked for, in several processes, from one seed.

Prints the seed of each world in which an invariant breaks, and writes the world, shrunk, to `var/soak/`: as a scenario,
and as a journal for `mandate decide`. The same seed gives the same worlds.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path

from schemas.jsonio import to_json
from tests.core.simulation.retelling import retell
from tests.core.simulation.shrink import A_WORLD, Done, Failure, plan_of, play, play_seed, shrink

ROOT = Path(__file__).parents[3]


def main() -> int:
    """0: every invariant held. 1: one did not."""
    arguments = _arguments()
    worlds = -(-arguments.steps // A_WORLD)
    seeds = range(arguments.seed, arguments.seed + worlds)
    began, broken, seen = time.monotonic(), [], Counter[str]()
    with get_context("spawn").Pool(arguments.processes) as pool:
        for number, done in enumerate(pool.imap_unordered(play_seed, seeds, chunksize=4), start=1):
            seen.update(done.seen)
            if done.what:
                broken.append(done.seed)
                _report(done, arguments.out)
            _show(number * A_WORLD, worlds * A_WORLD, began, len(broken))
            if len(broken) >= arguments.failures:
                break
    took = time.monotonic() - began
    _show_seen(seen)
    print(f"{number * A_WORLD:,} steps in {took:.0f} s, seeds {seeds.start} to {seeds.start + number - 1}, ", end="")
    print(f"{len(broken)} worlds broken: {sorted(broken)}" if broken else "every invariant held")
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.core.simulation", description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000, help="moves in all; default 1,000,000")
    parser.add_argument("--seed", type=int, default=0, help=f"first seed; each world of {A_WORLD} moves has the next")
    parser.add_argument("--processes", type=int, default=cpu_count(), help="default: one a core")
    parser.add_argument("--failures", type=int, default=3, help="stop after so many broken worlds")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "soak", help="where broken worlds are written")
    return parser.parse_args()


def _report(done: Done, out: Path) -> None:
    failure = play(plan_of(done.seed, A_WORLD))
    assert failure is not None, f"seed {done.seed} broke an invariant in one process and not in another"
    failure = shrink(failure)
    paths = write(failure, out, done.seed)
    _say(f"\nseed {done.seed}: {done.what[:300]}\n  {len(failure.plan.moves)} moves left, written to {paths[0]}")


def write(failure: Failure, out: Path, seed: int) -> list[Path]:
    """A broken world as a scenario and as journals; where they stand."""
    out.mkdir(parents=True, exist_ok=True)
    scenario = out / f"seed-{seed}.yaml"
    scenario.write_text(retell(failure), encoding="utf-8")
    paths = [scenario]
    for number, line in enumerate(failure.world.lines):
        journal = out / f"seed-{seed}-partition-{number}.jsonl"
        lines = ({"topic": "execution.journal", "value": to_json(entry)} for entry in line.journal)
        journal.write_text(_lines(lines), encoding="utf-8")
        paths.append(journal)
    return paths


def _lines(values: Iterable[object]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def _show(steps: int, of: int, began: float, broken: int) -> None:
    """A bar for a terminal; for a file, a line every tenth."""
    took = time.monotonic() - began
    left = took / steps * (of - steps)
    line = f"{steps:>9,} of {of:,} steps, {steps / took:,.0f}/s, {left:.0f} s left, {broken} broken"
    if sys.stderr.isatty():
        filled = 30 * steps // of
        sys.stderr.write(f"\r[{'#' * filled}{'.' * (30 - filled)}] {line}  " + ("\n" if steps >= of else ""))
        sys.stderr.flush()
    elif steps * 10 // of > (steps - A_WORLD) * 10 // of:
        _say(line)


def _show_seen(seen: Counter[str]) -> None:
    permits = {name.removeprefix("PERMIT "): count for name, count in seen.items() if name.startswith("PERMIT ")}
    print("permits:", ", ".join(f"{name} {count}" for name, count in sorted(permits.items())))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
