"""What an expectation looks at, and what it finds."""

from typing import Any, NamedTuple

from processors.scenarios.source import BadScenario
from processors.scenarios.tale import Tale


class Finding(NamedTuple):
    """One difference between what was expected and what came."""

    where: str
    what: str
    expected: str
    came: str
    because: tuple[str, ...] = ()


class Look(NamedTuple):
    """One word of then with what it expects, and where it stands."""

    tale: Tale
    word: str
    expected: Any
    lead: str
    conversation: str
    where: str

    def bad(self, message: str) -> BadScenario:
        """The expectation can't be understood."""
        return BadScenario(self.where, f"{self.word}: {message}")

    def mapping(self) -> dict[str, Any]:
        """What is expected, as a mapping."""
        if not isinstance(self.expected, dict):
            raise self.bad("expected a mapping of names and values")
        return self.expected

    def one_of(self, allowed: list[str], value: Any = None) -> None:
        """Refuses an expected value that can never come."""
        value = self.expected if value is None else value
        if value not in allowed:
            raise self.bad(f"{value!r} is not one of {', '.join(allowed)}")


def came(look: Look, what: str, expected: Any, value: Any, because: tuple[str, ...] = ()) -> list[Finding]:
    """A finding when the two differ."""
    return [] if expected == value else [Finding(look.where, what, str(expected), str(value), because)]
