"""Workers that come, go and come back under load, on a real broker: who judges, how long nobody does, what comes out.

One course of events with two partitions: a worker alone, a second joins, the second restarts in its place, a third
joins that nothing is left for, one is told to end, one is killed for good. Figures are printed; bounds are for a busy
machine.
"""

import os
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGHUP, SIGTERM, Signals

import pytest
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from deploy.commands.policy_activate import sign
from deploy.local.ports import pick_free
from deploy.settings import PACKAGED_POLICY, Settings
from processors.policy import load_bundle
from schemas.codec import Codec, decode
from schemas.records import AgentId, AgentRequest, Channel, CrmEvent, CrmEventType, Decision, LeadId, Record, RequestId
from streams.changelog import CHANGELOG
from streams.kafka import make_consumer, make_producer
from streams.registry import connect
from tests.faults.test_kill_control import DECISIONS, PREFIX, Aftermath
from tests.stacks import running_stack
from tests.topology.worker_process import JOURNAL, Journal, WorkerProcess, entry_of, eventually

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(290)]
PARTITIONS = 2
RATE = int(os.environ.get("REBALANCE_RATE", "100"))
"""Requests a second. 300 and more on a quiet machine; each of them is permitted, signed, and changes its lead."""
LEADS = 60
SESSION_S = 10.0
"""The workers' session timeout (`streams.app`)."""
SHORT_SESSION_S = 4.0
"""Of the worker that is killed for good."""
STALL_BOUND_S = 15.0
PATIENCE_S = 90.0


class Asking(threading.Thread):
    """Appends requests to the journal until stopped. appended: when the broker took each, by the monotonic clock."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        super().__init__(name="asking", daemon=True)
        self._producer = make_producer(settings)
        self._codec = codec
        self._over = threading.Event()
        self.requests: list[AgentRequest] = []
        self.appended: dict[str, float] = {}

    def run(self) -> None:
        began = time.monotonic()
        while not self._over.wait(max(0.0, began + len(self.requests) / RATE - time.monotonic())):
            number = len(self.requests)
            request = AgentRequest(
                request_id=RequestId(f"request-{number}"), lead_id=LeadId(f"lead-{number % LEADS}"),
                agent_id=AgentId("booking-agent"), role="booking", action="update_crm", channel=Channel.BACKEND,
                crm_fields={"availability": f"{number}"}, requested_at=time.time_ns() // 1000,
            )  # fmt: skip
            self.requests.append(request)
            self._append(request, number)
            self._producer.poll(0)

    def _append(self, body: Record, number: int) -> None:
        entry = entry_of(body, time.time_ns() // 1_000_000 * 1000, number)

        def report(error: KafkaError | None, _message: Message) -> None:
            assert error is None, error
            self.appended[getattr(body, "request_id", "")] = time.monotonic()

        self._producer.produce(
            JOURNAL, self._codec.encode(entry), entry.lead_id, on_delivery=report, timestamp=entry.at // 1000
        )

    def stop(self) -> None:
        """Returns when everything is appended."""
        self._over.set()
        self.join(30)
        assert self._producer.flush(30) == 0


class Hearing(threading.Thread):
    """Reads decisions as they come. decided: when the first on each request could be read, by the monotonic clock."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="hearing", daemon=True)
        self._over = threading.Event()
        self._consumer: Consumer = make_consumer(settings, "test-hearing")
        self._consumer.assign([TopicPartition(DECISIONS, number, 0) for number in range(PARTITIONS)])
        self.decided: dict[str, float] = {}

    def run(self) -> None:
        while not self._over.is_set():
            for message in self._consumer.consume(500, 0.05):
                if message.error() is None:
                    decision = decode(Decision, bytes(message.value() or b"")[PREFIX:])
                    self.decided.setdefault(decision.request_id, time.monotonic())
        self._consumer.close()

    def stop(self) -> None:
        self._over.set()
        self.join(10)


@dataclass
class Course:
    """What was seen. stalls: by what happened, the longest time from a request's append to its decision."""

    settings: Settings
    asking: Asking
    hearing: Hearing
    stalls: dict[str, float] = field(default_factory=dict)
    restart_away_s: float = 0.0
    restart_rebalances: int = 0
    restart_kept: bool = False
    restart_read: float | None = None
    idle_is_ready: bool = False
    exit_codes: list[int] = field(default_factory=list)
    handed_over_after_s: float = 0.0
    taken_over: set[int] = field(default_factory=set)
    rows_of_takeover: int = 0
    rows_on_changelog: int = 0

    @contextmanager
    def watch(self, what: str) -> Iterator[None]:
        """Notes the stall of the requests that are appended meanwhile."""
        began = time.monotonic()
        yield
        end = time.monotonic()
        time.sleep(0.5)
        within = [request for request, at in list(self.asking.appended.items()) if began <= at <= end]
        eventually(lambda: all(request in self.hearing.decided for request in within), PATIENCE_S)
        self.stalls[what] = max(self.hearing.decided[r] - self.asking.appended[r] for r in within)
        print(f"{what}: longest stall {self.stalls[what]:.2f} s of {len(within)} requests", flush=True)


class Worker(WorkerProcess):
    """One with a state directory, and so a static id, of its own."""

    def __init__(self, settings: Settings, directory: Path, name: str, session_s: float = SESSION_S) -> None:
        (self.port,) = pick_free(1)
        own = {"state_dir": directory / name / "state", "metrics_port": self.port, "session_timeout_s": session_s}
        super().__init__(settings.model_copy(update=own), directory / name)

    @property
    def announced(self) -> list[list[int]]:
        """What it said to judge since this process started, oldest first."""
        return self.announcements()[self._ready_before :]

    @property
    def partitions(self) -> set[int] | None:
        """What it said last; None before it is ready."""
        assert self.process.poll() is None, self.errors()[-2000:]
        return set(self.announced[-1]) if self.announced else None

    def is_ready(self) -> bool:
        """As the readiness probe asks."""
        return self.metric("mandate_recovery_done") == 1

    def metric(self, name: str) -> float | None:
        """The sum of a metric over its labels; None when it has no value."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)", answer.read().decode(), re.MULTILINE)
        return sum(map(float, found)) if found else None

    def has_copies(self) -> bool:
        """Whether it follows partitions of others and lacks little."""
        lag = self.metric("mandate_standby_lag_records")
        return lag is not None and lag < 50

    def end(self, number: Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def shared_by(*workers: Worker) -> Callable[[], bool]:
    """Whether each said what it judges, and together it is everything, once."""

    def look() -> bool:
        owned = [worker.partitions for worker in workers]
        return None not in owned and sorted(p for own in owned for p in own or ()) == list(range(PARTITIONS))

    return look


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    directory = tmp_path_factory.mktemp("rebalance")
    with running_stack(tmp_path_factory.mktemp("stack"), partitions=PARTITIONS) as settings, ExitStack() as ending:
        codec = connect(settings)
        _prepare(settings, Journal(settings, codec))
        found = Course(settings, Asking(settings, codec), Hearing(settings))
        workers: list[Worker] = []
        ending.callback(lambda: [worker.kill() for worker in workers if worker.process.poll() is None])
        found.hearing.start()
        ending.callback(found.hearing.stop)
        _run(found, directory, workers)
        yield found


def _prepare(settings: Settings, journal: Journal) -> None:
    """A policy, and leads that it permits something for."""
    policy = sign(settings, load_bundle(PACKAGED_POLICY), revision=1, reason="", approved_by="counsel")
    for number in range(PARTITIONS):
        journal.append(policy, partition=number)
    for number in range(LEADS):
        journal.append(
            CrmEvent(
                event_id=f"known-{number}", lead_id=LeadId(f"lead-{number}"), type=CrmEventType.LEAD_UPSERTED,
                external_id=f"crm-{number}", time_zones=("America/New_York",), received_at=time.time_ns() // 1000,
            )
        )  # fmt: skip


def _run(found: Course, directory: Path, workers: list[Worker]) -> None:
    def start(name: str, session_s: float = SESSION_S) -> Worker:
        workers.append(Worker(found.settings, directory, name, session_s))
        return workers[-1]

    one = start("one")
    eventually(shared_by(one), PATIENCE_S)
    found.asking.start()
    with found.watch("one worker"):
        time.sleep(2)
    with found.watch("a second worker joins"):
        two = start("two")
        eventually(shared_by(one, two), PATIENCE_S)
    with found.watch("the second restarts in its place"):
        before, owned = len(one.announced), two.partitions
        found.exit_codes.append(two.end(SIGHUP))
        ended = time.monotonic()
        two = start("two")
        eventually(lambda: two.partitions is not None, PATIENCE_S)
        found.restart_away_s = time.monotonic() - ended
        found.restart_read = two.metric("mandate_recovery_rows_total")
        time.sleep(2)
        found.restart_rebalances = len(one.announced) - before
        found.restart_kept = two.partitions == owned
    with found.watch("a third joins that nothing is left for"):
        three = start("three", SHORT_SESSION_S)
        eventually(lambda: three.partitions is not None and shared_by(one, two, three)(), PATIENCE_S)
        (idle,) = [worker for worker in (one, two, three) if not worker.partitions]
        found.idle_is_ready = eventually(idle.is_ready, 10)
    with found.watch("one is told to end"):
        leaver = next(worker for worker in (two, one) if worker is not idle)
        others = [worker for worker in (one, two, three) if worker is not leaver]
        told = time.monotonic()
        code = leaver.end(SIGTERM)
        eventually(shared_by(*others), PATIENCE_S)
        found.handed_over_after_s = time.monotonic() - told
        found.exit_codes.append(code)
    with found.watch("one is killed for good"):
        (survivor,) = [worker for worker in others if worker is not three]
        _kill_for_good(found, three, survivor)
    print(
        f"restart: away {found.restart_away_s:.1f} s; handed over after {found.handed_over_after_s:.1f} s", flush=True
    )
    found.asking.stop()
    eventually(lambda: found.hearing.decided.keys() >= found.asking.appended.keys(), PATIENCE_S)
    found.exit_codes.append(survivor.end(SIGTERM))


def _kill_for_good(found: Course, victim: Worker, survivor: Worker) -> None:
    """What the one that is left reads of the changelog, and how much there is of it."""
    found.taken_over = set(victim.partitions or ())
    eventually(survivor.has_copies, PATIENCE_S)
    rows = survivor.metric("mandate_recovery_rows_total") or 0
    victim.kill()
    eventually(shared_by(survivor), PATIENCE_S)
    found.rows_of_takeover = round((survivor.metric("mandate_recovery_rows_total") or 0) - rows)
    journal = Journal(found.settings, connect(found.settings))
    found.rows_on_changelog = sum(journal.end(CHANGELOG, number) for number in found.taken_over)


def test_a_worker_that_is_back_within_its_session_gets_its_partitions_back_and_nobody_else_stops(
    course: Course,
) -> None:
    if course.restart_away_s > SESSION_S - 1:
        pytest.skip(f"this machine is too busy: the restart took {course.restart_away_s:.1f} s")
    assert course.restart_rebalances == 0
    assert course.restart_kept
    assert course.restart_read == 0, "an orderly end leaves nothing on the changelog that the disk does not hold"


def test_a_worker_that_owns_no_partition_is_ready_all_the_same(course: Course) -> None:
    assert course.idle_is_ready


def test_the_longest_stall_of_each_change_is_bounded(course: Course) -> None:
    assert len(course.stalls) == 6
    assert max(course.stalls.values()) < STALL_BOUND_S, course.stalls


def test_a_worker_that_is_told_to_end_hands_over_at_once_and_not_after_its_session(course: Course) -> None:
    assert course.exit_codes == [0] * 3
    assert course.handed_over_after_s < SESSION_S


def test_a_takeover_after_a_death_reads_the_end_of_the_changelog_because_a_copy_was_kept(course: Course) -> None:
    print(f"read {course.rows_of_takeover} of {course.rows_on_changelog} rows of partitions {course.taken_over}")
    assert len(course.taken_over) == 1
    assert course.rows_on_changelog > RATE
    assert course.rows_of_takeover < course.rows_on_changelog / 4


def test_nothing_is_lost_and_nothing_is_wrong(course: Course) -> None:
    settings = course.settings
    codec = connect(settings)
    journal = Journal(settings, codec)
    after = Aftermath(settings, codec, journal, course.asking.requests, 0)
    written, folded = after.written[DECISIONS], after.folded()[DECISIONS]
    assert {name: set(copies) for name, copies in written.items()} == {name: {folded[name]} for name in written}
    decided = {decode(Decision, copies[0]).request_id for copies in written.values()}
    assert decided >= {request.request_id for request in course.asking.requests}
    assert len(course.asking.requests) > RATE
    repeated = sum(len(copies) - 1 for copies in written.values())
    print(f"{len(decided)} requests decided, {repeated} decisions repeated with the same bytes")
