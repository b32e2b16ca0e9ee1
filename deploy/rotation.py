"""Another key for control or the approver, without a moment in which a valid grant does not verify.

Three steps, with time between them, because the published keys have to be brought to all enforcers:

1. `prepare`: the next key is made and published; nothing signs with it. Now bring the JWKS to them.
2. `rotate`: the next key signs from the workers' next start on. The old private key is gone; its public half stays
   published until the longest grant is over.
3. `retire`: after that, the old public half goes too.

A kill between any two writes leaves a state from which the same step goes on.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from agents.feed import MAX_GRANT_LIFETIME_US
from deploy.errors import OperatorError
from deploy.keys import (
    Jwk,
    Ring,
    create_private_key,
    ensure,
    key_id,
    load_private_key,
    merged,
    private_key,
    public_jwk,
    publish,
    published,
)

OVERLAP_S = MAX_GRANT_LIFETIME_US // 1_000_000 + 3600
"""No verifier takes a grant that lives longer than a day; an hour more for clocks and for workers that start later."""


class RotationError(OperatorError):
    """A step of a rotation is not possible now. The operator does what the message says."""

    exit_code = 2


class Held(NamedTuple):
    """One key as `mandate keys list` shows it. until: seconds since 1970; None: no end is set."""

    part: str
    kid: str
    state: str
    until: int | None
    file: str


def next_path(ring: Ring) -> Path:
    """Where the private key waits that signs after the next rotation."""
    return ring.private.with_name(f"{ring.private.stem}.next{ring.private.suffix}")


def prepare(ring: Ring) -> str:
    """Make the first key of a ring, or the next one, and publish its public half; its kid. A next one is made once."""
    _in_files(ring)
    if not ring.private.exists():
        ensure(ring)
        return key_id(private_key(ring))
    create_private_key(next_path(ring))
    coming = _next(ring)
    keys = [key for key in merged(ring) if key["kid"] != coming["kid"]]
    publish(ring, [keys[0], coming, *keys[1:]])
    return coming["kid"]


def rotate(ring: Ring, now_s: int) -> tuple[str, str]:
    """Let the next key sign; kids of the old one and of the new one. Control's old one gets its end."""
    _in_files(ring)
    if not next_path(ring).exists():
        raise RotationError(f"There is no next key for {ring.part}.", "Run `mandate keys new` and publish it first.")
    old, coming = key_id(private_key(ring)), _next(ring)
    keys = [_ending(key, ring, now_s) if key["kid"] == old else key for key in merged(ring)]
    publish(ring, [coming, *(key for key in keys if key["kid"] != coming["kid"])])
    os.replace(next_path(ring), ring.private)
    return old, coming["kid"]


def retire(ring: Ring, now_s: int, kid: str | None = None) -> list[str]:
    """Take keys out of what is published: those whose end is past, or the one that is named, at once. Their kids.

    To name one is for a key that others may hold, and for approvers', which have no end of their own.
    """
    keys = merged(ring)
    current = {keys[0]["kid"]} | ({_next(ring)["kid"]} if next_path(ring).exists() else set())
    if kid is not None and kid in current:
        raise RotationError(f"Key {kid} of {ring.part} is in use.", "Run `mandate keys new` and `mandate keys rotate`.")
    if kid is not None and kid not in {key["kid"] for key in keys}:
        raise RotationError(f"{ring.published} holds no key {kid}.", "`mandate keys list` shows what it holds.")
    gone = [
        key["kid"]
        for key in keys
        if key["kid"] not in current and (key["kid"] == kid or (kid is None and key.get("exp", now_s + 1) <= now_s))
    ]
    publish(ring, [key for key in keys if key["kid"] not in gone])
    return gone


def overview(ring: Ring, now_s: int) -> list[Held]:
    """Every key of a ring: what it does now, until when, and where its private half is."""
    if not ring.is_there:  # a machine that only verifies
        return [Held(ring.part, key["kid"], "verifies", key.get("exp"), "") for key in published(ring)]
    coming = _next(ring)["kid"] if next_path(ring).exists() else None
    found = []
    for number, key in enumerate(merged(ring)):
        until = key.get("exp")
        if number == 0:
            state, file = "signs", ring.variable if ring.given is not None else str(ring.private)
        elif key["kid"] == coming:
            state, file = "next", str(next_path(ring))
        elif until is None:
            state, file = "verifies", ""
        else:
            state, file = ("may be retired" if until <= now_s else "verifies"), ""
        found.append(Held(ring.part, key["kid"], state, until if number else None, file))
    return found


def _next(ring: Ring) -> Jwk:
    return public_jwk(load_private_key(next_path(ring)).public_key())


def _ending(key: Jwk, ring: Ring, now_s: int) -> Jwk:
    # What an approver signed is read again at every start of the CRM sink: a person decides when that is over.
    return {**key, "exp": key.get("exp", now_s + OVERLAP_S)} if ring.part == "control" else key


def _in_files(ring: Ring) -> None:
    if ring.given is not None:
        raise RotationError(
            f"The key of {ring.part} is in {ring.variable}, not in a file.",
            "Rotate where the files are, without that variable, then set it anew.",
        )
