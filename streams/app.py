"""The Faust app of a control worker: its settings and how its parts are put together."""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import faust
from faust.types import TP

from schemas.codec import Codec
from streams import Broken, end_process
from streams.changelog import CHANGELOG
from streams.clock import Clock
from streams.control import JOURNAL, Control, MakeFold
from streams.faust_tables import TableManager
from streams.joining import members_of, share_of
from streams.layout import Layout
from streams.metrics import control as metrics
from streams.recovery import Restoration
from streams.slots import Slot
from streams.tables import ExecutionTable, table_arguments
from streams.ticks import Ticks
from streams.topology import CONTROL
from streams.tracing import make_spans
from streams.transport import Consumer, Producer, Transport
from streams.transport.producer import DEFECT
from streams.transport.security import credentials

if TYPE_CHECKING:
    from deploy.settings import Settings

_NEVER = 2_000_000_000


class ControlApp(faust.App):
    """Faust with our transport, crash-only: whatever crashes a service of it ends the process with one line."""

    settings: "Settings"
    on_ready: Callable[[], None]
    """Called whenever the partitions of a new assignment are restored and judged."""
    consumer: Consumer
    producer: Producer

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _crash(self, reason: BaseException) -> None:
        end_process(reason)

    async def _on_partitions_revoked(self, revoked: set[TP]) -> None:
        # First: a claim that is written after somebody else's would end the other worker.
        await cast(TableManager, self.tables).recovery.give_up()
        await super()._on_partitions_revoked(revoked)


class Worker:
    """One control worker: the app, its lanes and its ticks. Make it inside the running loop."""

    def __init__(
        self, settings: "Settings", slot: Slot, layout: Layout, codec: Codec, clock: Clock, make_fold: MakeFold
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._clock = clock
        self.app = _app(settings, slot, layout)
        self._table = _table(self.app, layout)
        self.control = Control(self._table, codec, clock, make_fold, self._acknowledge)
        self.control.spans = make_spans(settings, "mandate-control")
        self._partitions = layout.partitions
        self._instance = instance_of(slot)
        self._copying: Restoration | None = None
        self._stopping = False
        self._ticking: asyncio.Task[None] | None = None
        # Faust subscribes to what some agent reads. This one is given nothing: entries come by `transport.fetch`.
        self.app.agent(self.app.topic(JOURNAL, acks=False), name="control")(_given_nothing)
        self.app.consumer.reader = self.control
        self.app.on_ready = self._announce

    async def start(self) -> None:
        """Returns when the state is restored and the worker judges; other errors than Broken are defects."""
        await self.app.producer.maybe_start()
        outboxes = self.control.outboxes = self.app.producer.outboxes
        await asyncio.to_thread(self._copy_first)
        if self._stopping:
            return
        await self.app.start()
        ticks = Ticks(self._settings, self._clock, self._codec, outboxes.prompt, lambda: self.control.partitions)
        self._ticking = asyncio.create_task(ticks.run(), name="ticks")

    async def stop(self, *, leave: bool = True) -> None:
        """Ends the batches in hand, commits, closes the databases, and leaves; or stays a member, to be back soon."""
        self.app.consumer.leaves = leave
        self._stopping = True
        if self._copying is not None:
            self._copying.cancel()
        if self._ticking is not None:
            self._ticking.cancel()
        await self.app.stop()
        if self.control.spans is not None:
            await asyncio.to_thread(self.control.spans.close)

    def _copy_first(self) -> None:
        """Copies what others judge still and will be given to this worker; before it joins them."""
        members = members_of(self._settings)
        share = share_of(self._instance, members, self._partitions, self._settings.standby_replicas)
        if share:
            self._copying = Restoration(self._table, sorted(share))
            self._copying.run()
            self._table.let_go(share)
            metrics.RECOVERY_DONE.set(0)

    def journal_end(self, partition: int) -> int | None:
        """Offset after the newest entry, as the last fetch told; None when it is not known. From any thread."""
        return self.app.consumer.journal_end(partition)

    def _announce(self) -> None:
        print(f"control ready: partitions {self.control.partitions}", flush=True)

    def _acknowledge(self, partition: int, offset: int) -> None:
        self.app.consumer.acknowledge(TP(JOURNAL, partition), offset)


async def _given_nothing(stream: Any) -> None:
    async for _ in stream:
        end_process(Broken("Faust's own fetch gave an entry.", DEFECT))


def instance_of(slot: Slot) -> str:
    """The static id of the worker that has this directory."""
    return f"{CONTROL.group}-{slot.instance}"


def _app(settings: "Settings", slot: Slot, layout: Layout) -> ControlApp:
    servers = settings.bootstrap_servers.split(",")
    app = ControlApp(
        str(CONTROL.group),
        broker=[f"aiokafka://{server.strip()}" for server in servers],
        broker_credentials=credentials(settings),
        store="rocksdb://",
        # State of another changelog, such as a test cluster's, is never found: each has a directory of its own.
        datadir=slot.path / layout.changelog_id,
        processing_guarantee="at_least_once",
        TableManager=TableManager,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=layout.partitions,
        web_enabled=False,
        canonical_url=f"http://{socket.gethostname()}-{slot.path.name}",
        consumer_group_instance_id=instance_of(slot),
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=0.3,
        broker_commit_every=_NEVER,
        broker_session_timeout=settings.session_timeout_s,
        # A member hears of a rebalance with its next heartbeat, and nobody judges until all have.
        broker_heartbeat_interval=0.2,
        # Faust refuses one below the session timeout.
        broker_request_timeout=max(15.0, settings.session_timeout_s),
        broker_rebalance_timeout=20.0,
        broker_max_poll_interval=60.0,
        broker_max_poll_records=1_000,
        consumer_max_fetch_size=1 << 20,
        stream_wait_empty=True,
        stream_recovery_delay=0.0,
        table_standby_replicas=settings.standby_replicas,
        producer_threaded=False,
    )
    app.settings = settings
    return app


def _table(app: ControlApp, layout: Layout) -> ExecutionTable:
    table = ExecutionTable(app, changelog_id=layout.changelog_id, **table_arguments(layout.partitions))
    # Else it is that of whoever asks first, and a thread does: then a stop waits for a loop that does not run.
    table.loop = asyncio.get_running_loop()
    if table.changelog_topic_name != CHANGELOG:
        raise Broken(f"The table's changelog would be {table.changelog_topic_name}, not {CHANGELOG}.", DEFECT)
    app.tables.add(table)
    return table
