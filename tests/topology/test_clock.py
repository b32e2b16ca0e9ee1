"""The system clock of intake, workers and sinks: it is the machine's until somebody sets that one."""

import gc
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy import keys
from deploy.settings import Settings
from sinks import audit, crm
from streams import Broken, clock
from streams.clock import DRIVEN_TOPIC, SystemClock, make_clock
from tests.stacks import followers
from tests.topology.intake_process import intake

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


def _followed(stack: Settings) -> tuple[clock.Clock, threading.Thread]:
    """A driven clock and the thread that follows its topic."""
    before = set(threading.enumerate())
    driven = make_clock(stack.model_copy(update={"clock": "driven"}))
    (mine,) = (thread for thread in set(threading.enumerate()) - before if thread.name == DRIVEN_TOPIC)
    assert mine.is_alive()
    return driven, mine


@pytest.mark.broker
def test_nobody_follows_a_driven_clock_that_is_not_in_use_any_more(shared_stack: Settings) -> None:
    driven, mine = _followed(shared_stack)
    driven.now()
    del driven
    mine.join(10)
    assert not mine.is_alive()


@pytest.mark.broker
def test_nobody_follows_a_driven_clock_that_is_closed(shared_stack: Settings) -> None:
    driven, mine = _followed(shared_stack)
    driven.close()
    mine.join(10)
    assert not mine.is_alive()
    assert driven.now() == 0


@pytest.mark.broker
def test_who_had_a_driven_clock_leaves_nobody_behind_who_follows_it(stack: Settings, tmp_path: Path) -> None:
    """Whenever the collector comes: these refer to themselves, and the thread would end the process with its broker."""
    used = stack.model_copy(update={"clock": "driven", "data_dir": tmp_path})
    signers, approvers = keys.jwks(stack), keys.approvers(stack)
    gc.disable()
    try:
        with intake(used):
            assert DRIVEN_TOPIC in followers(0)
        assert followers() == []
        assert crm.serve(used, signers=signers, approvers=approvers, once=True) == 0
        assert followers() == []
        audit.serve(used, once=True)
        assert followers() == []
    finally:
        gc.enable()
