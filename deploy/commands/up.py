"""`mandate up`: the local stack with keys, topics and schemas, left running."""

from __future__ import annotations

from deploy import kafka_admin, keys
from deploy.local import stack
from deploy.local.progress import Console
from deploy.settings import Settings


def run(settings: Settings) -> int:
    """Start what is missing, then make topics and register schemas. What it started is stopped if it fails."""
    console = Console()
    running = stack.start(settings, console, keep=True)
    try:
        keys.ensure_keys(settings)
        created = kafka_admin.ensure_topics(settings)
        ids = kafka_admin.register_schemas(settings)
    except BaseException:
        if running.started:
            stack.stop(settings, console)
        raise
    console.say(f"{len(created)} topics created, {len(ids)} schemas registered.")
    print(f"kafka     {running.kafka_bootstrap}\nregistry  {running.registry_url}")
    return 0
