"""Faust's places for tables and their recovery after a rebalance, with the work done by `Takeover`."""

import asyncio
from typing import Any, cast

from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import RebalanceAgain, ServiceStopped
from faust.tables.recovery import Recovery as FaustRecovery
from faust.types import TP
from mode import Service

from streams import Broken, end_process
from streams.kafka import CHECK_BROKERS
from streams.standby import Standby
from streams.takeover import Takeover


class Recovery(FaustRecovery):
    """After each assignment: takes the partitions over, then lets them be judged."""

    app: Any
    _takeover: Takeover | None = None
    _work: "asyncio.Future[bool] | None" = None
    _standby: Standby | None = None
    _given_up = 0

    async def give_up(self) -> None:
        """Ends a takeover that is going on, and the copying. Before the group may give its partitions to others."""
        self._given_up += 1
        standby, self._standby = self._standby, None
        if self._takeover is not None and self._work is not None:
            self._takeover.cancel()
            await asyncio.wait((self._work,))
        if standby is not None:
            await standby.stop()

    async def on_stop(self) -> None:
        await self.give_up()
        await super().on_stop()

    @Service.task
    async def _restart_recovery(self) -> None:
        while not self.should_stop:
            if await self.wait_for_stopped(self.signal_recovery_start.wait()):
                return
            self.signal_recovery_start.clear()
            try:
                await self._recover(self._generation_id)
            except RebalanceAgain:
                continue
            except ServiceStopped:
                if self.should_stop:
                    return
                # What mode says of a wait that ran out of time too, such as in a process that was stopped meanwhile.
                # To return here would be a member that has partitions and never judges them.
                end_process(Broken("The brokers did not say in time where to read the journal from.", CHECK_BROKERS))
            except Exception as error:
                end_process(error)

    async def _recover(self, generation: int) -> None:
        self._set_recovery_started()
        await self.give_up()
        given_up = self._given_up
        (table,) = self.tables.values()
        numbers = sorted(tp.partition for tp in self.active_tps)
        self._takeover = Takeover(table, self.app.producer.outboxes.gathering, numbers)
        self._work = asyncio.ensure_future(self._takeover.run())
        try:
            await self._wait(asyncio.shield(self._work))
        finally:
            # Partitions may be taken under it: wait until it has let go of their databases.
            self._takeover.cancel()
            await asyncio.wait((self._work,))
            if (error := self._work.exception()) is not None:
                raise error
        if not self._work.result():
            return  # given up for a rebalance, which starts the next one
        await self._wait(self.on_recovery_completed(generation))
        self.app.on_ready()
        if given_up == self._given_up:
            self._standby = Standby(table, (tp.partition for tp in self.standby_tps))
            self._standby.start()

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Does nothing: nothing is buffered."""

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Does nothing: no changelog record comes through Faust."""

    @Service.task
    async def _publish_stats(self) -> None:
        """Does nothing: `Restoration` tells its progress."""


class TableManager(FaustTableManager):
    """Faust's table manager with our recovery, and without its second of waiting at the start."""

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return cast(Recovery, self._recovery)

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()
