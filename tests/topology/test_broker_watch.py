"""A consumer that no broker is connected to any more ends its process; it would wait for ever otherwise, in its poll
or in its close."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.local.ports import pick_free
from deploy.settings import LOOPBACK, Settings, load_settings
from streams import EXIT_BROKEN, Broken, kafka
from streams.kafka import ALONE_REPORTS, BrokerWatch, EndingConsumer, make_consumer
from tests.faults.ground import eventually


def report(**states: str) -> str:
    """What the client library tells of its brokers, among other things."""
    return json.dumps(
        {"name": "consumer", "brokers": {name: {"state": is_, "rtt": {}} for name, is_ in states.items()}}
    )


CONNECTED = report(broker="UP", coordinator="INIT")
FORGOTTEN = report(broker="INIT", coordinator="TRY_CONNECT")


def test_a_client_that_forgot_its_brokers_ends_after_some_reports() -> None:
    watch = BrokerWatch()
    watch(CONNECTED)
    for _ in range(ALONE_REPORTS - 1):
        watch(FORGOTTEN)
    with pytest.raises(Broken, match="No broker was connected for 30 s"):
        watch(FORGOTTEN)


def test_one_without_any_broker_left_ends_too() -> None:
    watch = BrokerWatch()
    for _ in range(ALONE_REPORTS - 1):
        watch(report())
    with pytest.raises(Broken):
        watch(report())


def test_an_outage_that_is_over_in_time_is_forgotten() -> None:
    watch = BrokerWatch()
    for _ in range(5):
        for _ in range(ALONE_REPORTS - 1):
            watch(FORGOTTEN)
        watch(CONNECTED)


def test_what_the_watch_raises_comes_out_of_the_consumers_poll() -> None:
    nobody = load_settings(kafka_bootstrap=f"{LOOPBACK}:{pick_free(1)[0]}", registry_url=f"http://{LOOPBACK}:1")
    consumer = make_consumer(nobody, "alone", **{"statistics.interval.ms": 50})
    consumer.subscribe(["execution.journal"])

    def polls_raise() -> bool:
        try:
            consumer.poll(0.1)
        except Broken:
            return True
        return False

    assert eventually(polls_raise, 20)
    with suppress(Broken):
        consumer.close()


@pytest.fixture
def member(stack: Settings) -> Iterator[tuple[EndingConsumer, threading.Event]]:
    """A member of a group whose close waits until the event is set: it gives its partitions up no earlier."""
    assigned, over = threading.Event(), threading.Event()
    consumer = make_consumer(stack, "test-never-ends")
    consumer.subscribe(
        ["agent.requests"], on_assign=lambda *_: assigned.set(), on_revoke=lambda *_: over.wait(60) and None
    )
    assert eventually(lambda: consumer.poll(0.1) is None and assigned.is_set(), 30)
    yield consumer, over
    over.set()


def test_a_close_that_does_not_end_is_left_after_a_time(
    member: tuple[EndingConsumer, threading.Event],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    consumer, _ = member
    monkeypatch.setattr(kafka, "CLOSE_WITHIN_S", 0.5)
    began = time.monotonic()
    consumer.close()
    assert 0.5 <= time.monotonic() - began < 5
    assert "a client did not end within 0.5 s" in capsys.readouterr().err


STUCK = """
import threading
from deploy.settings import load_settings
from streams import EXIT_BROKEN, kafka
kafka.CLOSE_WITHIN_S = 0.5
assigned, never = threading.Event(), threading.Event()
consumer = kafka.make_consumer(load_settings(), "test-stuck-process")
consumer.subscribe(["agent.requests"], on_assign=lambda *_: assigned.set(), on_revoke=lambda *_: never.wait())
while not assigned.is_set():
    consumer.poll(0.1)
consumer.close()
raise SystemExit(EXIT_BROKEN)
"""


def test_a_process_whose_client_never_ends_ends(stack: Settings) -> None:
    """Not by the close alone: what lets go of such a client would wait too."""
    environment = {**os.environ, **stack.to_env(), "PYTHONPATH": str(Path(__file__).parents[2]), "MANDATE_CONFIG": ""}
    ended = subprocess.run(
        [sys.executable, "-c", STUCK], env=environment, timeout=60, check=False, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (EXIT_BROKEN, "mandate: kafka: a client did not end within 0.5 s.\n")


def test_a_close_that_ends_is_waited_for(
    member: tuple[EndingConsumer, threading.Event], capsys: pytest.CaptureFixture[str]
) -> None:
    consumer, over = member
    threading.Timer(1, over.set).start()
    consumer.close()
    assert over.is_set()
    assert capsys.readouterr().err == ""
    with pytest.raises(RuntimeError, match="closed"):
        consumer.poll(0)


def test_what_fails_in_a_close_is_raised(stack: Settings) -> None:
    def fail(*_: object) -> None:
        raise Broken("a delivery failed")

    assigned = threading.Event()
    consumer = make_consumer(stack, "test-fails")
    consumer.subscribe(["agent.requests"], on_assign=lambda *_: assigned.set(), on_revoke=fail)
    assert eventually(lambda: consumer.poll(0.1) is None and assigned.is_set(), 30)
    with pytest.raises(Broken, match="a delivery failed"):
        consumer.close()
