"""A local stack whose parts can be killed, paused and started again, and whose broker also listens behind proxies."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from deploy.local import kafka, ports, process, record, registry
from deploy.local.fetch import fetch_all
from deploy.local.java import java
from deploy.local.progress import Silent
from deploy.local.stack import KAFKA, REGISTRY
from deploy.schema_registry import RegistryError, SchemaRegistry
from deploy.settings import LOOPBACK, Settings
from schemas.catalogue import TOPICS
from tests.faults.proxy import Proxy
from tests.stacks import running_stack

WITHIN_S = 120.0
_ANY: Any = None  # what the client takes for "any name"; its stub does not
_OWN = (
    # Rules can be made, and while there are none everybody may do everything.
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found=true",
    # The cleaner looks every fifteen seconds otherwise.
    "log.cleaner.backoff.ms=500",
)


class Service:
    """A broker or a registry that runs as a process of its own.

    directory: where its process id and its log are. start_with: command and environment. answers: whether it can be
    used.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        start_with: Callable[[], tuple[list[str], dict[str, str]]],
        answers: Callable[[], bool],
    ) -> None:
        self._directory = directory.resolve()
        self._name = name
        self._start_with = cache(start_with)
        self._answers = answers

    def pause(self) -> None:
        self._running().suspend()

    def resume(self) -> None:
        self._running().resume()

    def end(self, number: signal.Signals) -> None:
        """Sends a signal and returns when the process is gone."""
        running = self._running()
        running.send_signal(number)
        if number is signal.SIGTERM:
            running.resume()
        process.end(running, self._directory, self._name, 30.0)

    def start(self) -> None:
        """Starts it again on its ports and its data, unless it runs."""
        if process.find(self._directory, self._name) is None:
            command, environment = self._start_with()
            process.spawn(command, self._directory, self._name, environment)

    def await_answer(self) -> None:
        """Returns when it can be used."""
        if not eventually(self._answers, WITHIN_S):
            raise RuntimeError(f"{self._name} in {self._directory} did not answer within {WITHIN_S:.0f} s")

    def stop(self) -> None:
        """Ends it for good if it runs."""
        running = process.find(self._directory, self._name)
        if running is not None:
            process.end(running, self._directory, self._name, 10.0)

    def _running(self) -> psutil.Process:
        found = process.find(self._directory, self._name)
        assert found is not None, f"{self._name} does not run"
        return found


def answers_as_broker(settings: Settings) -> Callable[[], bool]:
    """Whether brokers tell their topics at these settings' address."""
    admin = admin_of(settings)

    def look() -> bool:
        try:
            return bool(admin.list_topics(timeout=1.0).brokers)
        except KafkaException:
            return False

    return look


def answers_as_registry(settings: Settings) -> Callable[[], bool]:
    """Whether the registry tells its subjects."""

    def look() -> bool:
        try:
            with SchemaRegistry(settings.registry_config()) as registrar:
                registrar.subjects()
        except RegistryError:
            return False
        return True

    return look


def quick(command: list[str]) -> list[str]:
    """A broker's command line with the first tier of the compiler alone: it starts with less work."""
    return [command[0], "-XX:TieredStopAtLevel=1", *command[1:]]


def admin_of(settings: Settings) -> AdminClient:
    """A client for administration that tries again soon."""
    return AdminClient({**settings.client_config(), "log_level": 0, "reconnect.backoff.max.ms": 200})


def eventually(look: Callable[[], bool], within_s: float) -> bool:
    """Looks again and again; whether it became true in time."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if look():
            return True
        time.sleep(0.1)
    return False


class Ground:
    """What a run stands on: brokers and a registry. settings: to reach it directly."""

    def __init__(
        self, settings: Settings, brokers: Mapping[int, Service], registry: Service, proxies: Mapping[str, Proxy]
    ) -> None:
        self.settings = settings
        self.brokers = brokers
        self.registry = registry
        self.proxies = proxies

    @property
    def broker(self) -> Service:
        """The one broker."""
        (only,) = self.brokers.values()
        return only

    def behind(self, proxy: str) -> Settings:
        """Settings of a client that reaches the broker through a proxy alone, where there is that proxy."""
        if proxy not in self.proxies:
            return self.settings
        address = f"{LOOPBACK}:{self.proxies[proxy].port}"
        return self.settings.model_copy(update={"kafka_bootstrap": address})

    def heal(self) -> None:
        """Takes back whatever an interrupted fault may have left."""
        for proxy in self.proxies.values():
            proxy.mend()
        for service in (*self.brokers.values(), self.registry):
            service.start()
            service.resume()
        for service in (*self.brokers.values(), self.registry):
            service.await_answer()
        self.allow_all()

    @contextmanager
    def forbidden(self, topic: str) -> Iterator[None]:
        """Nobody may write to a topic for the length of the block; everybody may read it."""
        rules = [
            AclBinding(
                ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, permission
            )
            for operation, permission in (
                (AclOperation.ALL, AclPermissionType.ALLOW),
                (AclOperation.WRITE, AclPermissionType.DENY),
            )
        ]
        # One after the other: a topic of which only the second is known is nobody's to read.
        admin = admin_of(self.settings)
        for rule in rules:
            for future in admin.create_acls([rule]).values():
                future.result()
        try:
            yield
        finally:
            self.allow_all()

    def allow_all(self) -> None:
        """Removes every rule about who may do what."""
        anything = AclBindingFilter(
            ResourceType.TOPIC, _ANY, ResourcePatternType.ANY, _ANY, _ANY, AclOperation.ANY, AclPermissionType.ANY
        )
        # Only where there is an authorizer.
        admin = admin_of(self.settings)
        with suppress(KafkaException):
            for future in admin.delete_acls([anything]).values():
                future.result()

    @contextmanager
    def configured(self, topic: str, **values: str) -> Iterator[None]:
        """A topic with other settings for the length of the block. Underscores stand for points."""
        self._configure(topic, values)
        try:
            yield
        finally:
            made = TOPICS[topic].config
            self._configure(topic, {name: made.get(name.replace("_", ".")) for name in values})

    def _configure(self, topic: str, values: Mapping[str, str | None]) -> None:
        entries = [
            ConfigEntry(
                name.replace("_", "."),
                value or "",
                incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
            )
            for name, value in values.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        admin = admin_of(self.settings)
        for future in admin.incremental_alter_configs([resource]).values():
            future.result()


@contextmanager
def ground(data_dir: Path, names: Sequence[str]) -> Iterator[Ground]:
    """A throwaway stack; its broker has a listener behind a proxy for each name."""
    data_dir.mkdir(parents=True, exist_ok=True)
    picked = ports.pick_free(2 * len(names))
    ahead, behind = picked[: len(names)], picked[len(names) :]
    write = kafka.write_properties

    def with_listeners(directory: Path, port: int, controller_port: int) -> None:
        write(directory, port, controller_port)
        # The later line of a property wins.
        with (directory / "server.properties").open("a") as file:
            file.writelines(f"{line}\n" for line in _listeners(names, behind, ahead, port, controller_port))
            file.writelines(f"{line}\n" for line in _OWN)

    proxies: dict[str, Proxy] = {}
    try:
        with (
            mock.patch.object(kafka, "write_properties", with_listeners),
            running_stack(data_dir, clock="system") as settings,
        ):
            proxies |= {name: Proxy(ahead[n], behind[n]) for n, name in enumerate(names)}
            directory = settings.data_dir / "stack"
            broker = Service(directory, KAFKA, partial(_broker_command, settings), answers_as_broker(settings))
            start_with, answers = partial(_registry_command, settings), answers_as_registry(settings)
            yield Ground(settings, {1: broker}, Service(directory, REGISTRY, start_with, answers), proxies)
    finally:
        for proxy in proxies.values():
            proxy.close()


def _broker_command(settings: Settings) -> tuple[list[str], dict[str, str]]:
    fetched = fetch_all(settings, Silent())
    return quick(kafka.command(java(), fetched, (settings.data_dir / "stack").resolve())), {}


def _registry_command(settings: Settings) -> tuple[list[str], dict[str, str]]:
    run = record.read((settings.data_dir / "stack").resolve())
    assert run is not None
    at = run.ports
    environment = registry.environment(at.kafka_port, at.registry_port, at.management_port)
    return registry.command(java(), fetch_all(settings, Silent())), environment


def _listeners(names: Sequence[str], behind: list[int], ahead: list[int], port: int, controller: int) -> list[str]:
    own = [f"PLAINTEXT://{LOOPBACK}:{port}"]
    listening = [f"{name.upper()}://{LOOPBACK}:{at}" for name, at in zip(names, behind, strict=True)]
    told = [f"{name.upper()}://{LOOPBACK}:{at}" for name, at in zip(names, ahead, strict=True)]
    protocols = [f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", *(name.upper() for name in names))]
    return [
        f"listeners={','.join([*own, f'CONTROLLER://{LOOPBACK}:{controller}', *listening])}",
        f"advertised.listeners={','.join(own + told)}",
        f"listener.security.protocol.map={','.join(protocols)}",
    ]
