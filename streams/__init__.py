"""Motion: the processes that carry records between the topics, in the order of `streams.topology`."""

import os
import sys
from typing import ClassVar, NoReturn

from deploy.errors import OperatorError, told

EXIT_BROKEN = 70
"""Exit code of a process that ended on `Broken` (EX_SOFTWARE of sysexits.h); a supervisor starts it again."""


class Broken(OperatorError):  # noqa: N818  (one of three families, STYLE "Errors")
    """Infrastructure failed under a running process: it ends with exit code 70 and acknowledges nothing more.

    The operator does what the line says; a start picks up at the last committed offsets.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)


class BadInput(Broken):
    """More records of an input than stated can't be taken: the process ends with exit code 65 (EX_DATAERR).

    A start alone helps nothing, so a supervisor leaves it. The operator does what the line says, then starts it.
    """

    exit_code: ClassVar[int] = 65


def end_process(error: BaseException) -> NoReturn:
    """Ends the whole process at once, from any thread: one line on stderr, exit code 70, nothing flushed."""
    print(f"mandate: {told(error)}", file=sys.stderr, flush=True)
    os._exit(EXIT_BROKEN)
