"""A stack of its own for tests that break things: what they leave behind is nobody else's."""

from collections.abc import Iterator

import pytest

from deploy.settings import Settings
from tests.stacks import running_stack


@pytest.fixture(scope="session")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A running stack with a driven clock."""
    with running_stack(tmp_path_factory.mktemp("faults"), clock="driven") as settings:
        yield settings
