"""The faults: each function is one injection, from the moment it is done to the moment it is taken back.

Moments and choices are drawn from the stage's chance. A fault's name stands in front of the ids of the requests sent
meanwhile, its title in the table of `docs/reliability.md`.
"""

import resource
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, TopicCollection
from confluent_kafka.admin import AdminClient

from deploy import kafka_admin
from streams.kafka import make_producer
from tests.faults.cluster import Cluster
from tests.faults.ground import admin_of, eventually
from tests.faults.history import CHANGELOG, DECISIONS, JOURNAL, Place
from tests.faults.stage import FEED, SLOW, NotInjectedError, Stage
from tests.faults.tail import has_no_tail, last_offset, write_tail

SECOND = "second"


class Fault(NamedTuple):
    """One kind of fault. title: what happens, for people.

    brokers: how many the ground has that it is injected on. beside: it goes on beside others and nobody waits for it;
    it harms nothing that a decision needs.
    """

    name: str
    title: str
    inject: Callable[[Stage], None]
    brokers: int = 1
    beside: bool = False


# --- signals to the worker
def kill(stage: Stage) -> None:
    stage.cast["worker"].end(signal.SIGKILL)


def kill_and_lose_disk(stage: Stage) -> None:
    with stage.cast.held("worker"):
        _lose_disk(stage)


def _lose_disk(stage: Stage) -> None:
    for database in stage.databases():
        shutil.rmtree(database)


def pause(stage: Stage) -> None:
    """Up to longer than its session: the group gives its partitions up, and it comes back to find that out."""
    stage.cast["worker"].send(signal.SIGSTOP)
    stage.wait(0.5, 14)
    stage.cast["worker"].send(signal.SIGCONT)


def block(stage: Stage) -> None:
    """Its event loop does nothing else for a while; other threads, and so its heartbeats, go on."""
    lasts = 40.0 if stage.chance.random() < 0.1 else stage.chance.uniform(0.5, 12)
    stage.order("worker", block_s=lasts)
    if not eventually(lambda: stage.is_taken("worker"), 10):
        raise NotInjectedError
    # It judges meanwhile, so nothing else would wait for its end; and it can be told of no other fault before.
    stage.wait(lasts, lasts)


def stop_at(step: str) -> Callable[[Stage], None]:
    """A worker that kills itself at a step between judging and acknowledging, after some entries or rows."""

    def inject(stage: Stage) -> None:
        running = stage.cast["worker"].process
        most = 200 if step in ("judged", "rows") else 40
        stage.order("worker", stop=step, after=stage.chance.randint(1, most))
        if not eventually(lambda: running.poll() == -signal.SIGKILL, 20):
            raise NotInjectedError

    return inject


# --- clocks
def start_with_wrong_clock(stage: Stage) -> None:
    """A worker or intake starts whose clock is an hour off: it must not begin to work."""
    name = stage.chance.choice(("worker", "intake"))
    member = stage.cast[name]
    with _wrong_clock(stage, name, tell=False):
        before = len(member.said())
        member.end(signal.SIGKILL)
        if not eventually(lambda: "the broker's; at most" in member.said()[before:], 30):
            stage.trouble.append(f"clock-start: {name} did not refuse to start")
        stage.wait(0, 3)


def set_clock(stage: Stage) -> None:
    """The clock of a running worker or intake is set by an hour: it must end before it stamps anything by it."""
    name = stage.chance.choice(("worker", "intake"))
    member = stage.cast[name]
    running = member.process
    with _wrong_clock(stage, name, tell=True):
        if not eventually(lambda: running.poll() is not None, 15):
            stage.trouble.append(f"clock-set: {name} went on")
        stage.wait(0, 3)


@contextmanager
def _wrong_clock(stage: Stage, name: str, *, tell: bool) -> Iterator[None]:
    """The clock of one process, and of each that is started in its place, is an hour fast or slow."""
    stage.order(name, tell=tell, clock_s=stage.chance.choice((-1, 1)) * stage.chance.uniform(3_500, 3_700))
    try:
        yield
    finally:
        stage.take_back(name)
        # One that was started in time to hear of it and has not refused yet.
        stage.cast[name].end(signal.SIGKILL)


def starve(stage: Stage) -> None:
    """A machine with too little time for anybody: most of some seconds is taken away, in slices."""
    names = ("worker", "intake", "crm")
    for _ in range(stage.chance.randrange(10, 30)):
        for name in names:
            stage.cast[name].send(signal.SIGSTOP)
        stage.wait(0.05, 0.4)
        for name in names:
            stage.cast[name].send(signal.SIGCONT)
        stage.wait(0.01, 0.06)


# --- two workers
def join_and_leave(stage: Stage) -> None:
    with _second(stage) as leave_by:
        stage.wait(0.5, 5)
        leave_by.append(stage.chance.choice((signal.SIGTERM, signal.SIGKILL)))


def zombie(stage: Stage) -> None:
    """A worker sleeps past its session while another takes its partitions, and wakes with work in hand."""
    with _second(stage):
        stage.cast["worker"].send(signal.SIGSTOP)
        stage.wait(11, 18)
        stage.cast["worker"].send(signal.SIGCONT)
        stage.wait(1, 3)


@contextmanager
def _second(stage: Stage) -> Iterator[list[signal.Signals]]:
    leave_by: list[signal.Signals] = []
    stage.enter_worker(SECOND)
    try:
        stage.ready(SECOND)
        yield leave_by
    finally:
        stage.cast.leave(SECOND, leave_by[0] if leave_by else signal.SIGTERM)


# --- the broker
def kill_broker(stage: Stage) -> None:
    stage.ground.broker.end(signal.SIGKILL)
    stage.wait(0, 2)
    stage.ground.broker.start()
    stage.ground.broker.await_answer()


def restart_broker(stage: Stage) -> None:
    stage.ground.broker.end(signal.SIGTERM)
    stage.ground.broker.start()
    stage.ground.broker.await_answer()


def pause_broker(stage: Stage) -> None:
    stage.ground.broker.pause()
    stage.wait(1, 12)
    stage.ground.broker.resume()


def refuse_size(stage: Stage) -> None:
    with stage.ground.configured(DECISIONS, max_message_bytes="100"):
        stage.wait(1, 4)


def refuse_replicas(stage: Stage) -> None:
    topic = stage.chance.choice((DECISIONS, CHANGELOG, JOURNAL))
    with stage.ground.configured(topic, min_insync_replicas="2"):
        stage.wait(1, 8)


def forbid(stage: Stage) -> None:
    """The worker's right to write is taken away while it runs, and given back."""
    with stage.ground.forbidden(stage.chance.choice((DECISIONS, CHANGELOG))):
        stage.wait(1, 4)


def kill_leader(stage: Stage) -> None:
    """The broker that leads a partition of the journal is killed: others lead what it led. It comes back to follow."""
    ground = _cluster(stage)
    number = stage.chance.randrange(stage.settings.partitions)
    broker = ground.leader(JOURNAL, number)
    if broker not in ground.brokers:
        raise NotInjectedError
    ground.brokers[broker].end(signal.SIGKILL)
    try:
        moved = ground.moves_from(JOURNAL, number, broker)
        stage.wait(0, 2)
    finally:
        ground.brokers[broker].start()
        ground.brokers[broker].await_answer()
    # Only then has the next one to be killed nothing that nobody else has.
    if not ground.is_whole() or not moved:
        raise NotInjectedError


def move_leader(stage: Stage) -> None:
    """Another broker leads each partition of the journal, in turn and by order; all brokers go on."""
    ground = _cluster(stage)
    numbers = list(range(stage.settings.partitions))
    moved = [ground.move(JOURNAL, number) for number in stage.chance.sample(numbers, len(numbers))]
    if not any(moved):
        raise NotInjectedError


def _cluster(stage: Stage) -> Cluster:
    assert isinstance(stage.ground, Cluster)
    return stage.ground


def slow_network_and_kill(stage: Stage) -> None:
    """Everything between worker and broker is 0.2 to 5 s late; then it is killed with records under way."""
    stage.cast.leave("worker", signal.SIGKILL)
    stage.enter_worker(settings=stage.ground.behind(SLOW))
    try:
        stage.ready("worker")
        stage.ground.proxies[SLOW].delay_s = stage.chance.uniform(0.2, 5)
        stage.wait(1, 8)
    finally:
        stage.cast.leave("worker", signal.SIGKILL)
        stage.ground.proxies[SLOW].mend()
        stage.enter_worker()


# --- what comes in
def poison(stage: Stage) -> None:
    """Records that nobody can take, among good ones, on inputs and in the journal itself."""
    producer = make_producer(stage.settings)
    unknown_schema = b"\0" + (9_999_999).to_bytes(4, "big")
    values = [b"", b"no Avro", None, unknown_schema + b"body", b"\0\0\0\0\1\xff\xff\xff", bytes(200_000)]

    def heard(error: KafkaError | None, message: Message) -> None:
        if error is None:
            place = Place(message.topic() or "", message.partition() or 0, message.offset() or 0)
            stage.notes.poison.append(place)

    for topic in ("agent.requests", "crm.events", "telephony.events", JOURNAL):
        for value in stage.chance.sample(values, 3):
            number = stage.chance.randrange(stage.settings.partitions)
            producer.produce(topic, value, f"lead-{number}", number, heard)
    producer.flush(60)
    stage.wait(0.5, 2)


def repeat_and_contradict(stage: Stage) -> None:
    """The same request again, its id with another content, a revocation in between, while the worker is killed."""
    for _ in range(20):
        stage.load.soon(stage.load.ask_again_and_otherwise)
    stage.wait(0, 0.5)
    if stage.chance.random() < 0.5:
        stage.cast["worker"].end(signal.SIGKILL)


# --- state on disk
def truncate_state(stage: Stage) -> None:
    with stage.cast.held("worker"):
        files = [f for d in stage.databases() for f in d.rglob("*") if f.is_file() and f.stat().st_size > 16]
        for file in stage.chance.sample(files, min(3, len(files))):
            with file.open("r+b") as opened:
                if stage.chance.random() < 0.5:
                    opened.truncate(stage.chance.randrange(file.stat().st_size))
                else:
                    opened.seek(stage.chance.randrange(file.stat().st_size))
                    opened.write(b"\xa5\x5a\xa5")


def put_old_state_back(stage: Stage) -> None:
    kept = stage.directory / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    with stage.cast.held("worker"):
        for database in stage.databases():
            shutil.copytree(database, kept / database.name)
    stage.recovered()
    stage.wait(0, 3)
    with stage.cast.held("worker"):
        for database in stage.databases():
            shutil.rmtree(database)
        for database in kept.iterdir():
            shutil.copytree(database, stage.state / database.name)


def fill_disk(stage: Stage) -> None:
    """No byte more under RocksDB: a small disk that is full, or, where none may be mounted, a limit on file sizes."""
    member = stage.cast["worker"]
    if not stage.is_own_disk:
        resource.prlimit(member.process.pid, resource.RLIMIT_FSIZE, (1, 1))  # type: ignore[attr-defined]
        stage.wait(1, 5)
        member.end(signal.SIGKILL)
        return
    filler = stage.state / "filler"
    try:
        _fill(filler)
        stage.wait(1, 5)
    finally:
        filler.unlink(missing_ok=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


def lose_compacted_state(stage: Stage) -> None:
    """The changelog is compacted hard while it is written, and the disk is lost: restored from what compaction left."""
    hard = {"segment_ms": "500", "min_cleanable_dirty_ratio": "0.001"}
    lag = {"min_compaction_lag_ms": "0", "max_compaction_lag_ms": "500"}
    with stage.ground.configured(CHANGELOG, **hard, **lag):
        stage.wait(2, 8)
        kill_and_lose_disk(stage)
        stage.recovered()


def compact_tail_away(stage: Stage) -> None:
    """The last records of a changelog partition have no value, and compaction takes them away: a restoration that
    waited for a record at its end would wait for ever."""
    number = stage.chance.randrange(stage.settings.partitions)
    hard = {"segment_ms": "50", "min_cleanable_dirty_ratio": "0", "delete_retention_ms": "0"}
    lag = {"min_compaction_lag_ms": "0", "max_compaction_lag_ms": "50"}
    with stage.cast.held("worker"), stage.ground.configured(CHANGELOG, **hard, **lag):
        last = last_offset(stage.settings, CHANGELOG, number)
        write_tail(stage.settings, CHANGELOG, number, count=stage.chance.randint(1, 20))
        if not eventually(lambda: has_no_tail(stage.settings, CHANGELOG, number, last), 20):
            raise NotInjectedError
        if stage.chance.random() < 0.5:
            _lose_disk(stage)


def lose_changelog(stage: Stage) -> None:
    """The changelog is deleted and made anew; everything in it is to be had from the journal alone."""
    with stage.cast.held("worker"):
        admin = admin_of(stage.settings)
        lost = _topic_id(admin)
        admin.delete_topics([CHANGELOG])[CHANGELOG].result()

        def is_there_anew() -> bool:
            # Brokers learn of it one after the other: one that has not heard of it says that nothing is missing.
            with suppress(kafka_admin.ClusterError):  # one that hears of it between two questions
                kafka_admin.ensure_topics(stage.settings)
            return _topic_id(admin) not in (None, lost)

        if not eventually(is_there_anew, 60):
            raise TimeoutError(f"{CHANGELOG} was not made anew within a minute")
        if stage.chance.random() < 0.5:
            _lose_disk(stage)


def _topic_id(admin: AdminClient) -> str | None:
    """What the changelog was given when it was made; None when the broker that was asked knows of none."""
    try:
        return str(admin.describe_topics(TopicCollection([CHANGELOG]))[CHANGELOG].result().topic_id)
    except KafkaException:
        return None


# --- what it leans on
def registry_down(stage: Stage) -> None:
    """Gone or silent, in the middle or while a worker starts."""
    silent = stage.chance.random() < 0.7
    if silent:
        stage.ground.registry.pause()
    else:
        stage.ground.registry.end(signal.SIGKILL)
    try:
        stage.wait(0.5, 2)
        if stage.chance.random() < 0.5:
            stage.cast[stage.chance.choice(("worker", "intake"))].end(signal.SIGKILL)
            stage.wait(1, 5)
    finally:
        if silent:
            stage.ground.registry.resume()
        else:
            stage.ground.registry.start()
            stage.ground.registry.await_answer()


def crm_store_down(stage: Stage) -> None:
    _lock(stage, Path(stage.settings.crm_url.removeprefix("sqlite:///")))


def audit_catalogue_down(stage: Stage) -> None:
    _lock(stage, Path(stage.settings.lake_catalog_url.removeprefix("sqlite:///")))


def _lock(stage: Stage, path: Path) -> None:
    """Nobody else can read or write that database for a while."""
    with sqlite3.connect(path, timeout=30, isolation_level=None) as store:
        store.execute("BEGIN EXCLUSIVE")
        stage.wait(2, 60)
        store.execute("ROLLBACK")
    store.close()


def cut_feed_off(stage: Stage) -> None:
    """An enforcer hears of decisions but not of revocations, for less and for more than its lease."""
    proxy = stage.ground.proxies[FEED]
    if stage.chance.random() < 0.5:
        proxy.cut()
    else:
        proxy.is_silent = True
    try:
        for _ in range(10):
            stage.load.soon(lambda: stage.load.interfere(stage.load._lead()))
            stage.wait(0.1, 1.5)
    finally:
        proxy.mend()


FAULTS: tuple[Fault, ...] = (
    Fault("kill", "the worker is killed (SIGKILL)", kill),
    Fault("kill-judged", "it kills itself with outputs handed over, none awaited", stop_at("judged")),
    Fault("kill-sent", "it kills itself with outputs acknowledged, no row written", stop_at("sent")),
    Fault("kill-rows", "it kills itself between two rows on their way to the changelog", stop_at("rows")),
    Fault("kill-changelog", "it kills itself with rows in the changelog, not on its disk", stop_at("changelog")),
    Fault("kill-disk", "it kills itself with everything written, nothing committed", stop_at("disk")),
    Fault("kill-disk-lost", "it is killed and its state is deleted", kill_and_lose_disk),
    Fault("pause", "it is stopped for 0.5–14 s (SIGSTOP)", pause),
    Fault("blocked", "its event loop is blocked for 0.5–12 s, one time in ten for 40 s", block),
    Fault("zombie", "it is stopped for 11–18 s while a second worker takes over, then wakes", zombie),
    Fault("join-leave", "a second worker joins, and leaves by SIGTERM or SIGKILL", join_and_leave),
    Fault("clock-start", "a worker or intake starts with a clock that is an hour off", start_with_wrong_clock),
    Fault("clock-set", "the clock of a running worker or intake is set by an hour", set_clock),
    Fault("broker-kill", "the broker is killed and started", kill_broker),
    Fault("broker-pause", "the broker is stopped for 1–12 s", pause_broker),
    Fault("broker-restart", "the broker is stopped in order and started", restart_broker),
    Fault("starve", "worker, intake and CRM sink get a tenth of their time for seconds", starve),
    Fault("poison", "a dozen records that nobody can take, on inputs and in the journal", poison),
    Fault("repeats", "requests repeated and contradicted, a revocation between, kills", repeat_and_contradict),
    Fault("state-damaged", "three files of the state are truncated or overwritten", truncate_state),
    Fault("state-old", "an old copy of the state is put back", put_old_state_back),
    Fault("disk-full", "the disk under the state is full for 1–5 s", fill_disk),
    Fault("feed-cut", "the enforcer is cut off from revocations for 1–15 s", cut_feed_off, beside=True),
    Fault("crm-down", "the CRM store can't be used for 2–60 s", crm_store_down, beside=True),
    Fault("audit-down", "the audit catalogue can't be used for 2–60 s", audit_catalogue_down, beside=True),
    Fault("registry-down", "the registry is silent or gone, also while a process starts", registry_down),
    Fault("refused-size", "the broker takes no decision for 1–4 s (record too large)", refuse_size),
    Fault("refused-replicas", "the broker takes no record of a topic for 1–8 s (too few replicas)", refuse_replicas),
    Fault("refused-right", "the right to write decisions or rows is taken away for 1–4 s", forbid),
    Fault("slow-network", "all between worker and broker is 0.2–5 s late, then it is killed", slow_network_and_kill),
    Fault("compacted", "the changelog is compacted while it is written, the disk is lost", lose_compacted_state),
    Fault("tail-compacted", "removals at the end of the changelog are compacted away", compact_tail_away),
    Fault("leader-killed", "three brokers: the one that leads a journal partition is killed", kill_leader, brokers=3),
    Fault("leader-moved", "three brokers: each journal partition is led by another in turn", move_leader, brokers=3),
    Fault("changelog-lost", "three brokers: the changelog is deleted and made anew", lose_changelog, brokers=3),
)
