"""The stack's directory: who may change it, and what is written down of the run that it holds."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.local import process
from deploy.local.errors import StackError
from deploy.settings import LOOPBACK, PREFIX, REGISTRY_PATH, Settings

LOCK_WITHIN_S = 300.0


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one run."""

    kafka_port: int
    controller_port: int
    registry_port: int
    management_port: int

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self.kafka_port}"

    @property
    def registry_url(self) -> str:
        return f"http://{LOOPBACK}:{self.registry_port}{REGISTRY_PATH}"


@dataclass(frozen=True, slots=True)
class Run:
    """What stack.json says. `owner` is None for a stack that is to be kept."""

    ports: Ports
    owner: process.Written | None


def made(settings: Settings) -> Path:
    """The directory, made when missing. Raises StackError."""
    directory = settings.data_dir / "stack"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StackError(
            f"{directory} can't be made: {error.strerror}.", f"Name another place in {PREFIX}DATA_DIR."
        ) from None
    return directory.resolve()


def read(directory: Path) -> Run | None:
    """What is written down of the run; None when nothing is, or nothing legible."""
    try:
        content = json.loads((directory / "stack.json").read_text())
        owner = content.pop("owner")
        return Run(Ports(**content), process.Written(**owner) if owner else None)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write(directory: Path, run: Run) -> None:
    """Write the run down, whole or not at all."""
    draft = directory / "stack.json.draft"
    draft.write_text(json.dumps({**asdict(run.ports), "owner": asdict(run.owner) if run.owner else None}))
    os.replace(draft, directory / "stack.json")


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """One process at a time starts or stops this stack; the system frees the lock of a killed one."""
    with (directory / "lock").open("w") as handle:
        until = time.monotonic() + LOCK_WITHIN_S
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > until:
                raise StackError(
                    f"Another process has been starting or stopping the stack in {directory} for"
                    f" {LOCK_WITHIN_S:.0f} s.",
                    "Wait for it or end it, then repeat the command.",
                )
            time.sleep(0.1)
        yield
