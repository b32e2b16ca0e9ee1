"""A consumer that no broker is connected to any more ends its process; it would wait for ever otherwise."""

import json
from contextlib import suppress

import pytest

from deploy.local.ports import pick_free
from deploy.settings import LOOPBACK, load_settings
from streams import Broken
from streams.kafka import ALONE_REPORTS, BrokerWatch, make_consumer
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
