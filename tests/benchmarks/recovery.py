"""How soon control judges again: after a restart, after a lost disk, and while workers come and go under load.

Everything is told from outside: from the start of a process, or from the scheduled send of a request, to the verdict
consumed. Every part has a broker of its own. Workers are the processes that users start.
"""

import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from statistics import median
from typing import Any, NamedTuple

from deploy.commands import policy_activate, state_verify
from deploy.settings import Settings
from processors.partition import LEAD_PREFIX
from schemas.codec import Codec
from schemas.records import Decision
from streams.changelog import CHANGELOG
from streams.kafka import headers_of, make_producer, read_all
from streams.owners import Stamp, stamp_of
from streams.registry import connect
from tests.benchmarks.figures import percentiles, table
from tests.benchmarks.load import DECISIONS, Sent, Shot, schedule, wall_us
from tests.benchmarks.measure import ANSWER_WITHIN_S, Plan, Round
from tests.benchmarks.systems import PARTITIONS, Broker, broker, machine_cpu_s, mandate, running
from tests.benchmarks.workers import Worker, shared_by, wait

FIRST_VERDICT_S = 5.0
STALL_S = 3.0
ROWS_PER_S = 50_000
_ACT_AFTER_S = 2.0
_SPARE_LOADS_S = 5.0
_SMALL_STEPS = 2
"""Events of a lead whose row is small: it is known, and its consent."""
_MOVES = ("stall_s", "the_other_stopped_s", "the_other_restored_rows", "settled_after_s", "requests", "others_cores")
_SHOWN = ("rows", "rows_per_s", "mb_per_s", "first_verdict_s", "first_verdict_with_it_kept_s")


class Course(NamedTuple):
    """How much is measured. rows: of what kind how many are restored. rates: events a second while workers move.

    compile_s: load before anything counts, so that the broker's Java is compiled.
    """

    restarts: int
    rows: Mapping[str, int]
    rates: tuple[int, ...]
    leads: int = 500
    compile_s: float = 60.0


FULL = Course(restarts=5, rows={"small": 400_000, "real": 50_000}, rates=(300, 1_000))
QUICK = Course(restarts=1, rows={"small": 40_000, "real": 4_000}, rates=(300,), leads=100, compile_s=5.0)


class Stage:
    """A broker with one intake and its traffic; workers come and go."""

    def __init__(self, kafka: Broker, codec: Codec, traffic: Round, logs: Path) -> None:
        self.kafka = kafka
        self.codec = codec
        self.traffic = traffic
        self._logs = logs
        self._workers: list[Worker] = []

    def start(self, *, terminal: bool = False, supervised: bool = False) -> Worker:
        """One more worker; it takes the first state directory that no other uses."""
        log = self._logs / f"recovery-worker-{len(self._workers)}.log"
        self._workers.append(Worker(self.kafka.settings, log, terminal=terminal, supervised=supervised))
        return self._workers[-1]

    def others_cpu_s(self) -> float:
        """Processor seconds that processes which are no part of this have used so far, up to a constant."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = time.process_time() + ended.ru_utime + ended.ru_stime + self.kafka.cpu_s()
        ours += sum(self.traffic.processes.cpu_s().values()) + sum(worker.cpu_s() for worker in self._workers)
        return machine_cpu_s() - ours

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

    def first_verdicts(self, worker: Worker) -> tuple[float, float]:
        """Seconds from the start of a worker to the first verdict of any partition, and of the last partition."""
        leads = self.traffic.traffic.leads
        asking = [leads[min(here)] for seen in self.traffic.answers.leads_on.values() if (here := seen & leads.keys())]
        asked = self.traffic.gun.fire(
            [self.traffic.gun.load(lead.ask(wall_us()), 0.0) for lead in asking], time.monotonic()
        )
        self.traffic.settle(asked)
        answered = [self.traffic.answers.at[request] - worker.started for request in asked.due]
        return min(answered), max(answered)


@contextmanager
def staged(directory: Path, logs: Path, say: Callable[[str], None], leads: int) -> Iterator[Stage]:
    """A stage whose policy is in force; its calls are not open yet."""
    plan = Plan(leads=leads, rates=(), seconds=(), warm_s=0.0, opening_rate=1_000, backlog=0)
    intake = mandate()._replace(parts=mandate().parts[:1])
    with ExitStack() as ending:
        kafka = ending.enter_context(broker(directory, say))
        processes = ending.enter_context(running(intake, kafka.settings, logs))
        policy_activate.run(kafka.settings, bundle=kafka.settings.policy_bundle)
        codec = connect(kafka.settings)
        traffic = Round(kafka, codec, processes, plan, "r1", seed=1)
        ending.callback(traffic.close)
        stage = Stage(kafka, codec, traffic, logs)
        ending.callback(stage.close)
        yield stage


def measure(directory: Path, logs: Path, say: Callable[[str], None], course: Course = FULL) -> dict[str, Any]:
    """All figures; each part on a broker of its own below `directory`."""
    found: dict[str, Any] = {"limits": {"first_verdict_s": FIRST_VERDICT_S, "stall_s": STALL_S, "rows": ROWS_PER_S}}
    with staged(directory / "moves", logs, say, course.leads) as stage:
        one = stage.start()
        stage.traffic.open_calls()
        stage.traffic.latency(course.rates[0], course.compile_s)
        say(f"restarting a worker, {course.restarts} times by each signal")
        one, found["restarts"] = _restarts(stage, one, course.restarts)
        found["moves"] = {}
        for rate in course.rates:
            say(f"workers come and go at {rate} events/s")
            found["moves"][str(rate)] = _moves(stage, one, rate)
        say("comparing decisions and rows with the journal")
        found["outcome"] = _outcome(stage)
    found["restored"] = {}
    for kind, count in course.rows.items():
        with staged(directory / kind, logs, say, 40) as stage:
            found["restored"][kind] = _lost_disk(stage, kind, count, say)
    return found


# -- (a) a restart with local state


def _restarts(stage: Stage, worker: Worker, times: int) -> tuple[Worker, dict[str, Any]]:
    found: dict[str, Any] = {}
    for number in (SIGKILL, SIGTERM):
        took = []
        for _ in range(times):
            worker.end(number)
            worker = stage.start()
            took.append([round(seconds, 2) for seconds in stage.first_verdicts(worker)])
        found[Signals(number).name] = {
            "seconds_to_first_and_last": took,
            "first_s": round(median(first for first, _ in took), 2),
            "every_partition_s": round(median(last for _, last in took), 2),
        }
    return worker, found


# -- (b) the disk is lost


def _lost_disk(stage: Stage, kind: str, count: int, say: Callable[[str], None]) -> dict[str, Any]:
    """What is restored, at what rate, into empty directories; then the time to a verdict with these kept."""
    worker = stage.start()
    if kind == "small":
        _introduce(stage)
    else:
        stage.traffic.open_calls()
    stage.first_verdicts(worker)
    worker.end(SIGTERM)
    say(f"appending {count:,} {kind} rows to the changelog")
    size = _append_rows(stage.kafka.settings, count)
    say("restoring them")
    shutil.rmtree(stage.kafka.settings.data_dir / "state")
    worker = stage.start(terminal=True)
    first, last = stage.first_verdicts(worker)
    (restored,) = [one for one in worker.restored() if one.rows >= count]
    worker.end(SIGKILL)
    bars = worker.bars()
    kept = stage.first_verdicts(stage.start())
    return {
        "rows": restored.rows,
        "row_bytes": size,
        "seconds": restored.seconds,
        "rows_per_s": round(restored.rows / restored.seconds),
        "mb_per_s": round(restored.rows * size / restored.seconds / 1e6, 1),
        "first_verdict_s": round(first, 2),
        "every_partition_s": round(last, 2),
        "first_verdict_with_it_kept_s": round(kept[0], 2),
        "bars_drawn": len(bars),
        "bar_in_the_middle": bars[len(bars) // 2] if bars else "",
    }


def _introduce(stage: Stage) -> None:
    """Makes every lead known, and no more; then asks for each once, to know which partition it is on."""
    opening = stage.traffic.traffic.opening()
    leads = len(stage.traffic.traffic.leads)
    now = wall_us()
    events = [next(opening)(now) for _ in range(_SMALL_STEPS * leads)]
    events += [lead.ask(now) for lead in stage.traffic.traffic.leads.values()]
    stage.traffic.settle(stage.traffic.gun.fire([stage.traffic.gun.load(e, 0.0) for e in events], time.monotonic()))


def _append_rows(settings: Settings, count: int) -> int:
    """Appends rows of leads that differ in their keys alone, as the last owner wrote them; the mean bytes of a row."""
    values: dict[bytes, bytes] = {}
    stamps: dict[int, Stamp] = {}
    for message in read_all(settings, CHANGELOG):
        key, value = message.key() or b"", message.value()
        if key.startswith(LEAD_PREFIX) and value:
            values[key] = value
        stamps[message.partition() or 0] = max(stamps.get(message.partition() or 0, Stamp(-1, -1)), _stamp(message))
    headers = [stamps[number].to_headers() for number in range(PARTITIONS)]
    producer = make_producer(settings, **{"linger.ms": 5, "queue.buffering.max.kbytes": 1 << 18})
    originals = list(values.values())
    for number in range(count):
        key, partition = LEAD_PREFIX + b"filler-%08d" % number, number % PARTITIONS
        value, stamp = originals[number % len(originals)], headers[partition]
        while True:
            try:
                producer.produce(CHANGELOG, value, key, partition, headers=stamp)  # type: ignore[arg-type]
                break
            except BufferError:
                producer.poll(0.05)
        if number % 1_000 == 0:
            producer.poll(0)
    if producer.flush(ANSWER_WITHIN_S):
        raise TimeoutError("the rows could not be appended")
    return round(sum(map(len, originals)) / len(originals))


def _stamp(message: Any) -> Stamp:
    return stamp_of(headers_of(message))


# -- (c) workers come and go


def _moves(stage: Stage, one: Worker, rate: int) -> dict[str, Any]:
    """The longest time from the scheduled send of a request to its verdict, for each thing that happens."""
    found: dict[str, Any] = {}
    two: list[Worker] = []

    def joins(*, supervised: bool = False) -> None:
        two.append(stage.start(supervised=supervised))
        wait(shared_by(one, two[-1]), "a second worker judges")

    def crashes() -> None:
        before = len(two[-1].announced())
        two[-1].crash()
        wait(lambda: len(two[-1].announced()) > before and shared_by(one, two[-1])(), "its next process judges")

    def restarts() -> None:
        two[-1].end(SIGKILL)
        joins()

    def leaves(number: Signals) -> None:
        before = len(one.announced())
        two[-1].end(number)
        wait(lambda: len(one.announced()) > before and shared_by(one)(), "the first judges all")

    for what, seconds, act in (
        ("nobody comes or goes", 6.0, lambda: None),
        ("a second worker joins", 14.0, joins),
        ("it is killed and started again", 14.0, restarts),
        ("it is told to end (SIGTERM)", 10.0, lambda: leaves(SIGTERM)),
    ):
        found[what] = _under_load(stage, one, rate, seconds, act)
    joins(supervised=True)
    wait(two[-1].has_spare, "its supervisor has a spare")
    time.sleep(_SPARE_LOADS_S)
    found["its process is killed under --supervise"] = _under_load(stage, one, rate, 14.0, crashes)
    leaves(SIGTERM)
    joins()
    found["it is killed for good"] = _under_load(stage, one, rate, 20.0, lambda: leaves(SIGKILL))
    return found


def _under_load(stage: Stage, one: Worker, rate: int, seconds: float, act: Callable[[], None]) -> dict[str, Any]:
    """Sends at a rate; something happens meanwhile. one: the worker that stays."""
    stopped_s, restored = one.stopped_s(), one.rows_restored()
    others, began = stage.others_cpu_s(), time.monotonic()
    shots, start = stage.traffic.aim(list(schedule(rate, seconds, seed=rate)))
    sent: list[Sent] = []
    firing = threading.Thread(target=lambda: sent.append(_fire(stage, shots, start)), name="driver")
    firing.start()
    time.sleep(max(0.0, start + _ACT_AFTER_S - time.monotonic()))
    acted = time.monotonic()
    act()
    settled_s = time.monotonic() - acted
    firing.join()
    stage.traffic.settle(sent[0])
    due = sent[0].due
    latency = {request: stage.traffic.answers.at[request] - at for request, at in due.items()}
    before = [seconds for request, seconds in latency.items() if due[request] + seconds < acted]
    after = [seconds for request, seconds in latency.items() if due[request] + seconds >= acted]
    return {
        "requests": len(due),
        "stall_s": round(max(after), 2),
        "before_s": percentiles(before),
        "after_s": percentiles(after),
        "the_other_stopped_s": round(one.stopped_s() - stopped_s, 2),
        "settled_after_s": round(settled_s, 1),
        "load_lasted": settled_s <= seconds - _ACT_AFTER_S,
        "the_other_restored_rows": one.rows_restored() - restored,
        "sent_late_ms": round(max(sent[0].late_ms)),
        "others_cores": round((stage.others_cpu_s() - others) / (time.monotonic() - began), 2),
    }


def _fire(stage: Stage, shots: Sequence[Shot], start: float) -> Sent:
    return stage.traffic.gun.fire(shots, start)


def _outcome(stage: Stage) -> dict[str, Any]:
    """Whether every request was decided (each was waited for), no decision has two versions, and every row is right."""
    copies: dict[str, list[bytes]] = {}
    for message in read_all(stage.kafka.settings, DECISIONS):
        decision = stage.codec.decode(Decision, message.value() or b"")
        copies.setdefault(decision.decision_id, []).append(message.value() or b"")
    with redirect_stdout(sys.stderr):
        verified = state_verify.run(stage.kafka.settings, every=True)
    return {
        "requests_unanswered": 0,
        "decisions": len(copies),
        "repeated_with_the_same_bytes": sum(len(found) - 1 for found in copies.values() if len(set(found)) == 1),
        "in_two_versions": sum(len(set(found)) > 1 for found in copies.values()),
        "state_verify": verified,
    }


# -- what is told


def missed(found: Mapping[str, Any]) -> list[str]:
    """A sentence for each limit that was not kept."""
    sentences = []
    for name, restart in found["restarts"].items():
        if restart["first_s"] > FIRST_VERDICT_S:
            sentences.append(f"{name}: first verdict after {restart['first_s']} s")
    for rate, moves in found["moves"].items():
        for what, move in moves.items():
            if what != "it is killed for good" and move["stall_s"] > STALL_S:
                sentences.append(f"{rate} events/s, {what}: {move['stall_s']} s")
    if found["outcome"]["in_two_versions"] or found["outcome"]["state_verify"]:
        sentences.append("decisions or rows are not what the journal gives")
    for kind, restored in found["restored"].items():
        if kind == "small" and restored["rows_per_s"] < ROWS_PER_S:
            sentences.append(f"{kind} rows: {restored['rows_per_s']:,} a second")
    return sentences


def show(found: Mapping[str, Any]) -> str:
    """The figures as tables."""
    restarts = [(name, one["first_s"], one["every_partition_s"]) for name, one in found["restarts"].items()]
    restored = [
        (
            f"{kind} ({one['row_bytes']:,} bytes)",
            *(one[key] for key in _SHOWN),
        )
        for kind, one in found["restored"].items()
    ]
    moves = [
        (f"{rate}/s: {what}", *(move[key] for key in _MOVES))
        for rate, all_moves in found["moves"].items()
        for what, move in all_moves.items()
    ]
    outcome = found["outcome"]
    return "\n\n".join(
        (
            f"Restart with local state, seconds from process start to a verdict (at most {FIRST_VERDICT_S:.0f})\n"
            + table(("ended by", "first", "every partition"), restarts),
            f"State removed, restored from the changelog (at least {ROWS_PER_S:,} rows/s of about 1 KB)\n"
            + table(("rows", "count", "rows/s", "MB/s", "first verdict s", "restart with it s"), restored),
            f"Longest time from a request to its verdict while workers come and go (at most {STALL_S:.0f} s)\n"
            + table(
                (
                    "events/s: what happens",
                    "stall s",
                    "the other stopped s",
                    "it restored rows",
                    "settled after s",
                    "requests",
                    "others' cores",
                ),
                moves,
            ),
            f"{outcome['decisions']:,} decisions, none missing, {outcome['repeated_with_the_same_bytes']} repeated "
            f"with the same bytes, {outcome['in_two_versions']} in two versions; mandate state verify --all: "
            f"{'every row is right' if outcome['state_verify'] == 0 else 'DIFFERS'}.",
            *(f"NOT HELD: {sentence}" for sentence in missed(found)),
        )
    )
