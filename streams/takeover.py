"""Becoming the owner of partitions: their rows restored, a claim in the changelog, what came late written over.

1. read the changelog to its end (`recovery.Restoration`);
2. write a claim: from its offset on, rows of earlier owners are late;
3. read up to the claim: an earlier owner may have written until then;
4. write over what came late, and remove the claims of earlier owners.

Only then is anything judged. Each step may be the last one: the next owner begins again at 1.
Tests: `tests/topology/test_owners.py`, `tests/faults/test_paused_owner.py`.
"""

import asyncio
import logging
import uuid

from schemas.rows import RowError
from streams import Broken
from streams.changelog import CHANGELOG
from streams.owners import NOTHING, UNSTAMPED, Entry, claim_of
from streams.recovery import Restoration
from streams.tables import WHO_ELSE, ExecutionTable
from streams.transport.outbox import Outbox

log = logging.getLogger("mandate.control")
_TRIES = 20


class Takeover:
    """Takes some partitions over."""

    def __init__(self, table: ExecutionTable, outbox: Outbox, partitions: list[int]) -> None:
        self._table = table
        self._outbox = outbox
        self._partitions = partitions
        self._restoration: Restoration | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """Makes `run` return soon: the partitions go to somebody else. No claim is written after it returned."""
        self._cancelled = True
        if self._restoration is not None:
            self._restoration.cancel()

    async def run(self) -> bool:
        """False when it was cancelled."""
        self._table.forget(self._partitions)
        await self._restore(self._partitions)
        await asyncio.gather(*(self._own(number) for number in self._partitions))
        return not self._cancelled

    async def _own(self, number: int) -> None:
        for _ in range(_TRIES):
            if self._cancelled:
                return
            base = self._start(number)
            await self._claim(number, base)
            # Between the end that was seen and the claim, more may have come late, from further back than `base`.
            if self._start(number) >= base:
                break
        else:
            raise Broken(f"{CHANGELOG} [{number}] is written to by somebody else.", WHO_ELSE)
        if not self._cancelled:
            await self._amend(number)

    async def _claim(self, number: int, base: int) -> None:
        key, value = claim_of(uuid.uuid4().bytes, base)
        offset = await self._table.claim(self._outbox, number, (key, value))
        reached = self._table.reached(number)
        if offset == (NOTHING if reached is None else reached) + 1:
            self._table.restore(number, [Entry(offset, key, value, UNSTAMPED)])
            return
        await self._restore([number])
        if not self._cancelled and self._table.ledger(number).claim != key:
            raise Broken(f"Partition {number} is claimed by another worker at the same time.", "Start it again.")

    async def _amend(self, number: int) -> None:
        ledger, row = self._table.ledger(number), self._table.partition_row(number)
        start, late = ledger.start(row), ledger.late_keys
        if late:
            log.warning(
                "partition %d: %d rows were last written by an owner that had lost it; the journal is folded again "
                "from offset %d on", number, len(late), start + 1,
            )  # fmt: skip
        await self._table.write(self._outbox, number, ledger.amends(number, row) + ledger.retired(), start)

    def _start(self, number: int) -> int:
        try:
            return self._table.ledger(number).start(self._table.partition_row(number))
        except RowError as error:
            raise self._table.distrust(number, error) from error

    async def _restore(self, partitions: list[int]) -> None:
        self._restoration = Restoration(self._table, partitions)
        if not self._cancelled:
            await asyncio.to_thread(self._restoration.run)
