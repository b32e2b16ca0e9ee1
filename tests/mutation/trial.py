"""One mutant, tried in a process of its own, and many of them side by side."""

import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any, NamedTuple, cast

from tests.mutation.cases import Case, Seen, ask
from tests.mutation.mutants import Mutant
from tests.mutation.oracle import Journal, danger
from tests.mutation.patch import NotAppliedError, apply

LIMIT_S = 120
"""A mutant that takes longer hangs, and a worker that hangs is noticed."""
_FORK = multiprocessing.get_context("fork")


class Fate(StrEnum):
    """What became of a mutant. Dangerous ones survived too, and a journal shows what they permit."""

    KILLED = "killed"
    SURVIVED = "survived"
    DANGEROUS = "dangerous"
    NOT_TRIED = "not tried"


class Trial(NamedTuple):
    """A mutant's fate. by: the case that noticed it, or the journal that shows the danger, or why it was not tried."""

    fate: Fate
    by: str


class Bench(NamedTuple):
    """What mutants are tried against."""

    modules: dict[str, ModuleType]
    cases: list[Case]
    seen: dict[str, Seen]
    journals: list[Journal]


def apart(*calls: Callable[[], Any]) -> list[Any]:
    """Answers of calls, each made in a process of its own, side by side: what they remember stays there."""
    return [reader.recv() for reader in [_begun(call) for call in calls]]


def _begun(call: Callable[[], Any]) -> Connection:
    reader, writer = _FORK.Pipe(duplex=False)
    cast(Any, _FORK).Process(target=lambda: writer.send(call())).start()
    writer.close()
    return reader


def try_all(bench: Bench, mutants: list[Mutant], workers: int, minutes: float = 60) -> Iterator[tuple[Mutant, Trial]]:
    """Tries mutants side by side; each with its fate, as they end. After so many minutes no other is begun."""
    until = time.monotonic() + minutes * 60
    good: Counter[tuple[str, str, str]] = Counter()
    waiting = list(reversed(mutants))
    running: dict[Connection, tuple[Mutant, Any]] = {}
    while waiting or running:
        if time.monotonic() > until:
            waiting.clear()
        while waiting and len(running) < workers:
            mutant = waiting.pop()
            reader, process = _start(bench, mutant, good)
            running[reader] = (mutant, process)
        for ready in wait(list(running)):
            reader = cast("Connection", ready)
            mutant, process = running.pop(reader)
            try:
                trial = cast("Trial", reader.recv())
            except EOFError:
                trial = Trial(Fate.KILLED, "it hangs or ends the process")
            reader.close()
            process.join()
            if trial.fate is Fate.KILLED:
                good[mutant.module, mutant.function, trial.by] += 1
            yield mutant, trial


def _start(bench: Bench, mutant: Mutant, good: Counter[tuple[str, str, str]]) -> tuple[Connection, Any]:
    ordered = _in_order(bench, mutant, good)
    reader, writer = _FORK.Pipe(duplex=False)
    process = cast(Any, _FORK).Process(target=_try, args=(bench, mutant, ordered, writer))
    process.start()
    writer.close()
    return reader, process


def _in_order(bench: Bench, mutant: Mutant, good: Counter[tuple[str, str, str]]) -> list[Case]:
    """Cases that run through the mutant's function, those that will notice it soonest first; all, when none does."""
    file = bench.modules[mutant.module].__file__
    through = [
        case
        for case in bench.cases
        if any(place.file == file and _is_in(place.name, mutant.function) for place in bench.seen[case.name].places)
    ]
    return sorted(
        through or bench.cases,
        key=lambda case: (-good[mutant.module, mutant.function, case.name], bench.seen[case.name].seconds),
    )


def _is_in(name: str, function: str) -> bool:
    return not function or name == function or name.startswith(f"{function}.<locals>")


def _try(bench: Bench, mutant: Mutant, ordered: list[Case], answer: Connection) -> None:
    signal.alarm(LIMIT_S)
    answer.send(_fate(bench, mutant, ordered))


def _fate(bench: Bench, mutant: Mutant, ordered: list[Case]) -> Trial:
    try:
        apply(mutant, bench.modules[mutant.module])
    except NotAppliedError as error:
        return Trial(Fate.NOT_TRIED, str(error))
    except Exception as error:  # a constant that can't be made: the module would not load
        return Trial(Fate.KILLED, f"import: {error}")
    for case in ordered:
        if ask(case):
            return Trial(Fate.KILLED, case.name)
    try:
        found = danger(bench.journals)
    except Exception as error:  # the worker would end
        return Trial(Fate.KILLED, f"journal: {type(error).__name__}: {error}")
    return Trial(Fate.DANGEROUS, found) if found else Trial(Fate.SURVIVED, "")
