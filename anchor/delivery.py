"""Brings one transaction from built to final, a durable step at a time; every step can be taken again after a crash."""

from contextlib import suppress
from dataclasses import dataclass

import structlog

from anchor.chain import (
    Chain,
    ChainContradictedError,
    ContractPausedError,
    Fees,
    NonceUsedError,
    Receipt,
    TransactionKnownError,
    TransactionRefusedError,
    UnderpricedError,
)
from anchor.journal import Journal
from anchor.metrics import Metrics
from anchor.signer import Signer
from anchor.transaction import Attempt, State, Transaction, bumped, capped

log = structlog.get_logger()
ETHER = 10**18


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """`max_fee` is in wei a unit of gas.

    `confirmations` are blocks, the registration's own included; None waits for the chain's own tag `finalized`.
    """

    confirmations: int | None
    resend_after_seconds: float
    max_fee: int


@dataclass(frozen=True, slots=True)
class Tip:
    """The chain as of one look: the newest block whose registrations are final, and the lowest unused nonce."""

    final: int
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

    async def look(self) -> Tip:
        """The chain as it is now."""
        if self._policy.confirmations is None:
            final = await self._chain.finalized()
        else:
            final = await self._chain.head() - self._policy.confirmations + 1
        return Tip(final, await self._chain.used_nonces(self._signer.address))

    async def stands(self, transaction: Transaction) -> bool:
        """False when the number of the transaction's block is that of another block now."""
        assert transaction.block_number is not None
        found = await self._chain.block_hash(transaction.block_number)
        return found is None or found == transaction.block_hash

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
        if await self._journal.frozen():
            return False
        nonce = await self._journal.next_nonce(transaction.tree_id, tip.used_nonces)
        self._metrics.balance.set(await self._chain.balance(self._signer.address) / ETHER)
        await self._sign(transaction, nonce, capped(await self._chain.fees(), self._policy.max_fee))
        return True

    async def _sign(self, transaction: Transaction, nonce: int, fees: Fees) -> None:
        if await self._chain.paused():  # it would only cost gas
            raise ContractPausedError(f"the contract {self._chain.contract} is paused")
        unsigned = self._chain.registration(transaction.root, transaction.size, nonce=nonce, fees=fees)
        signed = await self._signer.sign(unsigned)
        async with self._journal.writing(self._fence) as writing:
            await writing.signed(transaction, signed, nonce=nonce, fees=fees)
            if transaction.nonce not in (None, nonce):
                await writing.renonced(transaction, nonce)
        log.info("signed", tree=transaction.tree_id, nonce=nonce, hash=signed.hash.hex(), max_fee=fees.max_fee)

    async def _bring(self, transaction: Transaction, tip: Tip, *, again: bool) -> bool:
        attempts = await self._journal.attempts(transaction.tree_id)
        latest = attempts[-1]
        found = await self._receipt(attempts)
        if found is not None and found.succeeded:
            await self._mined(transaction, latest, found)
            return True
        if await self._journal.frozen():
            return False
        if latest.sent_seconds_ago is None:
            return await self._send(transaction, latest, tip)
        # Below 0 the database's clock was set back.
        overdue = not 0 <= latest.sent_seconds_ago < self._policy.resend_after_seconds
        if found is not None or tip.used_nonces > latest.nonce:
            return await self._lose_nonce(transaction, latest, overdue=overdue)
        if overdue and await self._fill_gap(transaction, latest, tip):
            return True
        if overdue and await self._bump(transaction, latest):
            return True
        if overdue or again:
            await self._send_earlier(attempts, tip)
            return await self._send(transaction, latest, tip)
        return False

    async def _fill_gap(self, transaction: Transaction, latest: Attempt, tip: Tip) -> bool:
        """The nonce waits for a lower one that nobody pursues: the chain gave it back, or it was signed for in vain."""
        nonce = await self._journal.next_nonce(transaction.tree_id, tip.used_nonces)
        if nonce >= latest.nonce:
            return False
        log.warning("a gap is filled", tree=transaction.tree_id, nonce=nonce, waiting=latest.nonce)
        await self._sign(transaction, nonce, capped(await self._chain.fees(), self._policy.max_fee))
        return True

    async def _send_earlier(self, attempts: list[Attempt], tip: Tip) -> None:
        """What was signed for lower nonces which are free again, since later ones wait for them."""
        for attempt in attempts:
            if tip.used_nonces <= attempt.nonce < attempts[-1].nonce:
                with suppress(TransactionRefusedError):
                    await self._chain.send(attempt.raw)

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

    async def _send(self, transaction: Transaction, attempt: Attempt, tip: Tip) -> bool:
        try:
            await self._chain.send(attempt.raw)
        except (TransactionKnownError, NonceUsedError) as answer:
            # It arrived before, or its nonce is gone: the receipts will tell which.
            log.info("sent before", tree=transaction.tree_id, nonce=attempt.nonce, answer=str(answer))
        except UnderpricedError:
            # What the node has for the nonce may pay more than we may, and wait for a lower one itself.
            if await self._bump(transaction, attempt) or await self._fill_gap(transaction, attempt, tip):
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
        await self._cross_check(transaction, receipt)
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

    async def _cross_check(self, transaction: Transaction, receipt: Receipt) -> None:
        """A receipt alone is not believed: the contract's storage, its event and the block have to say the same.

        Raises ChainContradictedError.
        """
        block = await self._chain.block_hash(receipt.block_number)
        if block != receipt.block_hash or await self._chain.registered(transaction.root) != receipt:
            what = f"transaction 0x{receipt.hash.hex()} in block {receipt.block_number}"
            raise ChainContradictedError(f"the node shows {what}, but contract or block do not")

    async def _settle(self, transaction: Transaction, tip: Tip) -> bool:
        assert transaction.hash is not None
        receipt = await self._chain.receipt(transaction.hash)
        if receipt is None or not receipt.succeeded:
            receipt = await self.find(transaction)
        moved = receipt and (receipt.hash, receipt.block_hash) != (transaction.hash, transaction.block_hash)
        if receipt is not None and (moved or receipt.block_number <= tip.final):
            await self._cross_check(transaction, receipt)
        async with self._journal.writing(self._fence) as writing:
            if receipt is None:
                log.warning("its block is gone", tree=transaction.tree_id, block=transaction.block_number)
                await writing.displaced(transaction)
            elif moved:
                await writing.mined(transaction, receipt)
            elif receipt.block_number <= tip.final:
                await writing.final(transaction)
                log.info("final", tree=transaction.tree_id, size=transaction.size, block=receipt.block_number)
                return False
            else:
                return False
        return True
