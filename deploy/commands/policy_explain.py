"""`mandate policy explain`: what it takes for a role to be permitted an action, in words."""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.commands.decide import DEFAULT_BUNDLE
from processors.explain.action import UnknownNameError, explain
from processors.policy import PolicyError, load_bundle
from schemas.records import Channel

BAD_INPUT = 2


def run(*, action: str, role: str, directory: Path | None, channel: str | None) -> int:
    """Prints the text. 2 when the bundle can't be read or has no such action, role or channel."""
    try:
        bundle = load_bundle(directory or DEFAULT_BUNDLE)
        print(explain(bundle, action, role, _channel(channel)))
    except (PolicyError, UnknownNameError) as error:
        print(f"mandate: {error.args[0]}", file=sys.stderr)
        return BAD_INPUT
    return 0


def _channel(name: str | None) -> Channel | None:
    if name is None:
        return None
    if name.upper() not in set(Channel):
        known = ", ".join(channel for channel in Channel if channel is not Channel.UNKNOWN)
        raise UnknownNameError(f"there is no channel {name!r}; there are: {known}")
    return Channel(name.upper())
