"""A worker that joins others copies first what it will be given."""

import asyncio
import random
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from deploy.settings import Settings, load_settings
from streams import Broken
from streams.app import _app, _table
from streams.faust_tables import Recovery, TableManager
from streams.joining import Member, members_of, share_of
from streams.layout import Layout
from streams.recovery import Restoration
from streams.slots import take_slot
from streams.tables import ExecutionTable
from tests.topology.changelog_model import NUMBER, Changelog, owner
from tests.topology.test_owners import END, JOURNAL, must_equal_an_undisturbed_fold
from tests.topology.test_standby import Members, assign, land_one_by_one


def as_the_group_says(members: Members) -> list[Member]:
    return [Member(name, frozenset(has.actives), frozenset(has.standbys)) for name, has in members.items()]


def test_a_second_worker_copies_half_of_what_the_first_judges() -> None:
    alone = [Member("one", frozenset(range(4)), frozenset())]
    assert len(share_of("two", alone, 4, 1)) == 2
    assert len(share_of("two", alone, 4, 0)) == 2


@pytest.mark.parametrize(
    "members",
    [
        [],
        [Member("other", frozenset(), frozenset())],
        [Member("other", frozenset({0}), frozenset({1})), Member("me", frozenset({1}), frozenset({0}))],
    ],
    ids=["nobody is there", "nobody judges", "it is a member still"],
)
def test_nothing_is_copied_first_where_that_would_only_cost_time(members: list[Member]) -> None:
    assert share_of("me", members, 2, 1) == set()


@pytest.mark.broker
def test_a_new_clusters_first_group_is_asked_for_again_until_its_coordinator_knows_itself(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS]
    real = AdminClient.describe_consumer_groups

    class New(AdminClient):
        def describe_consumer_groups(self, groups: list[str], **options: Any) -> dict[str, Future[Any]]:
            if not answers:
                return real(self, groups, **options)
            refused: Future[Any] = Future()
            refused.set_exception(KafkaException(KafkaError(answers.pop())))
            return dict.fromkeys(groups, refused)

    monkeypatch.setattr("streams.joining.AdminClient", New)
    monkeypatch.setattr("streams.joining.CONTROL", SimpleNamespace(group=f"nobody-{uuid4().hex}"))
    assert members_of(stack) == []
    assert answers == []
    answers.append(KafkaError.GROUP_AUTHORIZATION_FAILED)
    with pytest.raises(Broken, match="GROUP_AUTHORIZATION_FAILED"):
        members_of(stack)


def test_what_is_foretold_is_nearly_always_what_the_assignor_then_gives() -> None:
    right = tried = 0
    for seed in range(60):
        chance = random.Random(seed)
        partitions, replicas, names = chance.randint(1, 24), chance.randint(0, 2), ["w0"]
        members = assign({}, names, partitions, replicas)
        for step in range(1, 10):
            newcomer = f"w{step}"
            foretold = share_of(newcomer, as_the_group_says(members), partitions, replicas)
            names.append(newcomer)
            chance.shuffle(names)
            members = assign(members, names, partitions, replicas)
            tried += 1
            right += foretold == members[newcomer].actives
            if chance.random() < 0.4:
                names.remove(chance.choice(names))
                members = assign(members, names, partitions, replicas) if names else Members()
                names = names or ["w0"]
                members = members or assign({}, names, partitions, replicas)
    assert right > 0.85 * tried, (right, tried)


def test_a_thread_that_is_the_first_to_ask_for_the_rows_leaves_them_on_the_loop_of_the_worker(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, kafka_bootstrap="b:1", registry_url="http://r")

    async def run() -> None:
        table = _table(_app(settings, take_slot(tmp_path), Layout(4, "id")), Layout(4, "id"))
        store = await asyncio.to_thread(lambda: table.store)
        assert store.loop is table.loop is asyncio.get_running_loop()
        await asyncio.wait_for(_started_and_stopped(table), 5)

    async def _started_and_stopped(table: ExecutionTable) -> None:
        await asyncio.to_thread(lambda: table.loop)
        await table.start()
        await table.stop()

    asyncio.run(run())


def test_a_wait_that_runs_out_of_time_ends_the_worker_and_a_stop_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was paused where it looked for its place held its partitions and judged nothing, for good."""
    settings, told = load_settings(data_dir=tmp_path, kafka_bootstrap="b:1", registry_url="http://r"), list[str]()

    class Ended(BaseException):
        pass

    def end(error: BaseException) -> None:
        told.append(str(error))
        raise Ended

    monkeypatch.setattr("streams.faust_tables.end_process", end)

    async def recovers(for_s: float | None) -> None:
        recovery = cast(TableManager, _app(settings, take_slot(tmp_path), Layout(4, "id")).tables).recovery
        loop = asyncio.get_running_loop()

        async def waits(_generation: int) -> None:
            loop.call_later(0.2, recovery._stopped.set)
            await recovery._wait(asyncio.sleep(60), timeout=for_s)

        monkeypatch.setattr(recovery, "_recover", waits)
        recovery.signal_recovery_start.set()
        await asyncio.wait_for(Recovery._restart_recovery(recovery), 5)

    asyncio.run(recovers(None))
    assert told == []
    with pytest.raises(Ended):
        asyncio.run(recovers(0.05))
    [sentence] = told
    assert "where to read the journal from" in sentence


def test_a_takeover_after_it_reads_what_came_since_and_the_rows_are_the_folds(tmp_path: Path) -> None:
    async def run() -> None:
        log = Changelog()
        with owner(log, JOURNAL, tmp_path / "one") as one, owner(log, JOURNAL, tmp_path / "two") as two:
            await one.take_over()
            await land_one_by_one(one, 20)
            await asyncio.to_thread(Restoration(two.table, [NUMBER]).run)
            two.table.let_go([NUMBER])
            copied = log.end
            await land_one_by_one(one, 3)
            tail, log.given = log.end - copied, 0
            await two.take_over()
            assert 0 < log.given == tail
            await two.land(END)
            must_equal_an_undisturbed_fold(two, one.outputs + two.outputs)

    asyncio.run(run())
