"""Shared by all tests: nobody's own settings leak in, and one real local stack for whoever asks."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from deploy.settings import Settings
from tests.stacks import end_leftovers, running_stack

KEPT_VARIABLES = {"MANDATE_CACHE_DIR", "MANDATE_MAVEN_URL", "MANDATE_TEST_POSTGRES_URL"}


def pytest_configure(config: pytest.Config) -> None:
    os._exit = _told(config, os._exit)
    for name in [name for name in os.environ if name.startswith("MANDATE_") and name not in KEPT_VARIABLES]:
        del os.environ[name]
    os.environ["MANDATE_CONFIG"] = ""


def _told(config: pytest.Config, end: Callable[[int], NoReturn]) -> Callable[[int], NoReturn]:
    """`end`, and before it what pytest keeps to itself: who ends the tests (`streams.end_process`), what it said."""
    mine, capture = os.getpid(), config.pluginmanager.getplugin("capturemanager")

    def told(code: int) -> NoReturn:
        if os.getpid() == mine and capture is not None:  # a forked child ends this way in order
            capture.suspend_global_capture()
            print(*capture.read_global_capture(), sep="\n", file=sys.stderr)
            print(f"The thread {threading.current_thread().name} ends the tests with {code}:", file=sys.stderr)
            traceback.print_stack()
        end(code)

    return told


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
