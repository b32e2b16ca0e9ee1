"""The system clock of intake, workers and sinks: it is the machine's until somebody sets that one."""

import threading
import time
from types import SimpleNamespace

import pytest

from deploy.settings import Settings
from streams import Broken, clock
from streams.clock import DRIVEN_TOPIC, SystemClock, make_clock

HOUR_NS = 3_600 * 1_000_000_000


class Machine:
    """A machine's two clocks by hand: the wall clock can be set, the steady one can't."""

    def __init__(self) -> None:
        self.wall = 1_795_000_000 * 1_000_000_000
        self.steady = 5_000_000_000
        self.paused_for = 0

    def pass_by(self, seconds: float) -> None:
        self.wall += round(seconds * 1e9)
        self.steady += round(seconds * 1e9)

    def time_ns(self) -> int:
        self.pass_by(self.paused_for)
        self.paused_for = 0
        return self.wall

    def monotonic_ns(self) -> int:
        return self.steady


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(clock, "time", SimpleNamespace(time_ns=made.time_ns, monotonic_ns=made.monotonic_ns))
    return made


def test_the_system_clock_tells_whole_milliseconds_of_the_machines_time() -> None:
    before = time.time_ns() // 1000
    told = SystemClock().now()
    assert before - 1000 <= told <= time.time_ns() // 1000
    assert told % 1000 == 0


@pytest.mark.parametrize(("set_by_ns", "how"), [(HOUR_NS, "forward by 3600.0 s"), (-HOUR_NS, "back by 3600.0 s")])
def test_a_clock_that_is_set_by_an_hour_tells_no_time_any_more(machine: Machine, set_by_ns: int, how: str) -> None:
    system = SystemClock()
    machine.pass_by(10)
    assert system.now() == machine.wall // 1000
    machine.wall += set_by_ns
    for _ in range(2):
        with pytest.raises(Broken, match=how):
            system.now()
    machine.wall -= set_by_ns
    assert system.now() == machine.wall // 1000


def test_a_clock_that_is_put_right_by_less_than_a_second_goes_on(machine: Machine) -> None:
    system = SystemClock()
    machine.wall -= 900_000_000
    assert system.now() == machine.wall // 1000


def test_a_pause_between_two_readings_is_no_step(machine: Machine) -> None:
    system = SystemClock()
    machine.paused_for = 14
    assert system.now() == machine.wall // 1000


@pytest.mark.broker
def test_nobody_follows_a_driven_clock_that_is_not_in_use_any_more(shared_stack: Settings) -> None:
    def followers() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == DRIVEN_TOPIC]

    before = set(followers())
    driven = make_clock(shared_stack.model_copy(update={"clock": "driven"}))
    (mine,) = set(followers()) - before
    driven.now()
    assert mine.is_alive()
    del driven
    mine.join(10)
    assert not mine.is_alive()
