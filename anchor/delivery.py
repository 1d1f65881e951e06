"""Brings one transaction from built to final, a durable step at a time; every step can be taken again after a crash."""

from dataclasses import dataclass

import structlog

from anchor.chain import Chain, Fees, NonceUsedError, Receipt, TransactionKnownError, UnderpricedError
from anchor.journal import Journal
from anchor.metrics import Metrics
from anchor.signer import Signer
from anchor.transaction import Attempt, State, Transaction, bumped, capped

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """`max_fee` is in wei a unit of gas; `confirmations` are blocks, the registration's own included."""

    confirmations: int
    resend_after_seconds: float
    max_fee: int


@dataclass(frozen=True, slots=True)
class Tip:
    """The chain as of one look: its newest block, and the submitter's lowest unused nonce."""

    head: int
    used_nonces: int


class Delivery:
    """Delivers under one fence. Methods raise ChainError and LeaseLostError."""

    def __init__(
        self, *, journal: Journal, chain: Chain, signer: Signer, policy: DeliveryPolicy, metrics: Metrics, fence: int
    ) -> None:
        self._journal = journal
        self._chain = chain
        self._signer = signer
        self._policy = policy
        self._metrics = metrics
        self._fence = fence

    async def advance(self, transaction: Transaction, tip: Tip, *, again: bool) -> bool:
        """Takes the next step, if it is time for it; True when there may be another one at once.

        `again` sends what was sent before once more, since the node may have lost it.
        """
        match transaction.state:
            case State.BUILT:
                return await self._sign_first(transaction, tip)
            case State.MINED:
                return await self._settle(transaction, tip)
            case _:
                return await self._bring(transaction, tip, again=again)

    async def find(self, transaction: Transaction) -> Receipt | None:
        """Where the tree's root is registered, by any transaction ever signed for it, or by one we do not know."""
        found = await self._receipt(await self._journal.attempts(transaction.tree_id))
        return found if found and found.succeeded else await self._chain.registered(transaction.root)

    async def _sign_first(self, transaction: Transaction, tip: Tip) -> bool:
        nonce = max(await self._journal.next_nonce(), tip.used_nonces)
        await self._sign(transaction, nonce, capped(await self._chain.fees(), self._policy.max_fee))
        return True

    async def _sign(self, transaction: Transaction, nonce: int, fees: Fees) -> None:
        unsigned = self._chain.registration(transaction.root, transaction.size, nonce=nonce, fees=fees)
        signed = await self._signer.sign(unsigned)
        async with self._journal.writing(self._fence) as writing:
            await writing.signed(transaction, signed, nonce=nonce, fees=fees)
        log.info("signed", tree=transaction.tree_id, nonce=nonce, hash=signed.hash.hex(), max_fee=fees.max_fee)

    async def _bring(self, transaction: Transaction, tip: Tip, *, again: bool) -> bool:
        attempts = await self._journal.attempts(transaction.tree_id)
        latest = attempts[-1]
        found = await self._receipt(attempts)
        if found is not None and found.succeeded:
            await self._mined(transaction, latest, found)
            return True
        if latest.sent_seconds_ago is None:
            return await self._send(transaction, latest)
        overdue = latest.sent_seconds_ago >= self._policy.resend_after_seconds
        if found is not None or tip.used_nonces > latest.nonce:
            return await self._lose_nonce(transaction, latest, overdue=overdue)
        if overdue and await self._bump(transaction, latest):
            return True
        return await self._send(transaction, latest) if overdue or again else False

    async def _receipt(self, attempts: list[Attempt]) -> Receipt | None:
        """The receipt of the attempt that is in a block; of those of several nonces, the one that succeeded."""
        found = None
        for attempt in reversed(attempts):
            receipt = await self._chain.receipt(attempt.hash)
            if receipt is not None and receipt.succeeded:
                return receipt
            # A failure says something only of the nonce in use.
            if receipt is not None and attempt.nonce == attempts[-1].nonce:
                found = receipt
        return found

    async def _send(self, transaction: Transaction, attempt: Attempt) -> bool:
        try:
            await self._chain.send(attempt.raw)
        except (TransactionKnownError, NonceUsedError) as answer:
            # It arrived before, or its nonce is gone: the receipts will tell which.
            log.info("sent before", tree=transaction.tree_id, nonce=attempt.nonce, answer=str(answer))
        except UnderpricedError:
            if await self._bump(transaction, attempt):
                return True
            raise
        async with self._journal.writing(self._fence) as writing:
            await writing.sent(transaction, attempt)
        log.info("sent", tree=transaction.tree_id, nonce=attempt.nonce, hash=attempt.hash.hex())
        return False

    async def _bump(self, transaction: Transaction, last: Attempt) -> bool:
        fees = bumped(last.fees, await self._chain.fees(), self._policy.max_fee)
        if fees is None:
            log.warning("the fee cap is reached", tree=transaction.tree_id, nonce=last.nonce, max_fee=last.fees.max_fee)
            return False
        await self._sign(transaction, last.nonce, fees)
        self._metrics.bumps.inc()
        return True

    async def _mined(self, transaction: Transaction, latest: Attempt, receipt: Receipt) -> None:
        async with self._journal.writing(self._fence) as writing:
            if transaction.state is State.SIGNED:
                await writing.sent(transaction, latest)
            await writing.mined(transaction, receipt)
        log.info("mined", tree=transaction.tree_id, hash=receipt.hash.hex(), block=receipt.block_number)

    async def _lose_nonce(self, transaction: Transaction, latest: Attempt, *, overdue: bool) -> bool:
        """The nonce is used and none of ours did it: the root is registered all the same, or needs another nonce."""
        receipt = await self._chain.registered(transaction.root)
        if receipt is not None:
            await self._mined(transaction, latest, receipt)
            return True
        if overdue:  # a node may know the nonce before it knows the receipt
            log.error("the nonce went to another transaction", tree=transaction.tree_id, nonce=latest.nonce)
            async with self._journal.writing(self._fence) as writing:
                await writing.unsigned(transaction)
        return overdue

    async def _settle(self, transaction: Transaction, tip: Tip) -> bool:
        assert transaction.hash is not None
        receipt = await self._chain.receipt(transaction.hash)
        if receipt is None or not receipt.succeeded:
            receipt = await self.find(transaction)
        async with self._journal.writing(self._fence) as writing:
            if receipt is None:
                log.warning("its block is gone", tree=transaction.tree_id, block=transaction.block_number)
                await writing.displaced(transaction)
                return True
            if (receipt.hash, receipt.block_number) != (transaction.hash, transaction.block_number):
                await writing.mined(transaction, receipt)
                return True
            if tip.head - receipt.block_number + 1 >= self._policy.confirmations:
                await writing.final(transaction)
                log.info("final", tree=transaction.tree_id, size=transaction.size, block=receipt.block_number)
        return False
