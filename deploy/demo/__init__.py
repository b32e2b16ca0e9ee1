"""`mandate demo`: the main job on the sample corpus, on real parts.

`cast` and `kinds` say who is in it, `scripts` what happens to them, `shapes` how providers tell it; `conductor` moves
journal time, `wire` is the stage on real topics; `house` starts, plays, counts and ends; `claims` say what must hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.settings import Settings


def run(settings: Settings) -> int:
    """Run the demo; 0 when every request was decided, the audit lake is complete and every claim holds."""
    from deploy.demo.house import run as play

    return play(settings)
