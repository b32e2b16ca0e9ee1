"""What lint has to say about one part of a bundle."""

from typing import NamedTuple

from processors.policy.places import Place, Steps


class Finding(NamedTuple):
    """A problem of a part. word: a word within the part that is meant, to name its line.

    is_warning: worth a look, but the bundle does what it says.
    """

    steps: Steps
    sentence: str
    word: str = ""
    is_warning: bool = False


class Problem(NamedTuple):
    """A finding with its place, as it is printed. about: the rule, action or other part."""

    place: Place
    about: str
    sentence: str
    is_warning: bool = False


_KINDS = {
    "rules": "rule", "actions": "action", "roles": "role", "triggers": "trigger", "obligations": "obligation",
    "people": "person", "agents": "agent", "regulations": "regulation", "stages": "stage",
}  # fmt: skip
KINDS_BY_WORD = {word: key for key, word in _KINDS.items()}
"""Top-level keys whose parts go by a name, by the word for one."""


def about(steps: Steps) -> str:
    """A part in words: `rule state-live`, `action escalate`, `contact.jurisdictions.US`."""
    if not steps:
        return "bundle"
    if len(steps) > 1 and steps[0] in _KINDS:
        return f"{_KINDS[str(steps[0])]} {steps[1]}"
    return ".".join(str(step) for step in steps)
