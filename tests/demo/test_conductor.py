"""Journal time in a play: it stands while somebody acts, and leaps when everybody waits."""

import asyncio
from collections.abc import Sequence

import pytest

from deploy.demo.conductor import Conductor
from deploy.demo.emission import Emission
from deploy.demo.times import BEAT, SECOND
from schemas.records import TimeUs

START: TimeUs = 1_000 * BEAT


class Silent:
    """A stage that notes what it is given."""

    def __init__(self) -> None:
        self.moves: list[tuple[TimeUs, bool]] = []
        self.sent: list[tuple[TimeUs, str]] = []

    async def advance(self, emissions: Sequence[Emission], to: TimeUs, *, wholly: bool = False) -> None:
        self.moves.append((to, wholly))
        self.sent += [(emission.at, emission.key) for emission in emissions]

    async def in_journal(self, entry_id: str) -> None:
        del entry_id

    async def case_of(self, lead_id: str) -> str:
        return lead_id


def emission(at: TimeUs, key: str) -> Emission:
    return Emission(at, "telephony.events", key, b"")


def test_a_script_wakes_at_the_first_beat_after_its_time() -> None:
    conductor, woke = Conductor(Silent(), START), list[TimeUs]()

    async def script() -> None:
        await conductor.sleep_until(START + 7 * SECOND)
        woke.append(conductor.now)

    asyncio.run(_play(conductor, script()))
    assert woke == [START + 2 * BEAT]


def test_time_stands_while_a_script_does_something() -> None:
    conductor, seen = Conductor(Silent(), START), list[TimeUs]()

    async def busy() -> None:
        for _ in range(5):
            await asyncio.sleep(0.01)
            seen.append(conductor.now)

    async def other() -> None:
        await conductor.sleep_until(START + BEAT)

    asyncio.run(_play(conductor, busy(), other()))
    assert seen == [START] * 5


def test_records_are_sent_in_the_order_of_their_times_before_anybody_wakes() -> None:
    stage = Silent()
    conductor = Conductor(stage, START)
    conductor.schedule([emission(START + 3 * SECOND, "second"), emission(START + SECOND, "first")])

    async def script() -> None:
        await conductor.sleep_until(START + BEAT)
        assert [key for _, key in stage.sent] == ["first", "second"]

    asyncio.run(_play(conductor, script()))


def test_a_parked_script_holds_no_time_back_before_its_moment() -> None:
    conductor, ended = Conductor(Silent(), START), list[TimeUs]()
    answer: asyncio.Future[str] | None = None

    async def waits() -> None:
        nonlocal answer
        answer = asyncio.get_running_loop().create_future()
        assert await conductor.parked(answer, START + 100 * BEAT) == "yes"
        ended.append(conductor.now)

    async def answers() -> None:
        await conductor.sleep_until(START + 3 * BEAT)
        assert answer is not None
        answer.set_result("yes")
        await conductor.sleep_until(START + 4 * BEAT)

    asyncio.run(_play(conductor, waits(), answers()))
    assert ended == [START + 3 * BEAT]


def test_time_stops_a_tick_after_the_moment_that_a_parked_script_waits_for() -> None:
    conductor, ended = Conductor(Silent(), START), list[TimeUs]()

    async def waits() -> None:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        loop.call_later(0.1, answer.set_result, None)
        await conductor.parked(answer, START + 100 * BEAT)
        ended.append(conductor.now)

    asyncio.run(_play(conductor, waits()))
    assert ended == [START + 101 * BEAT]


def test_before_a_leap_what_happens_now_may_still_end_a_wait() -> None:
    stage = Silent()
    conductor = Conductor(stage, START)

    async def waits() -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.05, answer.set_result, None)
        await conductor.parked(answer, START + 100 * BEAT)

    async def acts() -> None:
        await conductor.sleep_until(START + BEAT)

    asyncio.run(_play(conductor, waits(), acts()))
    assert (START + 2 * BEAT, True) in stage.moves


def test_no_time_passes_between_the_end_of_a_script_and_who_waits_for_it() -> None:
    conductor, seen = Conductor(Silent(), START), list[TimeUs]()

    async def child() -> None:
        await conductor.sleep_until(START + BEAT)

    async def parent() -> None:
        await conductor.joined(conductor.spawn(child()))
        await asyncio.sleep(0.02)
        seen.append(conductor.now)

    async def other() -> None:
        await conductor.sleep_until(START + 2 * BEAT)

    asyncio.run(_play(conductor, parent(), other()))
    assert seen == [START + BEAT]


def test_what_a_script_raises_ends_the_play() -> None:
    conductor = Conductor(Silent(), START)

    async def fails() -> None:
        raise LookupError("a defect in a script")

    with pytest.raises(LookupError, match="a defect in a script"):
        asyncio.run(_play(conductor, fails()))


async def _play(conductor: Conductor, *scripts: object) -> None:
    for script in scripts:
        conductor.spawn(script)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        await conductor.play()
