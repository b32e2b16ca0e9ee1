"""What an operator is told when something outside Mandate's code is in the way."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import ClassVar


class OperatorError(Exception):
    """Infrastructure refused or is missing. The operator does what `remedy` says, then repeats the command.

    exit_code: what `mandate` ends with; any exception that has one is printed as a sentence, not as a traceback.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}".rstrip())
        self.message = message
        self.remedy = remedy


_TELL_NO_DATA = (OSError, ImportError, AttributeError, NameError, MemoryError, RecursionError)
_KAFKA_CLIENTS = ("cimpl", "aiokafka")


def told(error: BaseException) -> str:
    """An error that nobody worded, for a log or a dead letter: its kind and place.

    Its text is left out where it may hold what a record held: `int("+1555...")` says the number.
    """
    if isinstance(error, OperatorError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}, {frames[-1].name}" if frames else ""
    text = f": {error}" if _tells_no_data(error) else ""
    return f"{type(error).__name__}{place}{text}"


def _tells_no_data(error: BaseException) -> bool:
    """Whether an error's text comes from the system, a Kafka client or RocksDB (Exception itself), or names code."""
    kind = type(error)
    return isinstance(error, _TELL_NO_DATA) or kind is Exception or kind.__module__.split(".")[0] in _KAFKA_CLIENTS
