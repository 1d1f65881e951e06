"""The submitter: closes windows and delivers their transactions, one process at a time."""

import asyncio
from collections.abc import Callable

import structlog

from anchor.chain import Chain, OutOfFundsError, TransactionRefusedError
from anchor.delivery import Delivery, Tip
from anchor.journal import Journal
from anchor.lease import Lease
from anchor.metrics import DISPLACED, Metrics
from anchor.rounds import Rounds
from anchor.transaction import State, Transaction
from anchor.window import Windows

log = structlog.get_logger()
OPEN = 64
"""Transactions looked at in one round."""


class Submitter:
    """`deliver` gives the Delivery of a `fence`; `address` is the signer's."""

    def __init__(
        self,
        *,
        journal: Journal,
        windows: Windows,
        chain: Chain,
        address: str,
        deliver: Callable[..., Delivery],
        metrics: Metrics,
        poll_seconds: float,
    ) -> None:
        self._journal = journal
        self._windows = windows
        self._chain = chain
        self._address = address
        self._deliver = deliver
        self._metrics = metrics
        self._poll = poll_seconds
        # After a start or an outage the node may have lost what it was sent, or be another node.
        self._again = True

    async def run(self, lease: Lease, stop: asyncio.Event) -> None:
        """Works whenever the lease is free, until `stop`. Raises ChainMismatchError."""

        async def round_(fence: int) -> bool:
            return await self.round(fence, self._deliver(fence=fence))

        await Rounds(round_, self._metrics, self._poll).run(lease, stop)

    async def round(self, fence: int, delivery: Delivery) -> bool:
        """Looks once at everything that is not final; False when the node refused a transaction."""
        waiting = await self._windows.waiting()
        self._metrics.show(waiting, await self._journal.count_by_state())
        if tree_id := await self._windows.close_due(fence, waiting):
            log.info("window closed", tree=tree_id)
        await self._journal.begin(fence)
        again, self._again = self._again, True  # unless this round comes to its end
        if again:
            await self._chain.check(self._address)
        tip = await delivery.look()
        again |= await self._take_back(fence, delivery, tip)
        smooth = await self._advance_all(delivery, tip, again=again)
        self._again = False
        return smooth

    async def _advance_all(self, delivery: Delivery, tip: Tip, *, again: bool) -> bool:
        progress = True
        while progress:
            progress = False
            for transaction in await self._journal.open(OPEN):
                try:
                    progress |= await delivery.advance(transaction, tip, again=again)
                except TransactionRefusedError as error:
                    log.error("transaction refused", tree=transaction.tree_id, error=str(error))
                    self._metrics.out_of_funds.set(isinstance(error, OutOfFundsError))
                    self._metrics.faults.labels(type(error).__name__.removesuffix("Error")).inc()
                    return False
            again = False
        self._metrics.out_of_funds.set(0)
        return True

    async def _take_back(self, fence: int, delivery: Delivery, tip: Tip) -> bool:
        """Puts back on their way: registrations that are gone, and final ones whose block is another one now."""
        taken = False
        for transaction in await self._journal.displaced(tip.used_nonces, OPEN):
            if await delivery.find(transaction) is None:
                await self._lose(fence, transaction)
                taken = True
        while (last := await self._journal.last_final()) and not await delivery.stands(last):
            await self._lose(fence, last)
            taken = True
        return taken

    async def _lose(self, fence: int, transaction: Transaction) -> None:
        level = log.error if transaction.state is State.FINAL else log.warning
        level("the chain lost a registration", tree=transaction.tree_id, block=transaction.block_number)
        self._metrics.faults.labels(DISPLACED).inc()
        async with self._journal.writing(fence) as writing:
            await writing.displaced(transaction)
