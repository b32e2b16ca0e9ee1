"""A stack of its own for tests that break things: what they leave behind is nobody else's."""

from collections.abc import Iterator

import pytest

from deploy import kafka_admin, keys
from deploy.local import stack as local_stack
from deploy.settings import Settings, load_settings


@pytest.fixture(scope="session")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a running stack with a driven clock, keys, topics and schemas."""
    data_dir = tmp_path_factory.mktemp("faults")
    local = load_settings(data_dir=data_dir, kafka_port=0, registry_port=0)
    running = local_stack.start(local)
    try:
        settings = load_settings(
            data_dir=data_dir,
            kafka_bootstrap=running.kafka_bootstrap,
            registry_url=running.registry_url,
            clock="driven",
        )
        keys.ensure_keys(settings)
        kafka_admin.ensure_topics(settings)
        kafka_admin.register_schemas(settings)
        yield settings
    finally:
        local_stack.stop(local)
