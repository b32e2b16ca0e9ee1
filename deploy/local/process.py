"""Processes of the local stack: started detached, written down, and ended only when they are certainly ours.

A process is ours when its id, its start time and the stack's mark on its command line agree with what was written
down; when a kill came between the start and the writing, the mark with this stack's own directory decides.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

START_TIME_SLACK_S = 1.0
LOOK_EVERY_S = 0.02
COMMAND_LINE_WITHIN_S = 10.0

_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Written:
    """What is written down of a process; `mark` is empty for one that is not a service."""

    pid: int
    started: float
    mark: str


MARK = "-Dmandate.stack="


def mark(directory: Path, service: str) -> str:
    """The Java property that names the stack and service a process belongs to."""
    return f"{MARK}{directory.resolve()}:{service}"


def directories() -> set[Path]:
    """The directories of all stacks that have a process running."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            marks = [word for word in process.cmdline() if word.startswith(MARK)]
            found |= {Path(word.removeprefix(MARK).rpartition(":")[0]) for word in marks}
    return found


def myself() -> Written:
    """This process, as a stack's owner."""
    me = psutil.Process()
    return Written(me.pid, me.create_time(), "")


def lives(owner: Written) -> bool:
    """Whether that very process still runs."""
    try:
        process = psutil.Process(owner.pid)
        return abs(process.create_time() - owner.started) < START_TIME_SLACK_S and is_running(process)
    except psutil.Error:
        return False


def spawn(command: Sequence[str], directory: Path, service: str, env: dict[str, str]) -> psutil.Process:
    """Start a service of the stack in `directory`; it outlives us, and Ctrl-C does not reach it."""
    log = (directory / f"{service}.log").open("wb")
    with log:
        child = subprocess.Popen(
            [command[0], mark(directory, service), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={**os.environ, **env},
            start_new_session=True,
        )
    _children[child.pid] = child
    process = psutil.Process(child.pid)
    _write(directory / f"{service}.pid", Written(child.pid, process.create_time(), mark(directory, service)))
    _await_command_line(process, mark(directory, service))
    return process


def _await_command_line(process: psutil.Process, sought: str) -> None:
    """Linux tells a parent that its child's program runs before the child has a command line to be known by."""
    until = time.monotonic() + COMMAND_LINE_WITHIN_S
    with suppress(psutil.Error):  # it has ended already, and its log says why
        while is_running(process) and sought not in process.cmdline() and time.monotonic() < until:
            time.sleep(LOOK_EVERY_S)


def find(directory: Path, service: str) -> psutil.Process | None:
    """The running process of this service, or None; a stale pid file is removed."""
    path = directory / f"{service}.pid"
    written = _read(path)
    if written is not None:
        process = _verified(written)
        if process is not None:
            return process
        path.unlink(missing_ok=True)
    return _unwritten(mark(directory, service))


def end(process: psutil.Process, directory: Path, service: str, grace_s: float) -> None:
    """End a process that `find` or `spawn` returned: asked first, after `grace_s` forced."""
    for send in (process.terminate, process.kill):
        with suppress(psutil.NoSuchProcess):
            send()
        if _gone_within(process, grace_s):
            break
    (directory / f"{service}.pid").unlink(missing_ok=True)


def _gone_within(process: psutil.Process, limit_s: float) -> bool:
    until = time.monotonic() + limit_s
    while is_running(process):
        if time.monotonic() > until:
            return False
        time.sleep(LOOK_EVERY_S)
    child = _children.pop(process.pid, None)
    if child is not None:
        child.wait()  # it would stay a zombie otherwise
    return True


def is_running(process: psutil.Process) -> bool:
    """Whether it runs; one that ended and whose parent has not noticed does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _verified(written: Written) -> psutil.Process | None:
    try:
        process = psutil.Process(written.pid)
        same_start = abs(process.create_time() - written.started) < START_TIME_SLACK_S
        if same_start and written.mark in process.cmdline() and is_running(process):
            return process
    except psutil.Error:
        pass  # gone, or another user's: not ours either way
    return None


def _unwritten(sought: str) -> psutil.Process | None:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if sought in process.cmdline() and is_running(process):
                return process
    return None


def _read(path: Path) -> Written | None:
    try:
        return Written(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _write(path: Path, content: Written) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(content)))
    os.replace(draft, path)
