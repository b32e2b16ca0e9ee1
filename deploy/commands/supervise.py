"""`--supervise`: the same command as a child that is started again when it crashed, at once where calls wait for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from deploy.spare import LOADS
from deploy.supervisor import Supervisor


def run(words: Sequence[str]) -> int:
    """Run `mandate WORDS` under a supervisor. The child's last exit code."""
    has_spare = words[0] in LOADS
    # -P: a folder named deploy in the working directory is not ours.
    python = [sys.executable, "-P", "-m"]
    return Supervisor([*python, "deploy.spare" if has_spare else "deploy.cli", *words], has_spare=has_spare).run()
