"""When Python looks for garbage: a little and often, in a process that somebody waits for.

Records are no part of cycles, and a worker keeps many. By default Python would look at all of them again and again, the
longer the more leads are at hand: 40 to 90 ms at a time, with some hundred leads.
"""

import gc

_AT_LEAST_AFTER = 20_000
"""New objects after which Python looks by itself, where nobody calls `look`."""
_is_on = False


def wait() -> None:
    """Looks at nothing until `begin`: while everything is loaded that would take a tenth of the time."""
    gc.disable()


def begin() -> None:
    """From now on only young objects are looked at: what is there, and what has lived through one look, never again.

    Cycles that die young are collected, and everything else is freed by count, as ever.
    """
    global _is_on
    _is_on = True
    gc.freeze()
    gc.set_threshold(_AT_LEAST_AFTER)
    gc.enable()
    gc.callbacks.append(_freeze)


def look() -> None:
    """Looks at what is new since the last look: half a millisecond after some dozens of entries."""
    if _is_on:
        gc.collect(0)


def _freeze(phase: str, _info: dict[str, int]) -> None:
    if phase == "stop":
        gc.freeze()
