"""A responder that plays control beside the real broker and registry."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def control(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a stack on which `responder` answers requests."""
    directory = tmp_path_factory.mktemp("responder")
    environment = {**os.environ, **stack.to_env(), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.agents.responder", str(directory)]
    running = subprocess.Popen(command, env=environment, cwd=ROOT)
    try:
        end = time.monotonic() + 30
        while not (directory / "ready").exists():
            assert running.poll() is None, "the responder ended"
            assert time.monotonic() < end, "the responder does not begin"
            time.sleep(0.05)
        yield stack
    finally:
        running.kill()
        running.wait()
