"""Parts of the control worker that need no broker: what is handed over, where reading starts, whose directory it is."""

import asyncio
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from faust import SASLCredentials, SSLCredentials
from faust.types import TP

from deploy.commands.worker import _end
from deploy.settings import load_settings
from streams import Broken
from streams.kafka import Consumed
from streams.slots import take_slot
from streams.ticks import tick_entry
from streams.transport.consumer import Consumer, ConsumerThread, start_of
from streams.transport.fetch import Fetch
from streams.transport.security import credentials

PLACE = TP("execution.journal", 0)


class Nobody:
    """A reader of one partition, and its lane. taken: the offsets of each time it was handed some."""

    topic = PLACE.topic

    def __init__(self) -> None:
        self.taken: list[list[int]] = []

    def lane(self, partition: int) -> "Nobody":
        return self

    def take(self, records: Sequence[Consumed]) -> None:
        self.taken.append([each.offset for each in records])

    async def open(self, partitions: Iterable[int]) -> Mapping[int, int | None]:
        return dict.fromkeys(partitions)

    async def settle(self) -> None:
        return

    def waiting(self, partition: int) -> int:
        return 0

    def work(self) -> float:
        return 0.0

    def has_room(self) -> bool:
        return True


class Log:
    """Where reading goes on when a record is missing."""

    def __init__(self) -> None:
        self.sought: list[int] = []

    def again(self, partition: int, offset: int) -> None:
        self.sought.append(offset)


class Handing(Consumer):
    """The consumer's handing over, without Faust's services and the network around it."""

    def __init__(self, position: int) -> None:
        self.epoch = 0
        self._assigning = threading.Lock()
        self._position = {PLACE: position}
        self._read_again = {}
        self.log_read = Log()
        self._fetch = cast(Fetch, self.log_read)

    def fetched(self, *offsets: int, epoch: int | None = None) -> list[list[int]]:
        """Records of these offsets arrive; the offsets of those that were handed over."""
        self.reader = reader = Nobody()
        came = {PLACE.partition: [record(offset) for offset in offsets]}
        self._arrived(self.epoch if epoch is None else epoch, came)
        return reader.taken


def record(offset: int) -> Consumed:
    return Consumed(PLACE.topic, PLACE.partition, offset, None, b"", [], 0)


def test_records_that_go_on_where_control_stopped_are_handed_over() -> None:
    consumer = Handing(position=5)
    assert consumer.fetched(5, 6, 7) == [[5, 6, 7]]
    assert consumer.fetched(8) == [[8]]


def test_records_read_under_an_earlier_assignment_are_not_handed_over() -> None:
    consumer = Handing(position=5)
    consumer.epoch = 2
    assert consumer.fetched(5, 6, epoch=1) == []
    assert consumer.fetched(5, 6, epoch=2) == [[5, 6]]


def test_records_that_control_has_already_are_cut_off() -> None:
    consumer = Handing(position=5)
    assert consumer.fetched(3, 4, 5, 6) == [[5, 6]]
    assert consumer.fetched(3, 4, 5, 6) == []
    assert not consumer.log_read.sought


def test_records_after_a_hole_are_read_again_and_not_handed_over() -> None:
    # What Faust would commit past: committed 2585, 2585 dropped, 2586..2589 handed over (field notes 1.2-E, #606).
    consumer = Handing(position=2585)
    assert consumer.fetched(2586, 2587, 2588, 2589) == []
    assert consumer.log_read.sought == [2585]
    assert consumer.fetched(2585, 2586) == [[2585, 2586]]


def test_a_hole_that_the_log_itself_has_is_handed_over_for_control_to_refuse() -> None:
    consumer = Handing(position=10)
    assert consumer.fetched(12, 13) == []
    assert consumer.fetched(12, 13) == [[12, 13]]
    assert len(consumer.log_read.sought) == 1


def test_nothing_is_handed_over_once_the_partitions_are_given_up() -> None:
    consumer = Handing(position=0)
    consumer._position = {}
    assert consumer.fetched(0, 1) == []


def test_only_what_control_acknowledged_is_committed_whatever_faust_saw_acked() -> None:
    consumer = Handing(position=0)
    consumer._acked = {PLACE: [2586, 2587, 2588, 2589]}
    consumer._acknowledged, consumer._committed = {PLACE: 2585}, {PLACE: 2580}
    assert consumer._filter_committable_offsets(consumer._filter_tps_with_pending_acks()) == {PLACE: 2585}
    consumer._committed[PLACE] = 2585
    assert consumer._filter_committable_offsets(consumer._filter_tps_with_pending_acks()) == {}


@pytest.mark.parametrize(("wanted", "start"), [(None, 3), (3, 3), (7, 7), (9, 9)])
def test_reading_starts_where_the_state_goes_on_or_at_the_beginning(wanted: int | None, start: int) -> None:
    assert start_of(PLACE, wanted, earliest=3, end=9) == start


@pytest.mark.parametrize(("wanted", "told"), [(2, "removed before they were judged"), (10, "another journal's")])
def test_a_journal_that_does_not_fit_the_state_is_refused(wanted: int, told: str) -> None:
    with pytest.raises(Broken, match=told):
        start_of(PLACE, wanted, earliest=3, end=9)


def test_two_workers_take_two_directories_and_a_later_one_takes_the_first_that_is_free(tmp_path: Path) -> None:
    first, second = take_slot(tmp_path), take_slot(tmp_path)
    assert first.path != second.path
    assert first.instance != second.instance
    first.release()
    again = take_slot(tmp_path)
    assert (again.path, again.instance) == (first.path, first.instance)
    again.release()
    second.release()


def test_a_named_directory_in_use_by_another_process_is_refused(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from streams.slots import take_slot; path = pathlib.Path(sys.argv[1]);"
        "slot = take_slot(path, path); print('taken', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        with pytest.raises(Broken, match="in use by another worker"):
            take_slot(tmp_path, tmp_path)
        other.kill()
    take_slot(tmp_path, tmp_path).release()


def test_login_and_encryption_reach_the_consumer_too() -> None:
    address = {"kafka_bootstrap": "broker:9093", "registry_url": "http://registry"}
    assert credentials(load_settings(**address)) is None
    encrypted = credentials(load_settings(**address, kafka_security_protocol="SSL"))
    assert isinstance(encrypted, SSLCredentials)
    assert encrypted.context.verify_mode is ssl.CERT_REQUIRED
    login = {"kafka_sasl_username": "control", "kafka_sasl_password": "secret"}
    scram = credentials(
        load_settings(**address, **login, kafka_security_protocol="SASL_SSL", kafka_sasl_mechanism="SCRAM-SHA-512")
    )
    assert isinstance(scram, SASLCredentials)
    assert (scram.protocol.value, scram.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (scram.username, scram.password) == ("control", "secret")
    assert scram.ssl_context is not None
    plain = credentials(load_settings(**address, **login, kafka_security_protocol="SASL_PLAINTEXT"))
    assert isinstance(plain, SASLCredentials)
    assert (plain.mechanism.value, plain.ssl_context) == ("PLAIN", None)


def test_a_tick_made_again_is_the_same() -> None:
    assert tick_entry(2, 5_000_000) == tick_entry(2, 5_000_000)
    assert tick_entry(2, 5_000_000).entry_id != tick_entry(3, 5_000_000).entry_id


@pytest.mark.parametrize(("leaves", "instance"), [(True, None), (False, "mandate-control-7")])
def test_a_worker_that_ends_leaves_its_group_and_one_that_restarts_stays_a_member(
    leaves: bool, instance: str | None
) -> None:
    left_as: list[str | None] = []
    coordinator = SimpleNamespace(_group_instance_id="mandate-control-7")

    async def stop() -> None:
        left_as.append(coordinator._group_instance_id)  # aiokafka leaves only without one

    thread = ConsumerThread.__new__(ConsumerThread)
    thread.consumer = SimpleNamespace(leaves=leaves)
    thread._consumer = SimpleNamespace(_coordinator=coordinator, stop=stop)
    asyncio.run(thread.on_thread_stop())
    assert left_as == [instance]


@pytest.mark.parametrize(("number", "leave"), [(signal.SIGTERM, True), (signal.SIGINT, True), (signal.SIGHUP, False)])
def test_a_signal_says_whether_the_others_go_on_with_the_partitions(number: signal.Signals, leave: bool) -> None:
    code = (
        "import asyncio, os\nfrom deploy.commands.worker import _on_signals\n"
        f"async def main():\n    stop = _on_signals()\n    os.kill(os.getpid(), {int(number)})\n"
        "    await stop.wait()\n    print(stop.leave)\nasyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == (f"{leave}\n", 0), done.stderr


def test_a_stop_that_takes_too_long_is_not_told_as_one_with_everything_committed() -> None:
    async def main() -> None:
        answered = asyncio.Event()

        async def stop() -> None:
            while not answered.is_set():  # a client that waits for a silent broker begins again when it is cancelled
                with suppress(asyncio.CancelledError):
                    await answered.wait()

        with pytest.raises(Broken, match=r"did not stop within 0\.05 s: what it judged last may not be committed"):
            await asyncio.wait_for(_end(stop(), 0.05), 5)
        answered.set()
        await _end(stop(), 5)

    asyncio.run(main())


def test_a_member_that_has_no_partition_or_fetches_nothing_is_not_taken_for_a_dead_one() -> None:
    # aiokafka lets a member that asks for no records for `max_poll_interval` join no more: a spare never took over.
    async def drive() -> None:
        thread = ConsumerThread.__new__(ConsumerThread)
        state = SubscriptionState()
        thread._consumer = SimpleNamespace(_subscription=state)
        state._last_fetch_ended -= 3_600
        assert state.fetcher_idle_time >= 3_600
        thread.show_life()
        assert state.fetcher_idle_time < 60

    asyncio.run(drive())
