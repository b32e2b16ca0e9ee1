"""`--supervise`: the same command as a child that is started again when it crashes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from deploy.supervisor import Supervisor


def run(words: Sequence[str]) -> int:
    """Run `mandate WORDS` under a supervisor. The child's last exit code."""
    # -P: a folder named deploy in the working directory is not ours.
    return Supervisor([sys.executable, "-P", "-m", "deploy.cli", *words]).run()
