"""`python -m deploy.leash PARENT COMMAND...`: becomes a command that ends when its parent does, however that ended.

Linux alone can do it (prctl PR_SET_PDEATHSIG, kept across exec). Elsewhere the command runs without a leash: a
supervisor that is killed there leaves its child running.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Does not return. A command that can't be run is an OSError."""
    if sys.platform == "linux":
        # SIGKILL: every process of ours is crash-only, and nobody would be left to watch one that hangs as it stops.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(f"mandate: process {parent} ended before its child began.")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
