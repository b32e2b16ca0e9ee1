"""The clock port: where the journal's time comes from.

Intake and ticks are stamped by it, nothing else reads a clock. Two implementations: the system clock, and a
driven clock for replays, tests and the demo, which shows hours of calls in a minute.
"""

import threading
import time
from typing import TYPE_CHECKING, Protocol

from schemas.records import ClockReading, TimeUs
from streams import Broken, end_process
from streams.kafka import CHECK_BROKERS, follow
from streams.registry import connect

if TYPE_CHECKING:
    from deploy.settings import Settings

DRIVEN_TOPIC = "clock.driven"
_MS = 1000
_CATCH_UP_S = 30.0


class Clock(Protocol):
    """Journal time now, in microseconds since 1970, whole milliseconds; may be read from any thread."""

    def now(self) -> TimeUs:
        """The time; a system clock may step back, a driven one never does."""

    def observe(self, at: TimeUs) -> None:
        """Says that a record of this time was seen; moves a driven clock, and nothing else."""


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> TimeUs:
        return time.time_ns() // 1_000_000 * _MS

    def observe(self, at: TimeUs) -> None:
        return


class DrivenClock:
    """Stream time: the latest time that was observed; 0 until then."""

    def __init__(self) -> None:
        self._at: TimeUs = 0
        self._lock = threading.Lock()

    def now(self) -> TimeUs:
        return self._at

    def observe(self, at: TimeUs) -> None:
        whole = at // _MS * _MS
        with self._lock:
            self._at = max(self._at, whole)


def make_clock(settings: "Settings") -> Clock:
    """The clock that the settings name. A driven one follows the topic clock.driven from here on."""
    if settings.clock == "system":
        return SystemClock()
    clock = DrivenClock()
    follow_readings(settings, clock)
    return clock


def follow_readings(settings: "Settings", clock: Clock) -> None:
    """Feeds the clock with what clock.driven holds, then, in a daemon thread, with what comes.

    A reading that can't be read ends the process: a clock that silently stands still would stop every timer.
    """
    codec = connect(settings)
    caught_up = threading.Event()

    def run() -> None:
        try:
            for message in follow(settings, [DRIVEN_TOPIC], ready=caught_up.set):
                clock.observe(codec.decode(ClockReading, message.value()).at)
        except Exception as error:
            end_process(error)

    threading.Thread(target=run, name=DRIVEN_TOPIC, daemon=True).start()
    if not caught_up.wait(_CATCH_UP_S):
        raise Broken(f"{DRIVEN_TOPIC} could not be read within {_CATCH_UP_S:.0f} s.", CHECK_BROKERS)
