"""`mandate down`: stop the local stack; its data stays."""

from __future__ import annotations

from deploy.local import stack
from deploy.local.progress import Console
from deploy.settings import Settings


def run(settings: Settings) -> int:
    """End the stack's processes."""
    console = Console()
    if not settings.is_local:
        console.say(f"Nothing to stop: {settings.bootstrap_servers} is not the local stack.")
    elif not stack.stop(settings, console):
        console.say("The local stack does not run.")
    return 0
