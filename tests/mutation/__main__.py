"""Runs the mutation check: `python -m tests.mutation [--all | --sample N] [--module NAME] [--seed N] [--minutes N]`.

Prints what survived, what of it is dangerous, and the counts; 1 when one is dangerous.
"""

import argparse
import gc
import os
import sys
import time
from collections import Counter
from random import Random

from tests.mutation.cases import cases, watch
from tests.mutation.mutants import GOVERNANCE, Mutant, mutants_of
from tests.mutation.oracle import WORLDS, journals
from tests.mutation.patch import load
from tests.mutation.trial import Bench, Fate, Trial, apart, try_all

SAMPLE = 300
MINUTES = 15


def main() -> int:
    """Tries the mutants that were asked for."""
    asked = _asked()
    begun = time.monotonic()
    mutants = _chosen(asked)
    print(
        f"{len(mutants)} mutants of {len(asked.module or GOVERNANCE)} modules; about {_minutes(mutants)} minutes",
        flush=True,
    )
    bench = _prepare(asked.worlds)
    print(
        f"{len(bench.cases)} cases, {len(bench.journals)} journals, after {time.monotonic() - begun:.0f} s", flush=True
    )
    trials = []
    minutes = asked.minutes or (24 * 60 if asked.all else MINUTES)
    for mutant, trial in try_all(bench, mutants, asked.workers, minutes):
        trials.append((mutant, trial))
        if trial.fate in (Fate.SURVIVED, Fate.DANGEROUS) or asked.verbose:
            print(f"{trial.fate:9} {mutant}{' | ' if trial.by else ''}{trial.by}", flush=True)
        elif len(trials) % 50 == 0:
            print(f"... {len(trials)} of {len(mutants)} after {time.monotonic() - begun:.0f} s", flush=True)
    if len(trials) < len(mutants):
        print(f"{len(mutants) - len(trials)} mutants were not begun: {minutes:g} minutes were over")
    return _sum_up(trials, time.monotonic() - begun)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every mutant, not a sample")
    parser.add_argument("--sample", type=int, default=SAMPLE, help="how many, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--module", action="append", choices=GOVERNANCE, help="of this module only; may be repeated")
    parser.add_argument("--line", type=int, action="append", help="at this line only; may be repeated")
    parser.add_argument("--worlds", type=int, default=WORLDS, help="journals drawn by chance to judge survivors by")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, help="begin no other after so long; default 15, for --all no limit")
    parser.add_argument("--verbose", action="store_true", help="tell the killed ones too")
    return parser.parse_args()


def _chosen(asked: argparse.Namespace) -> list[Mutant]:
    found = [mutant for module in asked.module or GOVERNANCE for mutant in mutants_of(module)]
    if asked.line:
        return [mutant for mutant in found if mutant.line in asked.line]
    if asked.all or asked.sample >= len(found):
        return found
    return sorted(Random(asked.seed).sample(found, asked.sample), key=found.index)


def _minutes(mutants: list[Mutant]) -> int:
    return 2 + len(mutants) // 40


def _prepare(worlds: int) -> Bench:
    all_cases = cases()
    modules = load()
    files = frozenset(str(module.__file__) for module in modules.values())
    seen, known = apart(lambda: watch(all_cases, files), lambda: journals(worlds))
    bench = Bench(modules, all_cases, seen, known)
    gc.freeze()
    return bench


def _sum_up(trials: list[tuple[Mutant, Trial]], seconds: float) -> int:
    count = Counter(trial.fate for _, trial in trials)
    survived = count[Fate.SURVIVED] + count[Fate.DANGEROUS]
    print(
        f"{len(trials)} mutants: {count[Fate.KILLED]} killed, {survived} survived, {count[Fate.DANGEROUS]} of them "
        f"dangerous, {count[Fate.NOT_TRIED]} not tried, in {seconds:.0f} s"
    )
    return 1 if count[Fate.DANGEROUS] else 0


if __name__ == "__main__":
    sys.exit(main())
