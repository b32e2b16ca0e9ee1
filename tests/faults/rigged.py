"""`python -m tests.faults.rigged FILE COMMAND...`: a command of Mandate in a process that can be made to fail within.

Nothing of this is in the code that runs in production: the steps are wrapped here, in the test's process, before the
command starts. On SIGUSR1, and at its start where FILE is there, it does what FILE says (`Order`). On SIGUSR2 it writes
to stderr where each of its threads is.
"""

import faulthandler
import json
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

STEPS = ("judged", "sent", "rows", "changelog", "disk")
"""Where a worker can be made to kill itself, in the order in which an entry passes them.

judged: its outputs are handed to the client library, none is waited for. sent: they are acknowledged, no row is
written. rows: between two rows that are on their way to the changelog. changelog: it has acknowledged the rows, the
disk has none of them. disk: it has them too, the entries are not acknowledged, so no offset is committed.
"""


class Order:
    """What FILE says. {"stop": step, "after": n}: this process kills itself (SIGKILL) the nth time it comes there.
    {"block_s": s}: the main thread, and with it the event loop, does nothing else for so long. {"clock_s": s}: the
    clock is wrong by s.

    The first two are done once and FILE is removed; a wrong clock is wrong in the next process too, as long as FILE is
    there.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stop = ""
        self._left = 0
        self._wrong_by_s = 0.0
        self._time, self._time_ns = time.time, time.time_ns

    def take(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Reads FILE and does it."""
        if not self._file.exists():
            return
        found = json.loads(self._file.read_text())
        if "clock_s" in found:
            self._wrong_by_s = found["clock_s"]
            return
        self._file.unlink()
        if "block_s" in found:
            time.sleep(found["block_s"])
        else:
            self._left, self._stop = found["after"], found["stop"]

    def reached(self, step: str) -> None:
        """Does not return when this is where it is to end."""
        if step == self._stop:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def put_clock_wrong(self) -> None:
        """Everything that asks Python for the time is told this process's own; libraries in C are not."""
        time.time = lambda: self._time() + self._wrong_by_s
        time.time_ns = lambda: self._time_ns() + round(self._wrong_by_s * 1_000_000_000)


def wrap(owner: type, method: str, before: Callable[..., None] | None = None, after: Callable[[], None] | None = None):  # type: ignore[no-untyped-def]
    """Has something happen before or after a method. Its own arguments go to `before` too."""
    inner = getattr(owner, method)

    def wrapped(self: Any, *args: Any, **named: Any) -> Any:
        if before is not None:
            before(*args, **named)
        result = inner(self, *args, **named)
        if after is not None:
            after()
        return result

    setattr(owner, method, wrapped)


def rig_worker(order: Order) -> None:
    """Has a worker tell when it comes to each of STEPS."""
    from streams.changelog import CHANGELOG
    from streams.lane import Lane
    from streams.tables import ExecutionTable
    from streams.transport.consumer import Consumer
    from streams.transport.outbox import Outbox

    def row(_group: Any, topic: str, *_: Any, **__: Any) -> None:
        if topic == CHANGELOG:
            order.reached("rows")

    wrap(Lane, "judge", after=lambda: order.reached("judged"))
    wrap(ExecutionTable, "write", before=lambda *_: order.reached("sent"))
    wrap(Outbox, "send", before=row)
    wrap(ExecutionTable, "_put", before=lambda *_, **__: order.reached("changelog"))
    wrap(Consumer, "acknowledge", before=lambda *_: order.reached("disk"))


def main(file: Path, command: list[str]) -> None:
    """Does not return before the command ends."""
    order = Order(file)
    order.put_clock_wrong()
    order.take()
    signal.signal(signal.SIGUSR1, order.take)
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    if command[0] == "worker":
        rig_worker(order)
    sys.argv = ["mandate", *command]
    runpy.run_module("deploy.cli", run_name="__main__")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
