"""The systems under test as processes: Mandate as users start it, and its peer in an environment of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
from confluent_kafka.admin import AdminClient, NewTopic

from deploy import kafka_admin, keys
from deploy.local import process, stack
from deploy.settings import Settings, load_settings
from schemas.catalogue import EVENT_INPUTS, TOPIC_OF, TOPICS
from schemas.records import JournalEntry

ROOT = Path(__file__).parents[2]
PEER_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
PEER_PREFIX = "peer."
PARTITIONS = 4
"""What several workers share."""
READY_WITHIN_S = 60.0
STOP_WITHIN_S = 15.0


class Part(NamedTuple):
    """One process of a system. ready: a line with this text says that it works; None: it says nothing."""

    name: str
    command: tuple[str, ...]
    ready: str | None


class Broker(NamedTuple):
    """A broker with topics and schemas, and its process."""

    settings: Settings
    pid: int

    def cpu_s(self) -> float:
        """Processor seconds that the broker has used so far."""
        return _cpu_s(self.pid)


class System(NamedTuple):
    """What is measured. prefix: of its topics."""

    name: str
    prefix: str
    parts: tuple[Part, ...]


def mandate(partitions: int = PARTITIONS, python: str = sys.executable) -> System:
    """One intake and one control worker, which owns all partitions."""
    command = (python, "-m", "deploy.cli")
    return System(
        "mandate",
        "",
        (
            Part("intake", (*command, "intake"), "intake ready"),
            Part("control", (*command, "worker"), f"control ready: partitions {list(range(partitions))}"),
        ),
    )


def peer(python: Path = PEER_PYTHON) -> System:
    """The same two hops on Quix Streams."""
    command = (str(python), "-m", "tests.benchmarks.peer")
    parts = tuple(Part(name, (*command, name), None) for name in ("intake", "control"))
    return System("quix streams", PEER_PREFIX, parts)


class Running:
    """The processes of a system. One that ends by itself is an error at the next look."""

    def __init__(self, system: System, settings: Settings, logs: Path) -> None:
        self.system = system
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **settings.to_env(), "PYTHONPATH": str(ROOT), "MANDATE_CONFIG": ""}
        for part in system.parts:
            with self._log(part.name).open("wb") as out:
                self._processes[part.name] = subprocess.Popen(
                    part.command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT
                )

    def _log(self, part: str) -> Path:
        return self._logs / f"{self.system.prefix}{part}.log"

    def wait_ready(self) -> None:
        """Returns when each part that says so is ready."""
        until = time.monotonic() + READY_WITHIN_S
        for part in self.system.parts:
            while part.ready and part.ready not in self._log(part.name).read_text(errors="replace"):
                self.look()
                if time.monotonic() > until:
                    raise TimeoutError(f"{part.name} was not ready within {READY_WITHIN_S:.0f} s")
                time.sleep(0.05)

    def look(self) -> None:
        """Raises when a process has ended."""
        for name, started in self._processes.items():
            if started.poll() is not None:
                words = self._log(name).read_text(errors="replace")[-2_000:]
                raise RuntimeError(f"{self.system.name} {name} ended ({started.returncode}):\n{words}")

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds that each process has used so far."""
        return {name: _cpu_s(started.pid) for name, started in self._processes.items()}

    def pids(self) -> dict[str, int]:
        """Process ids by the names of the parts."""
        return {name: started.pid for name, started in self._processes.items()}

    @contextmanager
    def held(self, parts: Collection[str] | None = None) -> Iterator[None]:
        """Stops processes where they are (SIGSTOP), all or those named, and lets them go on at the end."""
        held = [started for name, started in self._processes.items() if parts is None or name in parts]
        for started in held:
            started.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for started in held:
                started.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ends every process, by force when it doesn't listen."""
        for started in self._processes.values():
            if started.poll() is None:
                started.send_signal(signal.SIGTERM)
        for started in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                started.wait(STOP_WITHIN_S)
            if started.poll() is None:
                started.kill()
                started.wait()


@contextmanager
def running(system: System, settings: Settings, logs: Path) -> Iterator[Running]:
    """A system from its start to its end."""
    processes = Running(system, settings, logs)
    try:
        processes.wait_ready()
        yield processes
    finally:
        processes.stop()


@contextmanager
def broker(data_dir: Path, say: Callable[[str], None], partitions: int = PARTITIONS) -> Iterator[Broker]:
    """A throwaway stack on free ports with topics and schemas for all systems; the settings that name it."""
    local = load_settings(data_dir=data_dir, kafka_port=0, registry_port=0, partitions=partitions)
    say("starting Kafka and the registry")
    started = stack.start(local)
    try:
        settings = load_settings(
            data_dir=data_dir,
            kafka_bootstrap=started.kafka_bootstrap,
            registry_url=started.registry_url,
            partitions=partitions,
        )
        keys.ensure_keys(settings)
        kafka_admin.ensure_topics(settings)
        kafka_admin.register_schemas(settings)
        _make_peer_topics(settings)
        found = process.find((data_dir / "stack").resolve(), stack.KAFKA)
        assert found is not None
        yield Broker(settings, found.pid)
    finally:
        stack.stop(local)


def _make_peer_topics(settings: Settings) -> None:
    names = {*EVENT_INPUTS, *(name for name, topic in TOPICS.items() if "control" in topic.writers and topic.value)}
    topics = [TOPICS[name] for name in sorted(names | {TOPIC_OF[JournalEntry]})]
    new = [
        NewTopic(
            PEER_PREFIX + topic.name, num_partitions=settings.partitions, replication_factor=1, config=topic.config
        )
        for topic in topics
    ]
    admin = AdminClient({**settings.client_config()})
    for future in admin.create_topics(new).values():
        future.result()


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def machine_cpu_s() -> float:
    """Processor seconds that all processes of the machine have used so far."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
