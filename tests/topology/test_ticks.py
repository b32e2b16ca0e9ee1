"""Ticks: each partition one an interval, not all at the same moment; a clock that jumps or is set back."""

from types import SimpleNamespace
from typing import cast

import pytest

from deploy.settings import load_settings
from schemas.codec import Codec
from streams.clock import DrivenClock
from streams.ticks import Ticks
from streams.transport.outbox import Outbox

INTERVAL_US = 250_000


class Clock(DrivenClock):
    """A clock that the test sets, back too."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0

    def now(self) -> int:
        return self.at


@pytest.fixture
def clock() -> Clock:
    """At 0: nothing was observed yet."""
    return Clock()


def ticks_of(clock: Clock, owned: list[int]) -> Ticks:
    """Ticks of partitions; nobody sends them."""
    settings = load_settings(kafka_bootstrap="b:9", registry_url="http://r", tick_interval_s=INTERVAL_US / 1e6)
    nobody = SimpleNamespace()
    return Ticks(settings, clock, cast(Codec, nobody), cast(Outbox, nobody), lambda: owned)


def test_each_partition_has_one_tick_an_interval_and_each_at_a_time_of_its_own(clock: Clock) -> None:
    ticks = ticks_of(clock, [0, 1, 2, 3])
    clock.at = 1_000 * INTERVAL_US
    assert ticks._due(clock.at) == [0, 1, 2, 3]
    seen: list[tuple[int, list[int]]] = []
    for _ in range(40):
        clock.at += INTERVAL_US // 10
        if due := ticks._due(clock.at):
            seen.append((clock.at % INTERVAL_US, due))
    assert [due for _, due in seen] == [[3], [2], [1], [0]] * 4
    assert len({at for at, _ in seen}) == 4


def test_a_clock_that_moves_by_hours_gives_one_tick_and_one_that_stands_gives_none(clock: Clock) -> None:
    ticks = ticks_of(clock, [0, 5])
    assert ticks._due(0) == []  # nothing was observed yet
    clock.at = 10 * INTERVAL_US
    assert ticks._due(clock.at) == [0, 5]
    assert ticks._due(clock.at) == []
    clock.at += 3_600_000_000
    assert ticks._due(clock.at) == [0, 5]
    assert ticks._due(clock.at) == []


def test_a_clock_that_was_set_back_goes_on_from_there(clock: Clock) -> None:
    ticks = ticks_of(clock, [0])
    assert ticks._due(100 * INTERVAL_US) == [0]
    assert ticks._due(50 * INTERVAL_US) == []
    assert ticks._due(51 * INTERVAL_US) == [0]


def test_a_partition_that_is_given_ticks_at_once(clock: Clock) -> None:
    owned = [0]
    ticks = ticks_of(clock, owned)
    assert ticks._due(100 * INTERVAL_US) == [0]
    owned.append(1)
    assert ticks._due(100 * INTERVAL_US) == [1]
