"""Workers keep copies of partitions that others own: a takeover reads what came after, and the rows are the fold's."""

import asyncio
import math
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from faust.assignor.client_assignment import CopartitionedAssignment
from faust.assignor.copartitioned_assignor import CopartitionedAssignor

from deploy.settings import load_settings
from streams import standby as module
from streams.app import _app
from streams.layout import Layout
from streams.metrics.control import STANDBY_LAG
from streams.slots import take_slot
from streams.standby import Standby
from tests.topology.changelog_model import NUMBER, Changelog, Owner, owner
from tests.topology.test_owners import END, JOURNAL, applied_of, late_row, must_equal_an_undisturbed_fold


def lag() -> list[float]:
    """What the metric says of the partition; nothing when nobody copies."""
    return [sample.value for metric in STANDBY_LAG.collect() for sample in metric.samples]


async def land_one_by_one(one: Owner, entries: int) -> None:
    """So that each has rows of its own on the changelog."""
    for _ in range(entries):
        await one.land(1)


def test_a_takeover_of_a_copied_partition_reads_only_what_came_after_the_copy(tmp_path: Path) -> None:
    async def run() -> None:
        log = Changelog()
        with owner(log, JOURNAL, tmp_path / "one") as one, owner(log, JOURNAL, tmp_path / "two") as two:
            await one.take_over()
            await land_one_by_one(one, 20)
            assert await two.copy() == len(log.entries) > 30
            assert two.rows() == one.rows()
            copied = log.end
            await land_one_by_one(one, 3)
            tail, log.given = log.end - copied, 0
            await two.take_over()
            assert 0 < log.given == tail < 20
            assert applied_of(two.rows())[1] == 22
            await two.land(END)
            must_equal_an_undisturbed_fold(two, one.outputs + two.outputs)

    asyncio.run(run())


def test_copying_that_is_ended_midway_leaves_rows_and_offset_of_one_moment_and_shows_no_lag_any_more(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        log = Changelog()
        with owner(log, JOURNAL, tmp_path / "one") as one, owner(log, JOURNAL, tmp_path / "two") as two:
            await one.take_over()
            await land_one_by_one(one, 20)
            copying = Standby(two.table, [NUMBER])
            copying.start()
            async with asyncio.timeout(10):
                while not copying.rows or not lag():
                    await asyncio.sleep(0.001)
            assert 0 < lag()[0] < log.end
            await copying.stop()
            assert lag() == []
            reached = two.table.reached(NUMBER)
            assert reached is not None
            assert reached == copying.rows - 1 < log.end - 1
            await two.take_over()
            await two.land(END)
            must_equal_an_undisturbed_fold(two, one.outputs + two.outputs)

    asyncio.run(run())


@pytest.mark.parametrize("compacted", [False, True], ids=["as written", "compacted"])
def test_a_late_row_in_a_copy_is_undone_at_the_takeover_as_on_any_disk(tmp_path: Path, compacted: bool) -> None:
    async def run() -> None:
        log = Changelog()
        outputs = await late_row(log, tmp_path)
        if compacted:
            log.compact()
        with owner(log, JOURNAL, tmp_path / "third") as third:
            await third.copy()
            await third.take_over()
            assert applied_of(third.rows()) == (10, 7)
            await third.land(END)
            must_equal_an_undisturbed_fold(third, outputs + third.outputs)

    asyncio.run(run())


def test_a_directory_that_reaches_beyond_the_changelog_is_set_aside_before_anything_is_copied_into_it(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        log, other = Changelog(), Changelog()
        with owner(log, JOURNAL, tmp_path / "one") as one, owner(other, JOURNAL, tmp_path / "two") as two:
            await one.take_over()
            await land_one_by_one(one, 20)
            await two.take_over()
            await land_one_by_one(two, 2)
            one.die()
            with owner(other, JOURNAL, tmp_path / "one") as again:
                await again.copy()
                assert again.rows() == two.rows()
                assert list((tmp_path / "one").rglob("*.set-aside"))

    asyncio.run(run())


def test_a_cluster_that_cannot_be_read_for_a_while_costs_the_copy_its_freshness_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_AGAIN_S", 0.01)
    caplog.set_level("WARNING", "mandate.control")

    async def run() -> None:
        log = Changelog()
        with owner(log, JOURNAL, tmp_path / "one") as one, owner(log, JOURNAL, tmp_path / "two") as two:
            await one.take_over()
            await land_one_by_one(one, 20)
            log.fails = 2
            assert await two.copy() == log.end
            assert log.fails == 0
            assert two.rows() == one.rows()

    asyncio.run(run())
    assert caplog.text.count("copies of partitions [0] are not kept for now") == 2


@pytest.mark.parametrize("session_s", [2.0, 10.0, 60.0])
def test_how_many_copies_and_how_long_a_session_are_what_the_settings_say(tmp_path: Path, session_s: float) -> None:
    settings = load_settings(
        data_dir=tmp_path,
        kafka_bootstrap="b:1",
        registry_url="http://r",
        standby_replicas=3,
        session_timeout_s=session_s,
    )
    conf = _app(settings, take_slot(tmp_path), Layout(4, "id")).conf
    assert (conf.table_standby_replicas, conf.broker_session_timeout) == (3, session_s)
    assert conf.broker_request_timeout >= session_s, "aiokafka refuses that"
    assert conf.broker_heartbeat_interval <= session_s / 3


# -- who keeps which copies: Faust's assignor, with what we rest on

Members = dict[str, CopartitionedAssignment]


def assign(before: Mapping[str, CopartitionedAssignment], names: list[str], partitions: int, replicas: int) -> Members:
    """The next assignment of a group with these members; each comes with what it had."""
    given = {
        name: CopartitionedAssignment(set(had.actives), set(had.standbys), {"journal", "changelog"})
        if (had := before.get(name))
        else CopartitionedAssignment(topics={"journal", "changelog"})
        for name in names
    }
    assignor = CopartitionedAssignor({"journal", "changelog"}, given, partitions, replicas)
    return dict(assignor.get_assignment())


@pytest.mark.parametrize("seed", range(30))
def test_every_partition_has_one_owner_and_copies_elsewhere_and_goes_to_a_copy_when_its_owner_leaves(seed: int) -> None:
    chance = random.Random(seed)
    partitions, replicas = chance.randint(1, 16), chance.randint(0, 3)
    names, members = ["w0"], Members()
    for step in range(1, 25):
        left = chance.choice(names) if len(names) > 1 and chance.random() < 0.5 else None
        names = [name for name in names if name != left] if left else [*names, f"w{step}"]
        before, members = members, assign(members, names, partitions, replicas)
        owners = {n: name for name, has in members.items() for n in has.actives}
        copies = [(n, name) for name, has in members.items() for n in has.standbys]
        assert sorted(owners) == list(range(partitions)) == sorted(n for has in members.values() for n in has.actives)
        assert all(owners[n] != name for n, name in copies)
        assert len(copies) == len(set(copies)) == partitions * min(replicas, len(names) - 1)
        share = math.ceil(partitions / len(names))
        for number in before[left].actives if left else ():
            holders = [name for name, had in before.items() if number in had.standbys and name != left]
            full = all(len(members[name].actives) == share for name in holders)
            assert owners[number] in holders or full, "a partition went where nothing of it was copied"
