"""Shared by all tests: nobody's own settings leak in, and one real local stack for whoever asks."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from deploy.settings import Settings
from tests.stacks import end_leftovers, running_stack

KEPT_VARIABLES = {"MANDATE_CACHE_DIR", "MANDATE_MAVEN_URL", "MANDATE_TEST_POSTGRES_URL"}


def pytest_configure() -> None:
    for name in [name for name in os.environ if name.startswith("MANDATE_") and name not in KEPT_VARIABLES]:
        del os.environ[name]
    os.environ["MANDATE_CONFIG"] = ""


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A running throwaway stack, shared by the tests that mind nobody else's records."""
    end_leftovers()
    with running_stack(tmp_path_factory.mktemp("stack")) as settings:
        yield settings


@pytest.fixture(scope="session")
def stack(shared_stack: Settings) -> Settings:
    """The shared stack; directories whose tests need one of their own have their own fixture of this name."""
    return shared_stack
