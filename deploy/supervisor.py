"""Starts a crash-only process again when it crashed, after growing pauses, and gives up when that does not help.

The first crash costs no pause, and no start either where there is a spare: a second process that has loaded everything
and waits for the word to begin (`deploy.spare`). It is made once the first has run for a while, so a start is never
slowed by it, and what crashes at once gets none.

For a machine without systemd or Kubernetes, which do the same. What the child prints passes through; its last line is
repeated where the restart is told, so that one line says what happened.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import IO, NamedTuple

_SHOWN, _LINE = 500, 65_536
_LOOK_EVERY_S = 0.05
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When to start again: at once after the first crash of the last `within_s` seconds, then after pauses that double.

    At `crashes` it gives up. final: exit codes that a restart can't help. stop_within_s: how long a child may take to
    end before it is killed. spare_after_s: how long a child has run before its spare is made.
    """

    crashes: int = 10
    within_s: float = 600.0
    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0
    stop_within_s: float = 30.0
    spare_after_s: float = 15.0
    final: Collection[int] = (0, 2, 65)

    def pause_s(self, crash: int) -> float:
        """Seconds to wait after the crash of this number, counted from 1 within the window."""
        return float(min(self.longest_pause_s, self.first_pause_s * 2 ** (crash - 2))) if crash > 1 else 0.0


class Child(NamedTuple):
    """A process and the last line of its stderr."""

    process: subprocess.Popen[bytes]
    last: LastLine


class Supervisor:
    """Runs one command until it ends by itself, is told to, or crashes too often. For the main thread alone.

    has_spare: the command waits for a line on stdin before it begins, and ends at the end of stdin.
    """

    def __init__(self, command: Sequence[str], patience: Patience | None = None, *, has_spare: bool = False) -> None:
        self._command = list(command)
        self._patience = patience or Patience()
        self._has_spare = has_spare
        self._spare: Child | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._told: int | None = None
        self._renewing = False

    def run(self) -> int:
        """The exit code of the child's last run; that of a child killed by signal n is 128 + n, as in a shell.

        SIGTERM and SIGINT are passed on and waited for; ending by them counts as 0. So is SIGHUP, but a child that
        ends with 0 after it is started anew, without the spare, which holds the program of before; unless the signal
        says that a terminal is gone (stdin is one), or it is ignored (nohup).
        """
        before = {number: signal.signal(number, self._tell) for number in (*_SIGNALS, signal.SIGALRM)}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            told = self._tell if sys.stdin.isatty() else self._tell_to_renew
            before[signal.SIGHUP] = signal.signal(signal.SIGHUP, told)
        try:
            return self._run()
        finally:
            signal.alarm(0)
            self._end_spare()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run(self) -> int:
        crashes: deque[float] = deque()
        while True:
            code, line = self._run_once()
            if self._told is not None:
                return 0 if code == 128 + self._told else code
            if self._renewing:
                self._renewing = False
                self._end_spare()
                if code in (0, 128 + signal.SIGHUP):
                    _say("it ended as told (SIGHUP) and is started anew.")
                    continue
            if code in self._patience.final:
                return code
            now = time.monotonic()
            crashes.append(now)
            while now - crashes[0] > self._patience.within_s:
                crashes.popleft()
            if len(crashes) >= self._patience.crashes:
                _say(
                    f"it ended {len(crashes)} times within {self._patience.within_s:g} s and is left, the last time "
                    f"with {_told(code, line)} Do what the lines above say, then start it again."
                )
                return code
            pause = self._patience.pause_s(len(crashes))
            when = f"in {pause:g} s" if pause else "at once"
            _say(f"it ended with {_told(code, line)} Start {len(crashes) + 1} {when}.")
            if not self._pause(pause):
                return 0

    def _run_once(self) -> tuple[int, str]:
        """Exit code, and the last line of its stderr that says something."""
        child, last = self._take_spare() or self._make()
        self._child = child
        if self._told is not None:
            self._pass_on(self._told)  # it came while the child was being made
        if child.stdin is not None:
            with suppress(BrokenPipeError):  # it ended already; its exit code says why
                child.stdin.write(b"begin\n")
                child.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                child.wait(self._patience.spare_after_s)
            if child.returncode is None and self._told is None:
                self._spare = self._make()
        code = child.wait()
        self._child = None
        signal.alarm(0)
        return (code if code >= 0 else 128 - code), last.get()

    def _make(self) -> Child:
        leash = [sys.executable, "-P", "-m", "deploy.leash", str(os.getpid())]
        # A group of its own: Ctrl-C on a terminal would end a spare, and must reach the child once, from here.
        stdin, group = (subprocess.PIPE, 0) if self._has_spare else (None, None)
        made = subprocess.Popen([*leash, *self._command], stdin=stdin, stderr=subprocess.PIPE, process_group=group)
        assert made.stderr is not None
        return Child(made, LastLine(made.stderr, sys.stderr.buffer))

    def _take_spare(self) -> Child | None:
        spare, self._spare = self._spare, None
        return spare if spare is not None and spare.process.poll() is None else None

    def _end_spare(self) -> None:
        spare = self._take_spare()
        if spare is not None:
            spare.process.kill()  # it holds nothing, and may be in the middle of loading
            spare.process.wait()

    def _tell(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGALRM:
            self._pass_on(signal.SIGKILL)
            return
        if self._told is None:
            self._told = number
            signal.alarm(max(1, round(self._patience.stop_within_s)))
        self._pass_on(number)

    def _tell_to_renew(self, number: int, frame: FrameType | None) -> None:
        self._renewing = self._child is not None
        self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        if self._child is not None:
            self._child.send_signal(number)

    def _pause(self, pause_s: float) -> bool:
        """Waits; False when a signal said to end."""
        until = time.monotonic() + pause_s
        while self._told is None and time.monotonic() < until:
            time.sleep(_LOOK_EVERY_S)
        return self._told is None


class LastLine:
    """Passes a stream on as it comes, and keeps its last line: the last of ours ("mandate: …") where there is one."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self._source, self._sink = source, sink
        self._last = self._last_of_ours = b""
        self._thread = threading.Thread(target=self._copy, name="stderr", daemon=True)
        self._thread.start()

    def get(self) -> str:
        """The line, printable and cut; empty when there was none. Waits for the rest of the stream for a second."""
        self._thread.join(1.0)  # a process that the child left behind may hold it open
        text = (self._last_of_ours or self._last).decode("utf-8", "replace")
        return "".join(c if c.isprintable() else " " for c in text)[:_SHOWN].strip()

    def _copy(self) -> None:
        for line in iter(lambda: self._source.readline(_LINE), b""):
            with suppress(OSError):  # nobody reads ours any more; the child must not block for that
                self._sink.write(line)
                self._sink.flush()
            if line.strip():
                self._last = line[:_SHOWN]
            if line.startswith(b"mandate: "):
                self._last_of_ours = line.removeprefix(b"mandate: ")[:_SHOWN]


def _told(code: int, line: str) -> str:
    how = f"signal {code - 128}" if code > 128 else f"exit code {code}"
    return f"{how}: {line.rstrip('.') or 'it said nothing'}."


def _say(text: str) -> None:
    print(f"mandate supervisor: {text}", file=sys.stderr, flush=True)
