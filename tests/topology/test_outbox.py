"""How a landing reaches a real broker: in requests that nobody waits long behind, read from the broker's own log."""

import asyncio
import struct
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.settings import Settings
from streams.pacing import TRAIN_BYTES
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
