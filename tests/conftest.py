"""Shared by all tests: nobody's own settings leak in, and one real local stack for whoever asks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from deploy import kafka_admin, keys
from deploy.local import process
from deploy.local import stack as local_stack
from deploy.settings import Settings, load_settings

KEPT_VARIABLES = {"MANDATE_CACHE_DIR", "MANDATE_MAVEN_URL", "MANDATE_TEST_POSTGRES_URL"}
OWNER = "owner.json"


def pytest_configure() -> None:
    for name in [name for name in os.environ if name.startswith("MANDATE_") and name not in KEPT_VARIABLES]:
        del os.environ[name]
    os.environ["MANDATE_CONFIG"] = ""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a running throwaway stack on free ports, with keys, topics and schemas.

    They name the stack's address, as for a cluster of one's own: `settings.to_env()` makes any process use it.
    """
    _end_leftovers()
    data_dir = tmp_path_factory.mktemp("stack")
    (data_dir / OWNER).write_text(json.dumps(asdict(process.myself())))
    local = load_settings(data_dir=data_dir, kafka_port=0, registry_port=0)
    running = local_stack.start(local)
    try:
        settings = load_settings(
            data_dir=data_dir, kafka_bootstrap=running.kafka_bootstrap, registry_url=running.registry_url
        )
        keys.ensure_keys(settings)
        kafka_admin.ensure_topics(settings)
        kafka_admin.register_schemas(settings)
        yield settings
    finally:
        local_stack.stop(local)


def _end_leftovers() -> None:
    """Stacks of test runs that were killed."""
    for directory in process.directories():
        owner = _owner(directory.parent)
        if owner is not None and not process.lives(owner):
            local_stack.stop(load_settings(data_dir=directory.parent))


def _owner(data_dir: Path) -> process.Written | None:
    try:
        return process.Written(**json.loads((data_dir / OWNER).read_text()))
    except (OSError, ValueError, TypeError):
        return None
