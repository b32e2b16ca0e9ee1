"""The clock port: where the journal's time comes from.

Intake and ticks are stamped by it, nothing else reads a clock. Two implementations: the system clock, and a
driven clock for replays, tests and the demo, which shows hours of calls in a minute.
"""

import threading
import time
import weakref
from typing import TYPE_CHECKING, Protocol

from schemas.records import ClockReading, TimeUs
from streams import Broken, end_process
from streams.broker_time import MAX_SKEW_S
from streams.kafka import CHECK_BROKERS, follow
from streams.registry import connect

if TYPE_CHECKING:
    from deploy.settings import Settings

DRIVEN_TOPIC = "clock.driven"
_MS = 1000
_CATCH_UP_S = 30.0
_MAX_STEP_NS = round(MAX_SKEW_S * 1_000_000_000)


class Clock(Protocol):
    """Journal time now, in microseconds since 1970, whole milliseconds; may be read from any thread."""

    def now(self) -> TimeUs:
        """The time; a system clock may step back by a little, a driven one never does. Raises Broken."""

    def observe(self, at: TimeUs) -> None:
        """Says that a record of this time was seen; moves a driven clock, and nothing else."""

    def close(self) -> None:
        """Ends what follows the time for it: a driven one stands from here on."""


class SystemClock:
    """The machine's wall clock, as long as nobody sets it.

    Once it was set by more than a second since this object was made, `now` raises Broken: whatever is stamped from
    there on would be wrong by as much. The start that follows compares with the broker's clock.
    """

    def __init__(self) -> None:
        self._steady_began_at = time.time_ns() - time.monotonic_ns()

    def now(self) -> TimeUs:
        # Twice, for the process may be paused between two readings.
        before = time.monotonic_ns()
        at = time.time_ns()
        after = time.monotonic_ns()
        early, late = self._steady_began_at + before - at, at - after - self._steady_began_at
        if early > _MAX_STEP_NS or late > _MAX_STEP_NS:
            raise Broken(
                f"This machine's clock was set {'back' if early > 0 else 'forward'} by {max(early, late) / 1e9:.1f} s.",
                "Check time synchronisation (NTP), then start it again.",
            )
        return at // 1_000_000 * _MS

    def observe(self, at: TimeUs) -> None:
        return

    def close(self) -> None:
        return


class DrivenClock:
    """Stream time: the latest time that was observed; 0 until then."""

    def __init__(self) -> None:
        self._at: TimeUs = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def now(self) -> TimeUs:
        return self._at

    def observe(self, at: TimeUs) -> None:
        whole = at // _MS * _MS
        with self._lock:
            self._at = max(self._at, whole)

    def close(self) -> None:
        self._closed.set()

    @property
    def is_closed(self) -> bool:
        """Whether nobody wants to hear of the time any more."""
        return self._closed.is_set()


def make_clock(settings: "Settings") -> Clock:
    """The clock that the settings name. A driven one follows the topic clock.driven from here on."""
    if settings.clock == "system":
        return SystemClock()
    clock = DrivenClock()
    follow_readings(settings, clock)
    return clock


def follow_readings(settings: "Settings", clock: DrivenClock) -> None:
    """Feeds the clock with what clock.driven holds, then, in a daemon thread, with what comes, until it is closed.

    A reading that can't be read ends the process: a clock that silently stands still would stop every timer.
    """
    codec = connect(settings)
    caught_up = threading.Event()
    # The thread ends with the clock too: who only wanted to know the time leaves nobody behind who follows it.
    followed = weakref.ref(clock)

    def is_over() -> bool:
        known = followed()
        return known is None or known.is_closed

    def run() -> None:
        try:
            for message in follow(settings, [DRIVEN_TOPIC], ready=caught_up.set, stop=is_over):
                reading = codec.decode(ClockReading, message.value())
                if (told := followed()) is not None:
                    told.observe(reading.at)
                del told
        except Exception as error:
            end_process(error)

    threading.Thread(target=run, name=DRIVEN_TOPIC, daemon=True).start()
    if not caught_up.wait(_CATCH_UP_S):
        raise Broken(f"{DRIVEN_TOPIC} could not be read within {_CATCH_UP_S:.0f} s.", CHECK_BROKERS)
