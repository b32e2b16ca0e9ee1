"""One run: a stack, the processes on it, load, and who looks on. Faults are injected into it; then it is quietened."""

import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from deploy.commands import policy_activate
from deploy.settings import PACKAGED_POLICY, Settings
from schemas.catalogue import EVENT_INPUTS, TOPICS
from streams.registry import connect
from tests.faults.cast import RIGGED, Cast
from tests.faults.ground import Ground, eventually
from tests.faults.history import JOURNAL, Effect, Notes, write_notes
from tests.faults.load import LiveLoad
from tests.faults.onlooker import Onlooker

FEED, SLOW = "feed", "slow"
READY = "control ready: partitions"
DISK_MB = 192
_CATCH_UP_S = 60.0
_LAST_LINES = 60


class NotInjectedError(Exception):
    """A fault could not be brought about this time; nothing is said by it."""


class Stage:
    """What faults act on. over: set when the run is to end early. chance: all moments and choices come from it.

    interrupted: by Ctrl-C. trouble: what went otherwise than a fault says it must.
    """

    def __init__(self, under: Ground, directory: Path, seed: int, rate: float) -> None:
        self.ground = under
        self.settings = under.settings
        self.directory = directory
        self.chance = random.Random(seed)
        self.over = threading.Event()
        self.interrupted = False
        self.notes = Notes()
        self.trouble: list[str] = []
        self.state = directory / "state" / "worker"
        self.state.mkdir(parents=True, exist_ok=True)
        self.is_own_disk = _mount(self.state)
        self.effects = directory / "effects"
        self.cast = Cast(directory / "processes")
        self.load = LiveLoad(self.settings, connect(self.settings), seed, rate)
        self.onlooker = Onlooker(self.settings, self.notes)

    def begin(self) -> None:
        """Starts everything; returns when requests are decided."""
        assert policy_activate.run(self.settings, bundle=PACKAGED_POLICY) == 0
        self.enter_worker()
        self.cast.enter("intake", self.settings, RIGGED, str(self._order("intake")), "intake")
        self.cast.enter("crm", self.settings, "deploy.cli", "sink", "crm")
        self.cast.enter("audit", self.settings, "deploy.cli", "sink", "audit", "--interval", "2")
        feed = str(self.ground.behind(FEED).kafka_bootstrap)
        self.cast.enter("enforcer", self.settings, "tests.faults.enforcer", str(self.effects), feed)
        self.onlooker.start()
        self.load.start()
        if not self.recovered(300):
            raise RuntimeError("nothing is decided; with --keep the processes say why")

    def enter_worker(self, name: str = "worker", settings: Settings | None = None) -> None:
        """Starts a worker; each name has a directory of its own."""
        state = self.state if name == "worker" else self.state.parent / name
        mine = (settings or self.settings).model_copy(update={"state_dir": state})
        self.cast.enter(name, mine, RIGGED, str(self._order(name)), "worker")

    def order(self, name: str, *, tell: bool = True, **what: Any) -> None:
        """Has a worker or intake fail from within (`rigged.Order`): at its start, or at once when it is told."""
        file = self._order(name)
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(what))
        draft.replace(file)
        if tell:
            self.cast[name].send(signal.SIGUSR1)

    def take_back(self, name: str) -> None:
        """Removes an order that is still there."""
        self._order(name).unlink(missing_ok=True)

    def is_taken(self, name: str) -> bool:
        """Whether the order was read; one for a clock stays."""
        return not self._order(name).exists()

    def _order(self, name: str) -> Path:
        return self.directory / f"{name}.order"

    def apart(self) -> "Stage":
        """The same, with moments and choices of its own: for a fault that goes on beside the others."""
        other = copy.copy(self)
        other.chance = random.Random(self.chance.random())
        return other

    def databases(self) -> list[Path]:
        """Directories of the worker's RocksDB databases and what belongs to them."""
        return [path for path in self.state.iterdir() if path.is_dir() and path.name != "lost+found"]

    def remove_state(self) -> None:
        """What an operator does with state that nobody can use."""
        with self.cast.held("worker"):
            for database in self.databases():
                shutil.rmtree(database, ignore_errors=True)

    def wait(self, least_s: float, most_s: float) -> None:
        """Some time between the two."""
        self.over.wait(self.chance.uniform(least_s, most_s))

    def ready(self, name: str, within_s: float = 60.0) -> bool:
        """Waits until a worker that was just started says that it judges some partitions."""
        member = self.cast[name]
        until = time.monotonic() + within_s
        while time.monotonic() < until and not self.over.is_set():
            if READY in member.said()[member.log_before :]:
                return True
            time.sleep(0.1)
        return False

    def recovered(self, within_s: float = 60.0) -> bool:
        """Waits until requests of now are decided."""
        since, until = time.time(), time.monotonic() + within_s
        while time.monotonic() < until:
            acknowledged = self.load.acknowledged
            fresh = [r for r in list(self.onlooker.seen.decided)[-200:] if acknowledged.get(r, 0) > since]
            if fresh:
                return self._has_caught_up()
            if self.over.wait(0.05):
                return False
        return False

    def _has_caught_up(self) -> bool:
        """Waits, for a minute at most, until older requests are decided too: else their stall holds the next fault."""
        until = time.monotonic() + _CATCH_UP_S
        while time.monotonic() < until and not self.over.wait(0.1):
            # A copy in one step: the load goes on, and a list of pairs can be interrupted by it.
            decided, acknowledged, due = self.onlooker.seen.decided, self.load.acknowledged.copy(), time.time() - 1
            if all(request in decided for request, at in acknowledged.items() if at < due):
                break
        return True

    def last_words(self) -> str:
        """What each process printed last; of workers and intake, where each of their threads is."""
        members = self.cast.members()
        for member in members.values():
            if member.is_rigged:
                member.send(signal.SIGUSR2)
        time.sleep(1)
        return "\n".join(
            f"{name} ({'ended' if member.process.poll() is not None else 'runs'}):\n{_tail(member.said(), _LAST_LINES)}"
            for name, member in members.items()
        )

    def stalls(self, requests: set[str]) -> list[float]:
        """How long each of some requests waited for its decision, in seconds; without those that wait still."""
        decided, acknowledged = self.onlooker.seen.decided, self.load.acknowledged
        return [decided[request] - acknowledged[request] for request in requests if request in decided]

    def heal(self) -> None:
        """Takes back whatever a fault that was interrupted may have left."""
        (self.state / "filler").unlink(missing_ok=True)
        for name in ("worker", "intake"):
            self.take_back(name)
        self.ground.heal()

    def quieten(self, within_s: float = 120.0) -> list[str]:
        """Ends the load, lets everything settle, ends the processes; answers what did not settle."""
        trouble = []
        self.over.clear()
        self.load.stop()
        if not eventually(self._all_admitted, within_s):
            trouble.append("intake did not come to the end of its inputs")
        self.cast.leave("intake")
        ends = self._journal_ends()
        if not eventually(lambda: self._all_judged(ends), within_s):
            trouble.append("control did not come to the end of the journal")
        if not self._taken_over_from_nothing():
            trouble.append("no worker took over at the end")
        time.sleep(3 * self.settings.tick_interval_s)
        self.cast.close()
        for sink in ("crm", "audit"):
            command = [sys.executable, "-m", "deploy.cli", "sink", sink, "--once"]
            env = {**_environment(), **self.settings.to_env()}
            done = subprocess.run(command, env=env, timeout=600, check=False, capture_output=True, text=True)
            if done.returncode != 0:
                trouble.append(f"sink {sink}: {done.stderr.strip()[-300:]}")
        self.onlooker.stop()
        return trouble

    def _taken_over_from_nothing(self) -> bool:
        """A last worker that has only the changelog: what that says is then what is restored, late rows put right."""
        self.cast.leave("worker")
        for database in self.databases():
            shutil.rmtree(database, ignore_errors=True)
        self.enter_worker()
        return self.ready("worker", 120)

    def write_notes(self, path: Path) -> None:
        """What the checker needs of what was seen."""
        self.notes.requests = dict(self.load.acknowledged)
        if self.effects.exists():
            self.notes.effects = [Effect(*json.loads(line)) for line in self.effects.read_text().splitlines()]
        write_notes(self.notes, path)

    def close(self) -> None:
        self.cast.close()
        if self.is_own_disk:
            subprocess.run(["umount", "-l", str(self.state)], check=False, capture_output=True)
        shutil.rmtree(self.state.parent, ignore_errors=True)

    def _all_admitted(self) -> bool:
        places = [
            TopicPartition(topic, number)
            for topic in EVENT_INPUTS
            for number in range(1 if TOPICS[topic].partitions == 1 else self.settings.partitions)
        ]
        return self._is_at("mandate-intake", {(p.topic, p.partition): -1 for p in places})

    def _journal_ends(self) -> dict[tuple[str, int], int]:
        places = {(JOURNAL, number): -1 for number in range(self.settings.partitions)}
        return self._ends(places)

    def _all_judged(self, ends: dict[tuple[str, int], int]) -> bool:
        return self._is_at("mandate-control", ends)

    def _ends(self, places: dict[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        consumer = Consumer({**self.settings.client_config(), "group.id": "stage", "log_level": 0})
        try:
            return {p: consumer.get_watermark_offsets(TopicPartition(*p), timeout=10)[1] for p in places}
        finally:
            consumer.close()

    def _is_at(self, group: str, ends: dict[tuple[str, int], int]) -> bool:
        """Whether a group has committed up to given ends; -1: the present one."""
        present = self._ends({place: end for place, end in ends.items() if end < 0})
        wanted = {**ends, **present}
        admin = AdminClient({**self.settings.client_config(), "log_level": 0})
        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(*place) for place in wanted])
        (future,) = admin.list_consumer_group_offsets([asked]).values()
        try:
            committed = {(p.topic, p.partition): p.offset for p in future.result().topic_partitions}
        except KafkaException:  # its coordinator has just started
            return False
        return all(committed.get(place, -1) >= end or end == 0 for place, end in wanted.items())


@contextmanager
def stage(directory: Path, under: AbstractContextManager[Ground], seed: int, rate: float) -> Iterator[Stage]:
    """Everything made and nothing started; all of it is gone afterwards."""
    with ExitStack() as ending:
        made = Stage(ending.enter_context(under), directory, seed, rate)
        ending.callback(made.close)
        yield made


def _mount(directory: Path) -> bool:
    """A small disk in memory where that is allowed: one that can be full."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "mandate-faults", str(directory)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _tail(text: str, lines: int) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def _environment() -> dict[str, str]:
    return {**os.environ, "MANDATE_CONFIG": "", "PYTHONPATH": str(Path(__file__).parents[2])}
