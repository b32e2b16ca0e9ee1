"""Injections on one ground: the faults in turn, those that go on beside them, and what is counted."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.faults.injections import Fault
from tests.faults.stage import NotInjectedError, Stage

SETTLE_WITHIN_S = 150.0
_VAIN = 3
"""So often in a row a fault may fail to come about; then no more is tried."""

Say = Callable[[str], None]


@dataclass
class Tally:
    """What is counted while injecting. rescued: the state had to be removed by hand. trouble: what did not settle.

    vain: injections that did not come about. spans: when each fault that goes on beside others did, seconds since 1970.
    """

    injections: Counter[str] = field(default_factory=Counter)
    rescued: Counter[str] = field(default_factory=Counter)
    vain: Counter[str] = field(default_factory=Counter)
    spans: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """How often and how long. least: injections of each. seconds: from the first one on.

    must: the number is reached whatever the time; otherwise nothing begins that would usually last past the end.
    """

    least: int
    seconds: float
    must: bool


class Run:
    """The injections of one stage. after: called with the fault once it is got over."""

    def __init__(
        self,
        on: Stage,
        faults: Sequence[Fault],
        plan: Plan,
        seed: int,
        tally: Tally,
        say: Say,
        after: Callable[[Fault], None] = lambda _: None,
    ) -> None:
        self._on = on
        self._faults = faults
        self._plan = plan
        self._order = random.Random(seed)
        self._tally = tally
        self._say = say
        self._after = after
        self._end = time.monotonic() + plan.seconds
        self._beside: dict[str, threading.Thread] = {}
        self._took: dict[str, float] = {}

    def inject_all(self) -> None:
        """Rounds through all faults in an order of their own, until the time is over and each had its number.

        Those that take longer than most sit some rounds out, so that many are done in the time that there is.
        """
        while turn := self._wanted():
            for fault in self._order.sample(turn, len(turn)):
                if self._on.over.is_set() or not self._is_wanted(fault) or self._sits_out(fault):
                    continue
                self._inject(fault)
        for thread in self._beside.values():
            thread.join()

    def _sits_out(self, fault: Fault) -> bool:
        took = self._took.get(fault.name)
        return took is not None and self._order.random() > median(self._took.values()) / took

    def _wanted(self) -> list[Fault]:
        return [] if self._on.over.is_set() else [fault for fault in self._faults if self._is_wanted(fault)]

    def _is_wanted(self, fault: Fault) -> bool:
        tally = self._tally
        if tally.vain[fault.name] >= _VAIN * max(1, self._plan.least):
            return False
        is_enough = tally.injections[fault.name] >= self._plan.least
        usual = median(self._took.values()) if self._took else 0.0
        return time.monotonic() + usual < self._end or (self._plan.must and not is_enough)

    def _inject(self, fault: Fault) -> None:
        """One injection at a random moment, and the wait until it is got over."""
        on, began = self._on, time.monotonic()
        if fault.beside:
            self._begin_beside(fault)
            return
        on.load.label = fault.name
        on.wait(0.2, 1.5)
        try:
            fault.inject(on)
            self._tally.injections[fault.name] += 1
        except NotInjectedError:
            self._tally.vain[fault.name] += 1
        except Exception as error:  # what others find is not to be lost by it
            self._fail(fault, error)
        self._recover(fault)
        self._took[fault.name] = time.monotonic() - began
        left = max(0.0, self._end - time.monotonic()) / 60
        done = sum(self._tally.injections.values())
        self._say(f"{done:>4} injections, {left:.1f} minutes left: {fault.name} {self._took[fault.name]:.1f} s")
        self._after(fault)

    def _fail(self, fault: Fault, error: Exception) -> None:
        """The runner itself is at fault, or the ground: told, and counted as not injected."""
        self._tally.vain[fault.name] += 1
        self._tally.trouble.append(f"{fault.name} could not be injected: {error!r}")

    def _recover(self, fault: Fault) -> None:
        on, tally = self._on, self._tally
        if on.recovered(SETTLE_WITHIN_S) or on.over.is_set():
            return
        self._say(f"not got over within {SETTLE_WITHIN_S:.0f} s; removing the worker's state, as an operator would")
        tally.rescued[fault.name] += 1
        on.remove_state()
        if not on.recovered(SETTLE_WITHIN_S) and not on.over.is_set():
            words = on.last_words()
            tally.trouble.append(f"{fault.name}: nothing is decided any more; injections ended there\n{words}")
            on.over.set()

    def _begin_beside(self, fault: Fault) -> None:
        """Starts it in a thread of its own; one of its kind at a time."""
        if fault.name in self._beside:
            self._beside[fault.name].join()
        apart = self._on.apart()

        def go() -> None:
            began = time.time()
            try:
                fault.inject(apart)
            except Exception as error:
                self._fail(fault, error)
                return
            self._tally.injections[fault.name] += 1
            self._tally.spans.setdefault(fault.name, []).append((began, time.time()))

        self._beside[fault.name] = threading.Thread(target=go, name=fault.name)
        self._beside[fault.name].start()
