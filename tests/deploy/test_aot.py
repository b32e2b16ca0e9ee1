"""Caches for a quicker start of the local stack: used when they are there, never needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploy.local import aot, kafka, registry, stack
from deploy.local.caches import Caches
from deploy.local.errors import StackError
from deploy.local.fetch import Fetched
from deploy.local.java import java
from deploy.local.progress import Silent
from deploy.settings import Settings, load_settings


def fetched(directory: Path) -> Fetched:
    return Fetched((directory / "kafka.jar",), directory / "registry", Caches(directory / "caches"))


def test_a_program_is_started_from_its_cache_once_there_is_one(tmp_path: Path) -> None:
    files = fetched(tmp_path)
    files.caches.directory.mkdir()

    def commands() -> list[str]:
        broker = kafka.command(Path("java"), files, tmp_path)
        formatter = kafka.format_command(Path("java"), files, tmp_path)
        return [" ".join(command) for command in (broker, formatter, registry.command(Path("java"), files))]

    assert not any("AOT" in command for command in commands())
    for program in stack.PROGRAMS:
        (files.caches.directory / f"{program}.aot").touch()
    for program, command in zip((kafka.BROKER, kafka.FORMATTER, registry.REGISTRY), commands(), strict=True):
        assert f"-XX:AOTCache={files.caches.directory}/{program}.aot" in command


@pytest.mark.parametrize("content", [b"", b"no cache at all", b"\0" * 100_000])
def test_java_starts_without_a_cache_that_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kafka.aot").write_bytes(content)
    options = Caches(tmp_path).options("kafka")
    done = subprocess.run([java(), *options, "-version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "Runtime Environment" in done.stderr


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a cache of their own, and files in it that need not be fetched."""
    monkeypatch.setattr(aot, "fetch_all", lambda *_: fetched(tmp_path))
    return load_settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")


def test_what_is_there_is_not_made_again(local: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "caches").mkdir()
    monkeypatch.setattr(stack, "start", lambda *_, **__: pytest.fail("a stack was started"))
    assert aot.make(local, Silent())


def test_a_stack_that_does_not_start_leaves_nothing_and_is_told(
    local: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(*_: object, fetched: Fetched, **__: object) -> None:
        assert fetched.caches.options("kafka")[0].startswith("-XX:AOTCacheOutput=")
        raise StackError("Kafka ended while it started.", "See its log.")

    monkeypatch.setattr(stack, "start", start)
    monkeypatch.setattr(aot, "load_settings", lambda: local)
    assert aot.main() == 0
    assert "The local stack starts slowly for it, and works." in capsys.readouterr().err
    assert not (tmp_path / "caches").exists()
    assert list(tmp_path.glob("mandate-aot-*")) == []
