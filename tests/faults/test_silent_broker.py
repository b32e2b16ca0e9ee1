"""A broker that answers late must not be kept from answering by those who wait for it."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from deploy.local import process
from deploy.settings import Settings
from streams.kafka import make_producer
from streams.pacing import TRAINS
from streams.sender import Sender
from streams.transport.outbox import open_outboxes

TOPIC = "dead.letters"


@pytest.mark.broker
def test_a_silent_broker_costs_no_processor_time(own_stack: Settings) -> None:
    broker = process.find(own_stack.data_dir / "stack", "kafka")
    assert broker is not None

    async def silent_s(send: Callable[[int], None], settle: Callable[[], Any]) -> float:
        send(1)
        await asyncio.sleep(1.0)  # one that is first costs the client a connection and a look at the topic
        broker.suspend()
        try:
            for _ in range(40):
                send(3)
                await asyncio.sleep(0.002)
            before = time.process_time()
            await asyncio.sleep(1.0)
            return time.process_time() - before
        finally:
            broker.resume()
            await settle()

    async def measured() -> list[float]:
        outboxes = open_outboxes(own_stack, asyncio.get_running_loop())
        found = []
        for outbox in outboxes:
            group = outbox.open()

            def hand_over(records: int, outbox: Any = outbox, group: Any = group) -> None:
                for _ in range(records):
                    outbox.send(group, TOPIC, bytes(9_000), key=None, partition=0)
                asyncio.ensure_future(group.wait())  # noqa: RUF006  # it is awaited at the end

            found.append(await silent_s(hand_over, group.wait))
        outboxes.close()
        sender = Sender(make_producer(own_stack), trains=make_producer(own_stack, **TRAINS))

        def send(records: int) -> None:
            for _ in range(records):
                sender.send(TOPIC, bytes(900), key=None, partition=0)
            sender.poll()

        found.append(await silent_s(send, lambda: asyncio.to_thread(sender.flush)))
        assert sender.pending == 0
        return found

    # Of a second. With everything handed over at once it is all of it for each of the three.
    assert [spent < 0.3 for spent in asyncio.run(measured())] == [True, True, True]
