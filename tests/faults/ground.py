"""A local stack whose parts can be killed, paused and started again, and whose broker also listens behind proxies."""

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from deploy.local import kafka, ports, process, record, registry
from deploy.local.fetch import fetch_all
from deploy.local.java import java
from deploy.local.progress import Silent
from deploy.local.stack import KAFKA, REGISTRY
from deploy.settings import LOOPBACK, Settings
from schemas.catalogue import TOPICS
from tests.faults.proxy import Proxy
from tests.stacks import running_stack

WITHIN_S = 120.0


class Service:
    """The broker or the registry of a running stack."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._directory = (settings.data_dir / "stack").resolve()

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
        """Starts it again on its ports and its data; a broker answers when this returns."""
        if process.find(self._directory, self._name) is not None:
            return
        run = record.read(self._directory)
        assert run is not None
        fetched = fetch_all(self._settings, Silent())
        if self._name == KAFKA:
            command, env = kafka.command(java(), fetched.kafka_class_path, self._directory), {}
        else:
            at = run.ports
            command = registry.command(java(), fetched.registry_home)
            env = registry.environment(at.kafka_port, at.registry_port, at.management_port)
        process.spawn(command, self._directory, self._name, env)
        if self._name == KAFKA:
            self._await_broker()

    def _running(self) -> psutil.Process:
        found = process.find(self._directory, self._name)
        assert found is not None, f"{self._name} does not run"
        return found

    def _await_broker(self) -> None:
        admin = AdminClient({**self._settings.client_config(), "log_level": 0, "reconnect.backoff.max.ms": 200})
        until = time.monotonic() + WITHIN_S
        while time.monotonic() < until:
            try:
                if admin.list_topics(timeout=1.0).brokers:
                    return
            except KafkaException:
                continue
        raise RuntimeError(f"the broker did not answer within {WITHIN_S:.0f} s")


class Ground:
    """A running stack. settings: to reach it directly."""

    def __init__(self, settings: Settings, proxies: dict[str, Proxy]) -> None:
        self.settings = settings
        self.broker = Service(settings, KAFKA)
        self.registry = Service(settings, REGISTRY)
        self.proxies = proxies

    def behind(self, proxy: str) -> Settings:
        """Settings of a client that reaches the broker through a proxy alone."""
        address = f"{LOOPBACK}:{self.proxies[proxy].port}"
        return self.settings.model_copy(update={"kafka_bootstrap": address})

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
        admin = AdminClient({**self.settings.client_config(), "log_level": 0})
        entries = [
            ConfigEntry(
                name.replace("_", "."),
                value or "",
                incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
            )
            for name, value in values.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
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

    proxies: dict[str, Proxy] = {}
    try:
        with (
            mock.patch.object(kafka, "write_properties", with_listeners),
            running_stack(data_dir, clock="system") as settings,
        ):
            proxies |= {name: Proxy(ahead[n], behind[n]) for n, name in enumerate(names)}
            yield Ground(settings, proxies)
    finally:
        for proxy in proxies.values():
            proxy.close()


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
