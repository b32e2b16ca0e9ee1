"""Faust's producer, on librdkafka. Faust itself sends nothing here; what it would send is sent with proof too."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from faust.transport import base
from faust.types.tuples import TP, FutureMessage, RecordMetadata

from streams import Broken
from streams.transport.outbox import Deliveries, Outboxes, open_outboxes

DEFECT = "This is a defect of Mandate: please report it."


class Producer(base.Producer):
    """The `Outboxes` in the clothes that Faust expects.

    `flush` returns only when everything handed over is delivered (Faust's gives up after 0.1 s without progress), and
    a delivery that fails ends the process (Faust logs it and commits).
    """

    app: Any
    _outboxes: Outboxes | None = None

    @property
    def outboxes(self) -> Outboxes:
        """The senders; Broken before the service has started."""
        if self._outboxes is None:
            raise Broken("The producer has not started.", DEFECT)
        return self._outboxes

    async def on_start(self) -> None:
        await super().on_start()
        self._outboxes = open_outboxes(self.app.settings, asyncio.get_running_loop())

    async def on_stop(self) -> None:
        await super().on_stop()
        if self._outboxes is not None:
            await self._outboxes.flush()
            self._outboxes.close()
            self._outboxes = None

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Hands over one record; what it returns completes when the broker has acknowledged it."""
        outbox = self.outboxes.prompt
        group = outbox.open()
        place = -1 if partition is None else partition
        pairs = list(headers.items()) if isinstance(headers, Mapping) else headers
        timestamp_ms = int(timestamp * 1000) if timestamp else 0
        outbox.send(group, topic, value, key=key, partition=place, timestamp_ms=timestamp_ms, headers=pairs)
        return asyncio.ensure_future(_metadata(group, topic, place, timestamp))

    async def send_and_wait(self, *args: Any, **options: Any) -> RecordMetadata:
        """As `send`, and waits."""
        return await (await self.send(*args, **options))

    async def flush(self) -> None:
        """Returns when every record handed over so far is delivered."""
        if self._outboxes is not None:
            await self._outboxes.flush()

    def send_soon(self, fut: FutureMessage) -> None:
        """Refused: a record that nobody awaits could be lost and its offset committed."""
        raise Broken("A record was to be sent without waiting for its delivery.", DEFECT)

    async def create_topic(self, *args: Any, **options: Any) -> None:
        """Does nothing: topics come from the catalogue (`mandate up`, `mandate topics --create`)."""

    def key_partition(self, topic: str, key: bytes) -> TP:
        """Refused: every record of control names its partition."""
        raise Broken(f"Nobody chooses a partition of {topic} here.", DEFECT)

    def supports_headers(self) -> bool:
        return True


async def _metadata(group: Deliveries, topic: str, partition: int, timestamp: float | None) -> RecordMetadata:
    await group.wait()
    return RecordMetadata(
        topic=topic,
        partition=partition,
        topic_partition=TP(topic, partition),
        offset=group.last_offset,
        timestamp=timestamp,
        timestamp_type=0,
    )
