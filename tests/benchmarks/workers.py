"""Control workers that a measurement starts and ends by itself, and what they say."""

import os
import pty
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL, Signals
from typing import NamedTuple

import psutil

from deploy.local.ports import pick_free
from deploy.settings import Settings
from tests.benchmarks.systems import PARTITIONS, ROOT

WITHIN_S = 120.0
_READY = re.compile(r"control ready: partitions \[([\d, ]*)\]")
_RESTORED = re.compile(r"restored (\d+) rows in ([\d.]+) s")
_BAR = re.compile(r"\[#*\.*\] +\d+ % [\d,]+ rows, [\d,]+/s")


class Restored(NamedTuple):
    """What a worker said of one restoration."""

    rows: int
    seconds: float


class Worker:
    """One `mandate worker`. started: when, on the monotonic clock.

    terminal: its stderr is a terminal, as a person has it, so that it draws a bar instead of writing lines.
    supervised: it runs under `--supervise`.
    """

    def __init__(self, settings: Settings, log: Path, *, terminal: bool = False, supervised: bool = False) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        log.write_bytes(b"")
        (self._port,) = pick_free(1)
        own = settings.model_copy(update={"metrics_port": self._port})
        environment = {**os.environ, **own.to_env(), "PYTHONPATH": str(ROOT), "MANDATE_CONFIG": ""}
        command = [sys.executable, "-m", "deploy.cli", "worker", *(["--supervise"] if supervised else [])]
        self.started = time.monotonic()
        with log.open("ab") as out:
            if not terminal:
                self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
                return
            ours, theirs = pty.openpty()
            self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=theirs)
            os.close(theirs)
        threading.Thread(target=self._copy, args=(ours,), daemon=True).start()

    def _copy(self, terminal: int) -> None:
        with os.fdopen(terminal, "rb", buffering=0) as shown, self._log.open("ab") as out:
            try:
                while part := shown.read(4096):
                    out.write(part)
                    out.flush()
            except OSError:  # its other end is closed
                return

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_s(self) -> float:
        """Processor seconds of it so far; 0 once it has ended and was waited for."""
        if self._process.poll() is not None:
            return 0.0
        this = psutil.Process(self.pid)
        times = [one.cpu_times() for one in (this, *this.children())]
        return float(sum(used.user + used.system for used in times))

    def has_spare(self) -> bool:
        """Whether its supervisor has a second process that waits, everything loaded."""
        children = psutil.Process(self.pid).children()
        return len(children) == 2 and all(child.status() == psutil.STATUS_SLEEPING for child in children)

    def crash(self) -> None:
        """Kills the process that judges under its supervisor."""
        min(psutil.Process(self.pid).children(), key=psutil.Process.create_time).kill()

    def words(self) -> str:
        """All that it said so far."""
        return self._log.read_text(errors="replace")

    def announced(self) -> list[set[int]]:
        """The partitions that it said it judges, oldest first."""
        return [{int(n) for n in said.split(",") if n.strip()} for said in _READY.findall(self.words())]

    def restored(self) -> list[Restored]:
        """Its restorations, oldest first."""
        return [Restored(int(rows), float(took)) for rows, took in _RESTORED.findall(self.words())]

    def bars(self) -> list[str]:
        """The bars that it drew, oldest first."""
        return bars_in(self.words())

    def stopped_s(self) -> float:
        """Seconds for which it judged nothing so far because partitions changed hands."""
        return self._metric("mandate_rebalance_stall_seconds_sum")

    def rows_restored(self) -> int:
        """Rows that it read of changelogs so far, to judge by them."""
        return round(self._metric("mandate_recovery_rows_total"))

    def _metric(self, name: str) -> float:
        """A metric without labels; 0 until it is served."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                found = re.search(rf"^{name} (\S+)", answer.read().decode(), re.MULTILINE)
        except OSError:
            return 0.0
        return float(found[1]) if found else 0.0

    def look(self) -> None:
        """Raises when it has ended by itself."""
        if self._process.poll() is not None:
            raise RuntimeError(f"a worker ended ({self._process.returncode}):\n{self.words()[-2_000:]}")

    def end(self, number: Signals) -> int:
        """Its exit code after a signal."""
        self._process.send_signal(number)
        return self._process.wait(WITHIN_S)

    def close(self) -> None:
        """Ends it in any case."""
        if self._process.poll() is None:
            self.end(SIGKILL)


def bars_in(words: str) -> list[str]:
    """Bars of restorations, oldest first."""
    return _BAR.findall(words)


def shared_by(*workers: Worker) -> Callable[[], bool]:
    """Whether each said what it judges, and together it is every partition once."""

    def look() -> bool:
        for worker in workers:
            worker.look()
        last = [said[-1] for worker in workers if (said := worker.announced())]
        return len(last) == len(workers) and sorted(n for own in last for n in own) == list(range(PARTITIONS))

    return look


def wait(until: Callable[[], bool], what: str) -> None:
    """Returns when something is so."""
    end = time.monotonic() + WITHIN_S
    while not until():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {WITHIN_S:.0f} s")
        time.sleep(0.02)
