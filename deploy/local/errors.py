"""The one exception of the local stack."""

from __future__ import annotations

from deploy.errors import OperatorError


class StackError(OperatorError):
    """The local stack can't do what was asked. The operator does what `remedy` says, then repeats the command."""


class PortTakenError(StackError):
    """Somebody took a port between our choice and the service's start. Repeating the command chooses anew."""


def last_words(output: str) -> str:
    """The line of a program's output that most likely says why it ended."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line for line in lines if "Exception" in line or "ERROR" in line or "FATAL" in line]
    return (told or lines or ["it said nothing"])[-1].rstrip(".")[:200]
