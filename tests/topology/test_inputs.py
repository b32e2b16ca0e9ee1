"""The input topics, read by two members of one group."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Message

from deploy.settings import Settings
from schemas.catalogue import EVENT_INPUTS
from streams import Broken
from streams.inputs import AWAITED, FLOW, GATHER_MS, LOOK_MS, Heard, Inputs
from streams.kafka import make_producer
from streams.offsets import Place
from streams.sender import Sender
from tests.topology.intake_process import unique

pytestmark = pytest.mark.broker


class _Share:
    def __init__(self) -> None:
        self.places: set[Place] = set()

    def add(self, places: set[Place]) -> None:
        self.places |= places

    def remove(self, places: set[Place]) -> None:
        self.places -= places


@contextmanager
def _inputs(settings: Settings, group: str, share: _Share | None = None) -> Iterator[Inputs]:
    share = share or _Share()
    inputs = Inputs(settings, group, Heard(share.add, share.remove, share.remove), lambda _error, _marks: None)
    inputs.subscribe()
    try:
        yield inputs
    finally:
        inputs.close()


def _until(inputs: Inputs, wanted: list[tuple[str, bytes]]) -> list[Message]:
    """What is taken until all of these came, each by its topic and value."""
    found: list[Message] = []
    end = time.monotonic() + 30
    while not set(wanted) <= set(_told(found)) and time.monotonic() < end:
        found += inputs.take()
    return found


def _told(found: list[Message]) -> list[tuple[str, bytes]]:
    return [(str(message.topic()), message.value() or b"") for message in found if message.error() is None]


def test_each_input_is_read_by_one_of_the_two() -> None:
    assert sorted((*AWAITED, *FLOW)) == sorted(EVENT_INPUTS)
    assert not set(AWAITED) & set(FLOW)
    assert {"agent.requests", "human.interventions", "crm.events", "messaging.events"} <= set(AWAITED)


def test_they_are_ready_when_both_have_their_share(stack: Settings) -> None:
    share = _Share()
    with _inputs(stack, unique("inputs"), share) as inputs:
        end = time.monotonic() + 30
        while not inputs.is_ready and time.monotonic() < end:
            inputs.take()
        assert inputs.is_ready
        assert {place.topic for place in share.places} == set(EVENT_INPUTS)


def test_what_each_committed_is_not_read_again(stack: Settings) -> None:
    group, sender = unique("inputs"), Sender(make_producer(stack))
    first, second = unique("one").encode(), unique("two").encode()
    for topic in EVENT_INPUTS:
        sender.send(topic, first, key="any")
    sender.flush()
    with _inputs(stack, group) as inputs:
        found = _until(inputs, [(topic, first) for topic in EVENT_INPUTS])
        marks: dict[Place, int] = {}
        for message in found:
            if message.error() is None:
                place = Place(str(message.topic()), int(message.partition() or 0))
                marks[place] = max(marks.get(place, 0), int(message.offset() or 0) + 1)
        assert not inputs.commit(marks, wait=True)
    for topic in EVENT_INPUTS:
        sender.send(topic, second, key="any")
    sender.flush()
    with _inputs(stack, group) as inputs:
        again = _told(_until(inputs, [(topic, second) for topic in EVENT_INPUTS]))
    assert sorted(again) == sorted((topic, second) for topic in EVENT_INPUTS)


def test_the_flow_is_gathered_and_what_is_awaited_is_not(stack: Settings) -> None:
    """However busy the machine is: events a millisecond apart come once each LOOK_MS at most, a request at once."""
    sender = Sender(make_producer(stack))
    last = unique("last").encode()
    with _inputs(stack, unique("inputs")) as inputs:
        sender.send("telephony.events", b"begin", key="any")
        sender.send("agent.requests", b"begin", key="any")
        sender.flush()
        _until(inputs, [("telephony.events", b"begin"), ("agent.requests", b"begin")])
        while inputs.take():  # what other tests left
            pass
        flow = _turns(inputs, sender, "telephony.events", last)
        awaited = _turns(inputs, sender, "agent.requests", last)
    assert len(flow) <= sum(flow) / (LOOK_MS / 1000) + 3
    assert min(awaited) < LOOK_MS / 1000


def _turns(inputs: Inputs, sender: Sender, topic: str, last: bytes) -> list[float]:
    """Seconds that each turn took in which one or more of a hundred records came, which another thread sends a
    millisecond after one another."""

    def send() -> None:
        for _ in range(100):
            sender.send(topic, last, key="any")
            sender.poll()
            time.sleep(0.001)
        sender.flush()

    sending = threading.Thread(target=send)
    sending.start()
    took: list[float] = []
    got, end = 0, time.monotonic() + 30
    while got < 100 and time.monotonic() < end:
        began = time.monotonic()
        count = _told(inputs.take()).count((topic, last))
        if count:
            took.append(time.monotonic() - began)
        got += count
    sending.join()
    assert got == 100
    return took


def test_both_leave_the_group_when_what_one_hears_at_it_fails(stack: Settings) -> None:
    heard: list[set[str]] = []

    def fail(places: set[Place]) -> None:
        heard.append({place.topic for place in places})
        raise Broken("a delivery failed")

    inputs = Inputs(stack, unique("inputs"), Heard(lambda _: None, fail, fail), lambda _error, _marks: None)
    inputs.subscribe()
    end = time.monotonic() + 30
    while not inputs.is_ready and time.monotonic() < end:
        inputs.take()
    with pytest.raises(Broken):
        inputs.close()
    assert sorted(map(sorted, heard)) == sorted((sorted(AWAITED), sorted(FLOW)))


def test_the_flow_waits_a_few_milliseconds() -> None:
    """Gathering is not worth more: a spoken "stop" is in the flow."""
    assert GATHER_MS + LOOK_MS <= 30
