"""`mandate up`: the local stack with keys, topics, schemas and the default policy, left running."""

from __future__ import annotations

from deploy import kafka_admin, keys
from deploy.commands import policy_activate
from deploy.local import stack
from deploy.local.progress import Console
from deploy.settings import Settings


def run(settings: Settings) -> int:
    """Start what is missing, then make topics and register schemas. What it started is stopped if it fails.

    A local stack gets keys and the configured policy bundle as well; on another cluster both are deliberate acts.
    """
    console = Console()
    running = stack.start(settings, console, keep=True)
    try:
        if settings.is_local:  # on a cluster of one's own keys are a deliberate act too: `mandate keys new`
            keys.ensure_keys(settings)
        created = kafka_admin.ensure_topics(settings)
        ids = kafka_admin.register_schemas(settings)
        if settings.is_local:
            policy_activate.run(settings, bundle=settings.policy_bundle, reason="mandate up", approved_by="mandate up")
    except BaseException:
        if running.started:
            stack.stop(settings, console)
        raise
    console.say(f"{len(created)} topics created, {len(ids)} schemas registered.")
    print(f"kafka     {running.kafka_bootstrap}\nregistry  {running.registry_url}")
    if not settings.is_local:
        print("policy    none was activated: `mandate policy activate BUNDLE` puts one into force")
    return 0
