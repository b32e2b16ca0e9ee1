"""Throwaway stacks for tests: real Kafka and registry on free ports, gone when the test is done."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deploy import kafka_admin, keys
from deploy.local import process
from deploy.local import stack as local_stack
from deploy.settings import Settings, load_settings
from streams import behind, clock
from streams import directory as calls

OWNER = "owner.json"
_FOLLOWED = {clock.DRIVEN_TOPIC, calls.TOPIC, behind.TOPIC}


@contextmanager
def running_stack(data_dir: Path, **overrides: Any) -> Iterator[Settings]:
    """Settings of a running stack with keys, topics and schemas.

    They name the stack's address, as for a cluster of one's own: `settings.to_env()` makes any process use it.
    """
    (data_dir / OWNER).write_text(json.dumps(asdict(process.myself())))
    local = load_settings(data_dir=data_dir, kafka_port=0, registry_port=0)
    running = local_stack.start(local)
    try:
        settings = load_settings(
            data_dir=data_dir,
            kafka_bootstrap=running.kafka_bootstrap,
            registry_url=running.registry_url,
            **overrides,
        )
        keys.ensure_keys(settings)
        kafka_admin.ensure_topics(settings)
        kafka_admin.register_schemas(settings)
        yield settings
        assert followers() == [], "they would end this process half a minute after the broker is gone"
    finally:
        local_stack.stop(local)


def followers(within_s: float = 10.0) -> list[str]:
    """Threads of this process that follow a topic still, by its name; those that are ending are given some seconds."""
    end = time.monotonic() + within_s
    while True:
        found = [thread.name for thread in threading.enumerate() if thread.name in _FOLLOWED]
        if not found or time.monotonic() >= end:
            return found
        time.sleep(0.05)


def end_leftovers() -> None:
    """Ends the stacks of test runs that were killed."""
    for directory in process.directories():
        owner = _owner(directory.parent)
        if owner is not None and not process.lives(owner):
            local_stack.stop(load_settings(data_dir=directory.parent))


def _owner(data_dir: Path) -> process.Written | None:
    try:
        return process.Written(**json.loads((data_dir / OWNER).read_text()))
    except (OSError, ValueError, TypeError):
        return None
