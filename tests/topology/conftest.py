"""A stack for each module: these tests read whole topics, and some of them write garbage into them."""

from collections.abc import Iterator

import pytest

from deploy.settings import Settings
from tests.stacks import running_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A running throwaway stack of this module's own."""
    with running_stack(tmp_path_factory.mktemp("topology")) as settings:
        yield settings
