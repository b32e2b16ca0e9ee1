"""How a landing reaches a real broker: in requests that nobody waits long behind, read from the broker's own log."""

import asyncio
import socket
import struct
import time
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.settings import Settings
from schemas.catalogue import DEAD_LETTER_BYTES
from streams import Broken
from streams.kafka import make_producer
from streams.pacing import ON_THE_WAY, TRAIN_BYTES
from streams.sender import HELD_BYTES, Sender
from streams.transport.outbox import open_outboxes

pytestmark = pytest.mark.broker
ROW = bytes(21_000)
ROWS = 60
_HEADER = struct.Struct(">qi")  # of a record batch: base offset, and the length of what follows


def batches_of(segment: bytes) -> list[int]:
    """Bytes of each record batch of a log segment; a request has one batch of a partition."""
    found, at = [], 0
    while at < len(segment):
        _, length = _HEADER.unpack_from(segment, at)
        found.append(_HEADER.size + length)
        at += found[-1]
    return found


def test_the_rows_of_a_landing_go_in_requests_of_some_rows_each(stack: Settings) -> None:
    topic = f"test.{uuid4().hex}"
    admin = AdminClient({**stack.client_config()})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)

    async def land() -> None:
        outboxes = open_outboxes(stack, asyncio.get_running_loop())
        group = outboxes.gathering.open()
        for _ in range(ROWS):
            outboxes.gathering.send(group, topic, ROW, key=None, partition=0)
        await asyncio.wait_for(group.wait(), 30)
        await outboxes.flush()
        outboxes.close()

    asyncio.run(land())
    segment = Path(stack.data_dir) / "stack" / "kafka" / f"{topic}-0" / f"{0:020}.log"
    batches = batches_of(segment.read_bytes())
    assert sum(batches) > ROWS * len(ROW)
    assert max(batches) <= TRAIN_BYTES < 256 << 10
    assert len(batches) < ROWS / 4


def test_a_record_too_large_for_the_client_ends_what_sends_it_also_when_it_had_to_wait(stack: Settings) -> None:
    sender = Sender(make_producer(stack))
    for value in (b"first",) * ON_THE_WAY + (bytes(2 * DEAD_LETTER_BYTES),):
        sender.send("dead.letters", value, key=None, partition=0)
    assert sender.holds
    with pytest.raises(Broken, match=r"dead\.letters can't take a record"):
        sender.flush()


def test_a_sender_that_reaches_no_broker_keeps_no_more_than_its_bound(stack: Settings) -> None:
    """It waits at the bound, and the first delivery that is given up ends it."""
    large, taken = bytes(900_000), list[int]()

    def send_many(sender: Sender) -> None:
        for number in range(1_000):
            sender.send("dead.letters", large, key=None, partition=0)
            taken.append(number)

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        before = time.monotonic()
        with pytest.raises(Broken, match=r"dead\.letters did not take a record"):
            send_many(Sender(make_producer(stack, **{"bootstrap.servers": address, "message.timeout.ms": 3_000})))
    assert HELD_BYTES < len(taken) * len(large) < HELD_BYTES + (ON_THE_WAY + 2) * len(large)
    assert 2.5 < time.monotonic() - before < 30
