"""The processes of a run, and who starts them again when they end: a supervisor that can be told to wait."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.settings import Settings

ROOT = Path(__file__).parents[2]
RIGGED = "tests.faults.rigged"
_LOOK_EVERY_S = 0.05
_AGAIN_AFTER_S = 0.3


class Member:
    """One process, again and again.

    ended: how often it ended by itself, which it may do when something is broken. log_before: how long its log was when
    it entered.
    """

    def __init__(self, name: str, settings: Settings, command: tuple[str, ...], log: Path) -> None:
        self.name = name
        self.settings = settings
        self.held = False
        self.ended = 0
        self._command = command
        self._log = log
        self._started_at = 0.0
        self.log_before = len(self.said())
        self.process = self._start()

    @property
    def is_rigged(self) -> bool:
        """Whether signals make it fail or tell where it is (`tests.faults.rigged`)."""
        return self._command[0] == RIGGED

    def restart_if_ended(self) -> None:
        """What the keeper does with each, now and then."""
        if self.held or self.process.poll() is None or time.monotonic() - self._started_at < _AGAIN_AFTER_S:
            return
        if self.process.returncode not in (-signal.SIGKILL, 0):
            self.ended += 1
        self.process = self._start()

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL, within_s: float = 20.0) -> None:
        """Ends the process; it is started again unless it is held."""
        self.send(number)
        self.send(signal.SIGCONT)
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.process.wait()

    def said(self) -> str:
        """Everything that it printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _start(self) -> "subprocess.Popen[bytes]":
        self._started_at = time.monotonic()
        leash = [sys.executable, "-m", "deploy.leash", str(os.getpid())]
        environment = {**os.environ, **self.settings.to_env(), "PYTHONPATH": str(ROOT), "MANDATE_CONFIG": ""}
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C is the runner's alone.
            return subprocess.Popen(
                [*leash, sys.executable, "-m", *self._command],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip


class Cast:
    """All of them, and the thread that keeps them running. Members are started by that thread or the caller's alone."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._members: dict[str, Member] = {}
        self._ended: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._keeper.start()

    def __getitem__(self, name: str) -> Member:
        return self._members[name]

    def enter(self, name: str, settings: Settings, *command: str) -> Member:
        """Starts a member: `python -m COMMAND`."""
        member = Member(name, settings, command, self._directory / f"{name}.log")
        with self._lock:
            self._members[name] = member
        return member

    def leave(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends a member for good."""
        with self._lock:
            member = self._members.pop(name, None)
        if member is not None:
            member.end(number)
            self._ended[name] += member.ended

    @contextmanager
    def held(self, name: str) -> Iterator[Member]:
        """A member that is killed and stays so for the length of the block."""
        member = self._members[name]
        with self._lock:
            member.held = True
        try:
            member.end()
            yield member
        finally:
            member.held = False

    def members(self) -> dict[str, Member]:
        """Those that are there now, by their names."""
        with self._lock:
            return dict(self._members)

    def ended(self) -> dict[str, int]:
        """How often each ended by itself."""
        present = {name: member.ended for name, member in self._members.items()}
        return {name: self._ended[name] + present.get(name, 0) for name in {*self._ended, *present}}

    def close(self) -> None:
        """Ends them all."""
        for name in list(self._members):
            self.leave(name)
        self._over.set()
        self._keeper.join(5)

    def _keep(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            with self._lock:
                for member in self._members.values():
                    with suppress(OSError):  # the next look tries again
                        member.restart_if_ended()
