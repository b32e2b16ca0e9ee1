"""Starts the parts as processes of their own, notices when one ends, and ends them all, in every case."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from deploy.errors import OperatorError
from deploy.settings import Settings

READY_WITHIN_S = 90.0
STOP_WITHIN_S = 25.0
_LOOK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Part:
    """One process. preload: modules that take long to import. ready: what its first line begins with.

    arguments: of its command. finishes: it is run at the end, until it has nothing left to do.
    """

    name: str
    command: str
    module: str
    preload: tuple[str, ...]
    ready: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    finishes: bool = False


PARTS: tuple[Part, ...] = (
    Part("intake", "mandate intake", "deploy.commands.intake", ("streams.intake",), "intake ready"),
    Part(
        "worker",
        "mandate worker",
        "deploy.commands.worker",
        ("streams.app", "processors.partition", "uvloop"),
        "control ready",
    ),
    Part("crm-sink", "mandate sink crm", "deploy.commands.sink_crm", ("sinks.crm",), "crm sink ready"),
    Part("audit-sink", "mandate sink audit", "deploy.commands.sink_audit", ("sinks.audit",), "audit sink ready"),
    Part(
        "audit-sink-once",
        "mandate sink audit --once",
        "deploy.commands.sink_audit",
        ("sinks.audit",),
        "audit sink ready",
        arguments={"once": True},
        finishes=True,
    ),
)
"""What the demo runs beside broker, registry and agents."""


class PartEndedError(OperatorError):
    """A process of the demo ended by itself. The operator reads its log, which the message names."""


class Process:
    """One running part."""

    def __init__(self, part: Part, logs: Path) -> None:
        self.part = part
        self.log = logs / f"{part.name}.log"
        self._ready = threading.Event()
        self._stopped = False
        with self.log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deploy.demo.child", part.module, *part.preload],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                # Ctrl-C goes to the demo alone, which then ends its parts in order.
                start_new_session=True,
            )
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    def go(self, settings: Settings) -> None:
        """Has it become its command."""
        assert self._process.stdin is not None
        try:
            told = {"environment": settings.to_env(), "arguments": dict(self.part.arguments)}
            self._process.stdin.write(json.dumps(told).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.check()

    def wait_ready(self, until: float) -> None:
        """Returns when it said that it is ready."""
        while not self._ready.wait(_LOOK_EVERY_S):
            self.check()
            if time.monotonic() > until:
                raise PartEndedError(f"`{self.part.command}` was not ready in time.", f"See {self.log}.")

    def check(self) -> None:
        """Raises when it ended by itself."""
        code = self._process.poll()
        if code is not None and not self._stopped:
            why = f"`{self.part.command}` ended with code {code}: {self._last_words()}"
            raise PartEndedError(why, f"See {self.log}.")

    def finish(self, settings: Settings) -> None:
        """Runs it to its own end."""
        self.go(settings)
        self._stopped = True
        self.wait(time.monotonic() + READY_WITHIN_S)
        if self._process.returncode != 0:
            self._stopped = False
            self.check()

    def terminate(self) -> None:
        """Asks it to end."""
        self._stopped = True
        if self._process.poll() is None:
            self._process.terminate()

    def wait(self, until: float) -> None:
        """Waits for its end, and forces it when that takes too long."""
        try:
            self._process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _read(self, stream: IO[bytes] | None) -> None:
        if stream is None:
            return
        with stream, self.log.open("ab") as log:
            for line in stream:
                log.write(line)
                log.flush()
                if line.decode("utf-8", "replace").startswith(self.part.ready):
                    self._ready.set()

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return (lines or ["it said nothing."])[-1][:300]


class Company:
    """All parts of one demo."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._processes: list[Process] = []
        try:
            for part in PARTS:
                self._processes.append(Process(part, logs))
        except BaseException:
            self.stop()
            raise

    def go(self, settings: Settings) -> None:
        """Has every part begin, and returns when all are ready."""
        until = time.monotonic() + READY_WITHIN_S
        for process in self._running:
            process.go(settings)
        for process in self._running:
            process.wait_ready(until)

    def check(self) -> None:
        """Raises when one ended by itself."""
        for process in self._processes:
            process.check()

    @property
    def _running(self) -> list[Process]:
        return [process for process in self._processes if not process.part.finishes]

    def finish(self, settings: Settings) -> None:
        """Ends what runs, with what it has read flushed; then has done what is still to be done."""
        until = time.monotonic() + STOP_WITHIN_S
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(until)
        for process in self._processes:
            if process.part.finishes:
                process.finish(settings)

    def stop(self) -> None:
        """Ends all of them, in whatever state. Harmless when repeated."""
        until = time.monotonic() + STOP_WITHIN_S
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(until)
