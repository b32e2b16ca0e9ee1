"""Moves journal time: hours of calls in a minute, and the same story on any machine.

Scripts are coroutines. Time stands still while any of them does something, such as waiting for a verdict; when all
sleep, it leaps to the next wake-up, and the stage catches up before anybody wakes. A script that waits out a DEFER
holds no time back until the defer's deadline.
"""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from deploy.demo.emission import Emission
from deploy.demo.times import BEAT, SECOND, beat_at_or_after
from schemas.records import TimeUs

T = TypeVar("T")
_AWAITED_S = 1.0
"""How long an end that may come now is awaited, by the wall clock; it may also not come yet."""


class Stage(Protocol):
    """Where the play is given: real topics, or memory in tests of the corpus."""

    async def advance(self, emissions: Sequence[Emission], to: TimeUs, *, wholly: bool = False) -> None:
        """Sends the records in order and moves the driven clock; returns when they are in the journal.

        Control is then at most a beat behind; `wholly`: a second at most, and what follows from it is published.
        """

    async def in_journal(self, entry_id: str) -> None:
        """Returns when the journal holds this entry."""

    async def case_of(self, lead_id: str) -> str:
        """Id of the case that is open for a lead; returns when there is one."""


class Conductor:
    """The one clock of a play. Not thread-safe: everything runs on one loop."""

    def __init__(self, stage: Stage, start: TimeUs, moved: Callable[[TimeUs], None] = lambda _: None) -> None:
        self.stage = stage
        self.now = start
        self._moved = moved
        self._emissions: list[tuple[TimeUs, int, Emission]] = []
        self._sleepers: list[tuple[TimeUs, int, asyncio.Future[None]]] = []
        self._parked: dict[int, tuple[TimeUs, ...]] = {}
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failed: list[BaseException] = []
        self._running = 0
        self._stirred = False
        self._changed = asyncio.Event()
        self._standing = asyncio.Event()
        self._standing.set()

    # --- for scripts
    def schedule(self, emissions: Iterable[Emission]) -> None:
        """Has records sent when their time comes."""
        for emission in emissions:
            heapq.heappush(self._emissions, (max(emission.at, self.now), next(self._numbers), emission))

    def spawn(self, script: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Starts a script."""
        task = asyncio.create_task(script)
        self._running += 1
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def sleep_until(self, at: TimeUs) -> None:
        """Sleeps until the first beat at or after a time."""
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (max(beat_at_or_after(at), self.now), next(self._numbers), wake))
        self._pause(1)
        await wake  # the conductor has counted this script in again

    async def parked(self, awaited: Awaitable[T], *moments: TimeUs) -> T:
        """Waits for something that only time or others bring, at the latest at the last of these moments."""
        number = next(self._numbers)
        # Ticks come at most once a second: one after the moment has come by then.
        self._parked[number] = tuple(beat_at_or_after(moment + SECOND) for moment in moments)
        self._pause(1)
        try:
            return await awaited
        finally:
            self._running += 1
            del self._parked[number]
            self._changed.set()
            await self._standing.wait()  # nobody acts while time moves

    async def joined(self, task: "asyncio.Task[T]") -> T:
        """Waits for another script."""

        def count_in(_: "asyncio.Task[T]") -> None:
            self._running += 1

        # When the other ends, this one is counted in before the conductor hears of it: no time passes between.
        task.add_done_callback(count_in)
        self._pause(1)
        return await asyncio.shield(task)

    # --- the play
    async def play(self) -> None:
        """Runs until every script has ended and everything is sent; raises what a script raised."""
        try:
            while True:
                await self._all_wait()
                at = self._next()
                if at is None:
                    return
                await self._go_to(at)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _go_to(self, at: TimeUs) -> None:
        # Before a leap, what happens now may still end somebody's wait: one beat, and everything is known.
        leap = bool(self._stirred and self._parked and at > self.now + BEAT)
        to = beat_at_or_after(self.now + 1) if leap else at
        emissions = self._take_emissions(to)
        ends = any(to in stops for stops in self._parked.values())
        self._standing.clear()
        await self.stage.advance(emissions, to, wholly=leap or ends)
        self.now = to
        self._standing.set()
        self._moved(to)
        self._stirred = bool(emissions)
        self._wake(to)
        await self._await_ends(to)

    async def _await_ends(self, now: TimeUs) -> None:
        """Gives those a moment whose wait may end at this time."""
        due = {number for number, stops in self._parked.items() if now in stops}
        try:
            async with asyncio.timeout(_AWAITED_S):
                while due & self._parked.keys():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    async def _all_wait(self) -> None:
        while True:
            if self._failed:
                raise self._failed[0]
            overdue = any(stops[-1] <= self.now for stops in self._parked.values())
            if self._running == 0 and not overdue:
                return
            self._stirred = True
            self._changed.clear()
            await self._changed.wait()

    def _next(self) -> TimeUs | None:
        times = [stop for stops in self._parked.values() for stop in stops if stop > self.now]
        times += [self._sleepers[0][0]] if self._sleepers else []
        if not times and self._emissions:
            times = [beat_at_or_after(self._emissions[-1][0])]
        return min(times, default=None)

    def _take_emissions(self, until: TimeUs) -> list[Emission]:
        taken = []
        while self._emissions and self._emissions[0][0] <= until:
            taken.append(heapq.heappop(self._emissions)[2])
        return taken

    def _wake(self, at: TimeUs) -> None:
        while self._sleepers and self._sleepers[0][0] <= at:
            self._running += 1
            self._stirred = True
            heapq.heappop(self._sleepers)[2].set_result(None)

    def _pause(self, count: int) -> None:
        self._running -= count
        self._changed.set()

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed.append(error)
        self._pause(1)
