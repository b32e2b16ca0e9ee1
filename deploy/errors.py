"""What an operator is told when something outside Mandate's code is in the way."""

from __future__ import annotations

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
