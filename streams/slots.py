"""A directory of its own for each worker on a machine, without configuration.

Slots are numbered; a worker holds the first free one by a lock that the system drops when the process ends. So two
workers never share a directory, and one that starts again finds the state of one that ended.
"""

import fcntl
import os
import socket
import uuid
from pathlib import Path
from typing import IO

from streams import Broken

MAX_SLOTS = 256


class Slot:
    """A directory that this process alone uses, until it ends or `release` is called.

    instance: drawn once for the directory, and the worker's static id in its consumer group: a worker that starts
    again within the session timeout gets its partitions back without a rebalance.
    """

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self._lock = lock
        self.instance = _instance(path)

    def release(self) -> None:
        """Lets another process have it."""
        self._lock.close()


def take_slot(data_dir: Path, state_dir: Path | None = None) -> Slot:
    """The named directory, or the first free one below data_dir/state. Raises Broken when there is none."""
    if state_dir is not None:
        slot = _try(state_dir)
        if slot is None:
            raise Broken(
                f"{state_dir} is in use by another worker.", "Give each worker a MANDATE_STATE_DIR of its own."
            )
        return slot
    for number in range(MAX_SLOTS):
        slot = _try(data_dir / "state" / f"{socket.gethostname()}-{number}")
        if slot is not None:
            return slot
    raise Broken(f"All {MAX_SLOTS} slots in {data_dir / 'state'} are in use.", "Set MANDATE_STATE_DIR.")


def _try(path: Path) -> Slot | None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "lock").open("a")
    except OSError as error:
        raise Broken(f"{path} can't be written ({error.strerror}).", "Check MANDATE_DATA_DIR.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return Slot(path, lock)


def _instance(path: Path) -> str:
    file = path / "instance"
    if not file.exists():
        draft = path / "instance.draft"
        draft.write_text(uuid.uuid4().hex)
        os.replace(draft, file)
    return file.read_text().strip()
