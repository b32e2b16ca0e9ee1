"""The topics as the tests of the sinks use them: write as control does, read all there is."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import Message

from deploy import keys
from deploy.commands import policy_activate
from deploy.settings import Settings
from processors.policy import load_bundle
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec
from schemas.records import Record
from streams.kafka import make_producer, read_all
from streams.registry import connect
from streams.sender import Sender
from tests.sinks.support import PARTITIONS, Control, heartbeat, partition

ROOT = Path(__file__).resolve().parents[2]


class Topics:
    """Writes and reads the topics of a running stack, with control's own key and an approved policy."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.codec: Codec = connect(settings)
        self.sender = Sender(make_producer(settings))
        policy_activate.run(settings, bundle=settings.policy_bundle)
        digest = load_bundle(settings.policy_bundle).digest()
        self.control = Control(keys.load_private_key(settings.signing_key_path), digest)

    def put(self, *values: Record, key: str | None = None) -> None:
        """Appends records, each on the partition of its lead, and waits for the broker."""
        for value in values:
            lead = getattr(value, "lead_id", None)
            self.sender.send(TOPIC_OF[type(value)], self.codec.encode(value), key=key or lead)
        self.sender.flush()

    def put_raw(self, topic: str, value: bytes | None, lead: str) -> None:
        """Appends bytes that nobody checked."""
        self.sender.send(topic, value, key=lead, partition=partition(lead))
        self.sender.flush()

    def beat(self, at: int) -> None:
        """The revocation feed is known up to `at`."""
        for number in range(PARTITIONS):
            value = heartbeat(number, at)
            self.sender.send(
                TOPIC_OF[type(value)], self.codec.encode(value), key=f"HEARTBEAT:{number}", partition=number
            )
        self.sender.flush()

    def all(self, topic: str) -> list[Message]:
        """Everything that a topic holds now."""
        return list(read_all(self.settings, topic))


def published(settings: Settings) -> dict[str, dict[str, list[keys.Jwk]]]:
    """The keyword arguments of the CRM sink that name the keys."""
    signing, approving = keys.jwks(settings)["keys"][0], keys.approvers(settings)["keys"][0]
    return {"signers": {"keys": [signing]}, "approvers": {"keys": [approving]}}


def start(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    """A process of the `mandate` command."""
    environment = {**os.environ, **settings.to_env(), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "deploy.cli", *arguments]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )


def kill_at_random(settings: Settings, arguments: Sequence[str], times: int, dice: random.Random) -> None:
    """Starts the process and kills it with SIGKILL, a moment after it said that it is ready, again and again."""
    for _ in range(times):
        process = start(settings, *arguments)
        try:
            assert process.stdout is not None
            assert "ready" in process.stdout.readline()
            time.sleep(dice.uniform(0.0, 0.6))
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()


def finish(settings: Settings, *arguments: str) -> str:
    """Runs the process to its end; returns what it printed."""
    process = start(settings, *arguments)
    try:
        out, err = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out
