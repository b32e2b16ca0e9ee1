"""`python -m deploy.spare WORDS...`: loads what `mandate WORDS` will need, then waits to be told to begin.

Importing is most of a start. A process that has done it beforehand takes over from one that crashed in a fraction of
the time. A line on stdin is the word to begin; when stdin ends without one, nobody needs this process any more.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

LOADS = {
    "worker": (
        "deploy.commands.worker",
        "processors.partition",
        "streams.app",
        "faust.transport.drivers.aiokafka",
        "faust.stores.rocksdb",
        "uvloop",
    ),
    "intake": ("deploy.commands.intake",),
}
"""Commands that are worth a spare, for calls wait for them, and the modules that only their run would import."""


def main(words: Sequence[str]) -> None:
    """Run the command once told to; return at once when it is not needed. `mandate` says how a command ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # else a traceback out of the middle of an import
    cli = importlib.import_module("deploy.cli")
    for module in LOADS[words[0]]:
        with suppress(ModuleNotFoundError):  # uvloop is not everywhere
            importlib.import_module(module)
    if not sys.stdin.buffer.readline():
        return
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["mandate", *words]
    cli.main()


if __name__ == "__main__":
    main(sys.argv[1:])
