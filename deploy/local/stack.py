"""Start, stop and look at the local stack. With a cluster of one's own configured, none of it does anything.

The stack's directory (`data_dir/stack`) holds its data, logs, pid files and `stack.json` with its ports. One process
at a time changes it. Whatever a killed run left is recognised here: a whole stack is taken over, parts of one are
ended and started again, and data written by the broker is kept until `fresh` or `make clean`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from deploy.local import kafka, ports, process, record, registry
from deploy.local.errors import PortTakenError, StackError, last_words
from deploy.local.fetch import Fetched, fetch_all
from deploy.local.java import java
from deploy.local.progress import Progress, Silent
from deploy.local.record import Ports, Run
from deploy.schema_registry import RegistryError, SchemaRegistry
from deploy.settings import (
    DEFAULT_KAFKA_PORT,
    DEFAULT_REGISTRY_PORT,
    LOOPBACK,
    PREFIX,
    Settings,
    SettingsError,
)

KAFKA, FORMATTER, REGISTRY = PROGRAMS = kafka.BROKER, kafka.FORMATTER, registry.REGISTRY
READY_WITHIN_S = 180.0
LOOK_EVERY_S = 0.05
ATTEMPTS = 3
# The registry keeps nothing of its own, and waits for ever for a broker that is gone.
GRACE_S = {KAFKA: 20.0, REGISTRY: 2.0, FORMATTER: 2.0}


@dataclass(frozen=True, slots=True)
class Stack:
    """Where broker and registry answer. `started`: the caller has to stop them; False when they ran already for
    somebody who lives or keeps them, and for a cluster of one's own."""

    kafka_bootstrap: str
    registry_url: str
    started: bool


@dataclass(frozen=True, slots=True)
class Service:
    """One part of the stack as it is now; `pid` is None when it does not run here."""

    name: str
    address: str
    pid: int | None
    answers: bool


def start(
    settings: Settings,
    progress: Progress | None = None,
    *,
    keep: bool = False,
    fresh: bool = False,
    fetched: Fetched | None = None,
) -> Stack:
    """Broker and registry, answering. Idempotent. What was started is stopped again if this fails or is interrupted.

    keep: they are to outlive this process; otherwise, when it is killed, the next start takes them over.
    fresh: what runs is stopped and the broker's data removed first. fetched: what is run; else what the lock names.
    Raises StackError.
    """
    if not settings.is_local:
        return Stack(settings.bootstrap_servers, settings.schema_registry_url, started=False)
    progress = progress or Silent()
    directory = record.made(settings)
    owner = None if keep else process.myself()
    with record.alone(directory):
        running = None if fresh else _running(directory)
        if running is not None and _fits(settings, running.ports):
            return _joined(directory, running, owner, progress)
        _stop_parts(directory, progress)
        if fresh:
            shutil.rmtree(directory / "kafka", ignore_errors=True)
        runtime = java()
        fetched = fetched or fetch_all(settings, progress)
        chosen = _launch(settings, directory, owner, runtime, fetched, progress)
    return Stack(chosen.bootstrap, chosen.registry_url, started=True)


def stop(settings: Settings, progress: Progress | None = None, *, within_s: float | None = None) -> bool:
    """End what runs of the local stack; its data stays. False when nothing ran.

    within_s: how long each part may take until it is killed; else as long as it usually needs.
    """
    if not settings.is_local:
        return False
    directory = settings.data_dir / "stack"
    if not directory.is_dir():
        return False
    with record.alone(directory):
        return _stop_parts(directory, progress or Silent(), within_s)


def status(settings: Settings) -> tuple[Service, Service]:
    """Broker and registry as they are now, local or not."""
    directory = settings.data_dir / "stack"
    pids: dict[str, int | None] = {KAFKA: None, REGISTRY: None}
    if settings.is_local:
        for name in pids:
            found = process.find(directory, name)
            pids[name] = found.pid if found else None
    try:
        config, url = settings.client_config(), settings.schema_registry_url
    except SettingsError:  # a free port was asked for and nothing runs
        return Service(KAFKA, "", None, False), Service(REGISTRY, "", None, False)
    registry_config = settings.registry_config()
    return (
        Service(KAFKA, str(config["bootstrap.servers"]), pids[KAFKA], _kafka_answers(config)),
        Service(REGISTRY, url, pids[REGISTRY], _registry_answers(registry_config)),
    )


# -- starting ----------------------------------------------------------------------------------------------------


def _joined(directory: Path, running: Run, owner: process.Written | None, progress: Progress) -> Stack:
    """Use a stack that runs; one whose owner was killed is the caller's now."""
    at = f"Kafka {running.ports.bootstrap}, registry {running.ports.registry_url}"
    orphaned = running.owner is not None and not process.lives(running.owner)
    progress.say(
        f"Taking over the stack of a killed run: {at}." if orphaned else f"The local stack runs already: {at}."
    )
    if orphaned or owner is None:
        record.write(directory, Run(running.ports, owner))
    return Stack(running.ports.bootstrap, running.ports.registry_url, started=orphaned)


def _launch(
    settings: Settings,
    directory: Path,
    owner: process.Written | None,
    runtime: Path,
    fetched: Fetched,
    progress: Progress,
) -> Ports:
    """Start both, all or nothing; on other ports when somebody was quicker to take one that we had picked."""
    for _ in range(ATTEMPTS - 1):
        chosen = _choose_ports(settings)
        try:
            return _launch_on(chosen, directory, owner, runtime, fetched, progress)
        except PortTakenError as error:
            progress.say(error.message)
    return _launch_on(_choose_ports(settings), directory, owner, runtime, fetched, progress)


def _launch_on(
    chosen: Ports,
    directory: Path,
    owner: process.Written | None,
    runtime: Path,
    fetched: Fetched,
    progress: Progress,
) -> Ports:
    record.write(directory, Run(chosen, owner))
    try:
        _spawn(directory, runtime, fetched, chosen, progress)
    except BaseException:
        _stop_parts(directory, Silent())
        raise
    return chosen


def _spawn(directory: Path, runtime: Path, fetched: Fetched, chosen: Ports, progress: Progress) -> None:
    began = time.monotonic()
    progress.say("Starting Kafka and the schema registry.")
    # The registry first: it needs longer, and asks for the broker until that answers.
    registrar = process.spawn(
        registry.command(runtime, fetched),
        directory,
        REGISTRY,
        registry.environment(chosen.kafka_port, chosen.registry_port, chosen.management_port),
    )
    kafka.write_properties(directory, chosen.kafka_port, chosen.controller_port)
    if not kafka.is_formatted(directory):
        _format(directory, kafka.format_command(runtime, fetched, directory))
    broker = process.spawn(kafka.command(runtime, fetched, directory), directory, KAFKA, {})
    _await_kafka(directory, broker, chosen.kafka_port)
    _await_registry(directory, registrar, chosen.registry_url)
    progress.say(
        f"Kafka answers on {chosen.bootstrap}, the registry on {chosen.registry_url}"
        f" ({time.monotonic() - began:.1f} s)."
    )


def _format(directory: Path, command: list[str]) -> None:
    shutil.rmtree(directory / KAFKA, ignore_errors=True)  # what a kill during formatting may have left
    formatter = process.spawn(command, directory, FORMATTER, {})
    while process.is_running(formatter):
        time.sleep(LOOK_EVERY_S)
    process.end(formatter, directory, FORMATTER, GRACE_S[FORMATTER])
    if not kafka.is_formatted(directory):
        log = directory / f"{FORMATTER}.log"
        raise StackError(
            f"Kafka could not prepare its data directory: {last_words(log.read_text(errors='replace'))}.",
            f"Check that the disk has room, and {log}; then repeat the command.",
        )


def _choose_ports(settings: Settings) -> Ports:
    free = iter(ports.pick_free(4))
    chosen = []
    for name, wanted, default in (
        ("KAFKA_PORT", settings.kafka_port, DEFAULT_KAFKA_PORT),
        ("REGISTRY_PORT", settings.registry_port, DEFAULT_REGISTRY_PORT),
    ):
        port = default if wanted is None else wanted
        if port and not ports.is_free(port):
            raise StackError(
                f"Port {port} on {LOOPBACK} is in use ({ports.holder(port)}).",
                f"End that, or set {PREFIX}{name} to another port (0 takes a free one).",
            )
        chosen.append(port or next(free))
    return Ports(chosen[0], next(free), chosen[1], next(free))


def _await_kafka(directory: Path, broker: psutil.Process, port: int) -> None:
    _await(directory, KAFKA, broker, lambda: ports.accepts(port))
    admin = _admin({"bootstrap.servers": f"{LOOPBACK}:{port}"})
    _await(directory, KAFKA, broker, lambda: _lists_topics(admin, 1.0))


def _await_registry(directory: Path, registrar: psutil.Process, url: str) -> None:
    _await(directory, REGISTRY, registrar, lambda: _registry_answers({"url": url}))


def _await(directory: Path, service: str, running: psutil.Process, answers: Callable[[], bool]) -> None:
    title = {KAFKA: "Kafka", REGISTRY: "The schema registry"}[service]
    log = directory / f"{service}.log"
    until = time.monotonic() + READY_WITHIN_S
    while not answers():
        if not process.is_running(running):
            told = last_words(log.read_text(errors="replace"))
            raise (PortTakenError if "Address already in use" in told else StackError)(
                f"{title} ended while it started: {told}.",
                f"{log} has the whole story; `make clean` removes what an earlier run may have damaged.",
            )
        if time.monotonic() > until:
            raise StackError(
                f"{title} did not answer within {READY_WITHIN_S:.0f} s.",
                f"See {log}; on a busy machine just repeat the command, what was fetched is kept.",
            )
        time.sleep(LOOK_EVERY_S)


# -- what runs ---------------------------------------------------------------------------------------------------


def _running(directory: Path) -> Run | None:
    """A stack of ours that is whole and answers."""
    written = record.read(directory)
    if written is None or not all(process.find(directory, name) for name in (KAFKA, REGISTRY)):
        return None
    answers = _kafka_answers({"bootstrap.servers": written.ports.bootstrap})
    return written if answers and _registry_answers({"url": written.ports.registry_url}) else None


def _fits(settings: Settings, running: Ports) -> bool:
    """Whether what runs listens where the settings say."""
    wanted_kafka = DEFAULT_KAFKA_PORT if settings.kafka_port is None else settings.kafka_port
    wanted_registry = DEFAULT_REGISTRY_PORT if settings.registry_port is None else settings.registry_port
    return wanted_kafka in (0, running.kafka_port) and wanted_registry in (0, running.registry_port)


def _stop_parts(directory: Path, progress: Progress, within_s: float | None = None) -> bool:
    found = [(name, process.find(directory, name)) for name in (REGISTRY, FORMATTER, KAFKA)]
    alive = [(name, running) for name, running in found if running is not None]
    for name, running in alive:
        progress.say(f"Stopping {name} (process {running.pid}).")
        process.end(running, directory, name, within_s or GRACE_S[name])
    (directory / "stack.json").unlink(missing_ok=True)
    return bool(alive)


def _kafka_answers(config: dict[str, str | int]) -> bool:
    return _lists_topics(_admin(config), 3.0)


def _admin(config: dict[str, str | int]) -> AdminClient:
    return AdminClient({**config, "log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100})


def _lists_topics(admin: AdminClient, timeout_s: float) -> bool:
    try:
        return bool(admin.list_topics(timeout=timeout_s).brokers)
    except KafkaException:
        return False


def _registry_answers(config: dict[str, str]) -> bool:
    try:
        with SchemaRegistry(config) as registrar:
            registrar.subjects()
    except RegistryError:
        return False
    return True
