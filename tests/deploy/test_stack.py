"""The local stack under mishaps: each told in a sentence, and the next start works."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.local import java, kafka, ports, process
from deploy.local import stack as local_stack
from deploy.local.errors import StackError
from deploy.settings import LOOPBACK, Settings, SettingsError, load_settings

broker = pytest.mark.broker


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = load_settings(data_dir=tmp_path, kafka_port=0, registry_port=0)
    yield settings
    local_stack.stop(settings)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        server.listen()
        yield server.getsockname()[1]


def _directory(settings: Settings) -> Path:
    return (settings.data_dir / "stack").resolve()


def _services(settings: Settings) -> dict[str, psutil.Process | None]:
    return {name: process.find(_directory(settings), name) for name in ("kafka", "registry")}


def _mandate(settings: Settings, command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", command],
        env={**os.environ, **settings.to_env()},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )


def _wait_until_started(settings: Settings) -> None:
    until = time.monotonic() + 60
    while not any(_services(settings).values()):
        assert time.monotonic() < until
        time.sleep(0.02)


def _listening_addresses(of: psutil.Process) -> set[str]:
    found = {c.laddr.ip for c in of.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    return {address.removeprefix("::ffff:") for address in found}


# -- without a broker --------------------------------------------------------------------------------------------


def test_a_port_in_use_is_told_with_its_holder(tmp_path: Path, taken_port: int) -> None:
    settings = load_settings(data_dir=tmp_path, kafka_port=taken_port, registry_port=0)
    with pytest.raises(StackError, match=f"Port {taken_port} .*process {os.getpid()}") as refused:
        local_stack.start(settings)
    assert "MANDATE_KAFKA_PORT" in refused.value.remedy
    assert not any(_services(settings).values())


def test_a_stale_pid_file_of_another_process_is_not_believed(tmp_path: Path) -> None:
    me = psutil.Process()
    for started in (me.create_time(), me.create_time() - 100):
        content = {"pid": me.pid, "started": started, "mark": process.mark(tmp_path, "kafka")}
        (tmp_path / "kafka.pid").write_text(json.dumps(content))
        assert process.find(tmp_path, "kafka") is None
        assert not (tmp_path / "kafka.pid").exists()


def test_a_recycled_process_id_is_not_believed_even_with_our_mark(tmp_path: Path) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)", process.mark(tmp_path / "other", "kafka")]
    with subprocess.Popen(sleeper) as other:
        try:
            content = {"pid": other.pid, "started": 1.0, "mark": process.mark(tmp_path / "other", "kafka")}
            (tmp_path / "kafka.pid").write_text(json.dumps(content))
            assert process.find(tmp_path, "kafka") is None
        finally:
            other.kill()


def test_a_process_whose_start_was_not_written_down_is_found_and_ended(tmp_path: Path) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)", process.mark(tmp_path, "kafka")]
    with subprocess.Popen(sleeper) as orphan:
        until = time.monotonic() + 10
        while (found := process.find(tmp_path, "kafka")) is None:
            assert time.monotonic() < until
        assert found.pid == orphan.pid
        process.end(found, tmp_path, "kafka", 5)
    assert process.find(tmp_path, "kafka") is None


def test_a_service_is_found_at_once_though_its_command_line_is_shown_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen once, on a machine with twenty processes ready to run: a broker that had just started "does not run"."""
    sleeper = tmp_path / "sleeper"
    sleeper.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    sleeper.chmod(0o755)
    shown, late = psutil.Process.cmdline, time.monotonic() + 0.5
    monkeypatch.setattr(psutil.Process, "cmdline", lambda self: shown(self) if time.monotonic() > late else [])
    spawned = process.spawn([str(sleeper)], tmp_path, "kafka", {})
    try:
        assert process.find(tmp_path, "kafka") == spawned
    finally:
        process.end(spawned, tmp_path, "kafka", 5)


def test_what_does_not_end_when_asked_is_forced(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", stubborn, process.mark(tmp_path, "kafka")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        process.end(psutil.Process(child.pid), tmp_path, "kafka", 0.2)
        assert child.wait(5) == -signal.SIGKILL


@pytest.mark.parametrize("content", [None, "#!/bin/sh\nexit 127\n"], ids=["missing", "broken"])
def test_no_java_is_told_with_a_way_out(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "java"
    if content is not None:
        path.write_text(content)
        path.chmod(0o755)
    with pytest.raises(StackError, match="Java runtime") as refused:
        java.check(path)
    assert "make clean" in refused.value.remedy


def test_free_ports_are_unknown_until_a_stack_runs(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, kafka_port=0, registry_port=0)
    with pytest.raises(SettingsError, match="mandate up"):
        settings.client_config()
    assert [service.answers for service in local_stack.status(settings)] == [False, False]
    assert not local_stack.stop(settings)


# -- with one ----------------------------------------------------------------------------------------------------


@broker
@pytest.mark.slow
@pytest.mark.faults
def test_a_second_stack_beside_the_first_through_kills_and_restarts(settings: Settings, stack: Settings) -> None:
    first = local_stack.start(settings)
    assert first.started
    assert first.kafka_bootstrap != stack.kafka_bootstrap
    assert settings.client_config()["bootstrap.servers"] == first.kafka_bootstrap
    for service in _services(settings).values():
        assert service is not None
        assert _listening_addresses(service) == {LOOPBACK}
    assert local_stack.start(settings).started is False

    # The broker is killed: the rest is ended, all starts again, and the topic is still there.
    admin = AdminClient({"bootstrap.servers": first.kafka_bootstrap})
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result()
    killed = _services(settings)["kafka"]
    assert killed is not None
    killed.kill()
    again = local_stack.start(settings)
    assert again.started
    assert "kept" in AdminClient({"bootstrap.servers": again.kafka_bootstrap}).list_topics(timeout=10).topics

    # Fresh: the topic is gone.
    fresh = local_stack.start(settings, fresh=True)
    assert fresh.started
    assert "kept" not in AdminClient({"bootstrap.servers": fresh.kafka_bootstrap}).list_topics(timeout=10).topics

    assert local_stack.stop(settings)
    assert not any(_services(settings).values())
    assert all(service.answers for service in local_stack.status(stack))


@broker
@pytest.mark.slow
@pytest.mark.faults
def test_a_stack_whose_owner_was_killed_is_taken_over(settings: Settings) -> None:
    script = (
        "from deploy.local import stack; from deploy.settings import load_settings;"
        "stack.start(load_settings()); print('up', flush=True); import time; time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, **settings.to_env()}, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        pids = {name: service and service.pid for name, service in _services(settings).items()}
        assert local_stack.start(settings).started is False
        owner.kill()
    taken = local_stack.start(settings)
    assert taken.started
    assert {name: service and service.pid for name, service in _services(settings).items()} == pids


@broker
@pytest.mark.slow
@pytest.mark.faults
def test_ctrl_c_during_up_stops_what_it_started(settings: Settings) -> None:
    with _mandate(settings, "up") as up:
        _wait_until_started(settings)
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 130
    assert not any(_services(settings).values())


@broker
@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("later_s", [0.0, 3.0], ids=["formatting", "starting"])
def test_after_a_kill_in_the_middle_of_a_start_the_next_one_works(settings: Settings, later_s: float) -> None:
    with _mandate(settings, "up") as up:
        _wait_until_started(settings)
        time.sleep(later_s)
        up.kill()
    with _mandate(settings, "up") as up:
        _, told = up.communicate(timeout=120)
    assert up.returncode == 0, told.decode()
    assert all(service.answers for service in local_stack.status(settings))
    with _mandate(settings, "down") as down:
        assert down.wait(60) == 0
    assert not any(_services(settings).values())


@broker
def test_a_broker_that_cannot_start_is_told_with_its_own_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = local_stack.kafka
    with monkeypatch.context() as patched:
        patched.setitem(kafka.PROPERTIES, "num.io.threads", "none")
        with pytest.raises(StackError, match=r"prepare.*Invalid value none for configuration num\.io\.threads"):
            local_stack.start(settings)
    with monkeypatch.context() as patched:
        patched.setattr(kafka, "HEAP", ("-Xmx1k",))
        with pytest.raises(StackError, match=r"Kafka ended while it started: .*(heap|memory|JVM|Machine)"):
            local_stack.start(settings)
    assert not any(_services(settings).values())


@broker
def test_a_port_that_is_taken_during_the_start_is_chosen_anew(
    settings: Settings, taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = ports.pick_free, []

    def unlucky(count: int) -> list[int]:
        calls.append(count)
        picked = real(count)
        return [*picked[1:], taken_port] if len(calls) == 1 else picked

    monkeypatch.setattr(ports, "pick_free", unlucky)
    assert local_stack.start(settings).started
    assert len(calls) == 2


@broker
def test_a_registry_that_does_not_answer_in_time_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_stack, "READY_WITHIN_S", 0.1)
    with pytest.raises(StackError, match=r"did not answer within") as refused:
        local_stack.start(settings)
    assert ".log" in refused.value.remedy
    assert not any(_services(settings).values())


def test_no_cluster_id_begins_with_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([uuid.UUID(bytes=b"\xf8" + bytes(15)), uuid.UUID(bytes=b"\x01" * 16)])
    monkeypatch.setattr(kafka.uuid, "uuid4", lambda: next(drawn))
    assert kafka.cluster_id() == "AQEBAQEBAQEBAQEBAQEBAQ"


def test_ports_that_are_picked_are_free_and_distinct() -> None:
    picked = ports.pick_free(4)
    assert len(set(picked)) == 4
    assert all(ports.is_free(port) for port in picked)
