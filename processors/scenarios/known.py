"""Which fact names can exist at all: an expectation that a fact is absent must not pass by a slip of the pen."""

import re
from functools import cache

from processors.facts import kind_of
from processors.scenarios.finding import Look
from processors.scenarios.tale import text_of
from schemas.records import Channel, Transition

_WORD = re.compile(r"[a-z0-9_]+")
_CHANNELS = frozenset(channel.value.lower() for channel in Channel)


@cache
def _vocabulary(bundle: str) -> frozenset[str]:
    return _CHANNELS | frozenset(_WORD.findall(bundle))


def known_fact(look: Look, name: str) -> None:
    """Refuses a fact name that neither stood in this scenario nor is in the register, made of the bundle's words."""
    if any(transition.fact == name for transition in look.tale.of(Transition)):
        return
    base, _, subject = name.partition("/")
    if subject and subject not in look.tale.conversations.values():
        raise look.bad(f"{name}: there is no conversation {subject!r}")
    kind = kind_of(base)
    open_part = base.removeprefix(kind.name[:-1]) if kind and kind.name.endswith(".*") else ""
    unknown = [word for word in _WORD.findall(open_part) if word not in _vocabulary(text_of(look.tale.bundle)[0])]
    if kind is None or unknown:
        raise look.bad(f"{name}: there can't be a fact of this name, so that it is absent says nothing")


def possible_value(look: Look, name: str, value: str) -> None:
    """Refuses a value that the register does not know."""
    kind = kind_of(name.partition("/")[0])
    if kind is None:
        raise look.bad(f"{name}: there can't be a fact of this name")
    if kind.values:
        look.one_of([str(known) for known in kind.values], value)
