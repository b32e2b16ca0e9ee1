"""Fetching against a lock: whole and right, or absent and told."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.local.errors import StackError
from deploy.local.fetch import Fetched, fetch_all
from deploy.local.jars import JarLock, LockedFile, read_lock, written
from deploy.settings import Settings, load_settings


class Mirror(ThreadingHTTPServer):
    """A Maven mirror that serves `files`, continues where asked, and can misbehave."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.break_off_once = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        content = self.server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if self.server.break_off_once:
            self.server.break_off_once = False
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    server = Mirror()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


JAR = b"jar" * 50_000


@pytest.fixture
def lock(mirror: Mirror) -> JarLock:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in (("quarkus-run.jar", b"run"), ("lib/a.jar", b"library")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    mirror.files = {"g/a/1/a-1.jar": JAR, "g/r/1/r-1.tar.gz": archive.getvalue()}
    jar, registry = (
        LockedFile(path, hashlib.sha256(content).hexdigest(), len(content)) for path, content in mirror.files.items()
    )
    return JarLock((jar,), registry)


@pytest.fixture
def settings(tmp_path: Path, mirror: Mirror) -> Settings:
    return load_settings(cache_dir=tmp_path / "cache", maven_url=mirror.url)


def _jar(fetched: Fetched) -> Path:
    return fetched.kafka_class_path[0]


def test_an_empty_cache_is_filled_once(settings: Settings, mirror: Mirror, lock: JarLock) -> None:
    fetched = fetch_all(settings, lock=lock)
    assert _jar(fetched).read_bytes() == JAR
    assert (fetched.registry_home / "lib" / "a.jar").read_bytes() == b"library"
    assert len(mirror.asked) == 2
    assert fetch_all(settings, lock=lock) == fetched
    assert len(mirror.asked) == 2


def test_a_file_that_does_not_match_its_hash_is_not_kept(settings: Settings, mirror: Mirror, lock: JarLock) -> None:
    mirror.files[lock.kafka[0].path] = b"rap" * 50_000
    with pytest.raises(StackError, match=r"a-1\.jar does not match its hash") as refused:
        fetch_all(settings, lock=lock)
    assert refused.value.remedy
    assert not any(path.name.startswith("a-1.jar") for path in settings.cache_dir.rglob("*"))
    mirror.files[lock.kafka[0].path] = JAR
    assert _jar(fetch_all(settings, lock=lock)).read_bytes() == JAR


@pytest.mark.parametrize("damage", [JAR[:1000], b"", b"x" + JAR[1:]], ids=["truncated", "empty", "altered"])
def test_a_damaged_file_in_the_cache_is_fetched_again(settings: Settings, lock: JarLock, damage: bytes) -> None:
    _jar(fetch_all(settings, lock=lock)).write_bytes(damage)
    assert _jar(fetch_all(settings, lock=lock)).read_bytes() == JAR


@pytest.mark.parametrize("damage", [b"", None], ids=["truncated", "removed"])
def test_a_damaged_registry_is_unpacked_again(settings: Settings, lock: JarLock, damage: bytes | None) -> None:
    library = fetch_all(settings, lock=lock).registry_home / "lib" / "a.jar"
    library.unlink() if damage is None else library.write_bytes(damage)
    assert (fetch_all(settings, lock=lock).registry_home / "lib" / "a.jar").read_bytes() == b"library"


def test_the_part_that_a_killed_run_left_is_continued(settings: Settings, mirror: Mirror, lock: JarLock) -> None:
    part = settings.cache_dir / "maven" / (lock.kafka[0].path + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(JAR[:1000])
    assert _jar(fetch_all(settings, lock=lock)).read_bytes() == JAR
    assert ("/" + lock.kafka[0].path, "bytes=1000-") in mirror.asked
    assert not part.exists()


def test_a_damaged_part_is_fetched_from_its_beginning(settings: Settings, lock: JarLock) -> None:
    part = settings.cache_dir / "maven" / (lock.kafka[0].path + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"?" * 1000)
    assert _jar(fetch_all(settings, lock=lock)).read_bytes() == JAR


def test_a_broken_connection_is_taken_up_again(settings: Settings, mirror: Mirror, lock: JarLock) -> None:
    mirror.break_off_once = True
    assert _jar(fetch_all(settings, lock=lock)).read_bytes() == JAR
    assert any(wanted for _, wanted in mirror.asked)


def test_a_missing_file_is_told_with_its_address(settings: Settings, mirror: Mirror, lock: JarLock) -> None:
    del mirror.files[lock.kafka[0].path]
    with pytest.raises(StackError, match=r"a-1\.jar answered 404"):
        fetch_all(settings, lock=lock)


def test_no_network_is_told_with_a_way_out(lock: JarLock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.local.fetch.ATTEMPTS", 1)
    settings = load_settings(cache_dir=tmp_path, maven_url="http://127.0.0.1:1")
    with pytest.raises(StackError, match="could not be fetched") as refused:
        fetch_all(settings, lock=lock)
    assert "Check the network" in refused.value.remedy


def test_a_cache_that_cannot_be_written_is_told(lock: JarLock, tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = load_settings(cache_dir=tmp_path / "file", maven_url=mirror.url)
    with pytest.raises(StackError, match="can't be written"):
        fetch_all(settings, lock=lock)


def test_the_committed_lock_is_whole(tmp_path: Path) -> None:
    lock = read_lock()
    assert {"kafka_2.13-4.3.1.jar", "kafka-clients-4.3.1.jar"} <= {file.name for file in lock.kafka}
    assert all(len(file.sha256) == 64 and file.size > 0 for file in lock.files)
    copy = tmp_path / "copy.lock"
    copy.write_text(written(lock))
    assert read_lock(copy) == lock
