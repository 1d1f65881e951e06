"""The submitter's durable steps on one chain: every write holds the lease at the writer's own fence, or fails."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from anchor.chain import Fees, Receipt
from anchor.signer import SignedTransaction
from anchor.target import CHAIN
from anchor.target_journal import TargetJournal
from anchor.transaction import Attempt, State, Transaction


@dataclass(frozen=True, slots=True)
class Account:
    """Where this submitter's transactions go, and from which account (addresses in EIP-55)."""

    chain_kind: str
    chain_id: int
    contract: str
    sender: str
    target: str = CHAIN


class Journal(TargetJournal):
    """A chain's transactions besides, from one account."""

    def __init__(self, pool: "asyncpg.Pool[Any]", account: Account) -> None:
        super().__init__(pool, account.target)
        self.account = account

    @asynccontextmanager
    async def writing(self, fence: int) -> AsyncIterator["Writing"]:
        """A transaction during which the lease cannot pass on. Raises LeaseLostError."""
        async with self.held(fence) as connection:
            yield Writing(connection, self._queries, self.account.target, fence)

    async def begin(self, fence: int) -> None:
        """Makes the transactions of trees that the target owes one. Raises LeaseLostError."""
        if not await self._queries.has_unbegun(self._pool, target=self.target):
            return
        account = self.account
        async with self.held(fence) as connection:
            await self._queries.begin_transactions(
                connection,
                target=account.target,
                chain_kind=account.chain_kind,
                chain_id=account.chain_id,
                contract=account.contract,
                sender=account.sender,
                fence=fence,
            )

    async def backed_up(self, limit: int) -> bool:
        """True while a transaction still waits to be sent, or `limit` of them wait to be mined."""
        answer: bool = await self._queries.is_backed_up(self._pool, target=self.target, limit=limit)
        return answer

    async def open(self, limit: int) -> list[Transaction]:
        """Transactions that are not final, in the order of their nonces."""
        return [
            _transaction(row)
            async for row in self._queries.open_transactions(self._pool, target=self.target, limit=limit)
        ]

    async def displaced(self, used_nonces: int, limit: int) -> list[Transaction]:
        """Mined or final transactions whose nonces the chain does not count as used."""
        chain_id, sender = self.account.chain_id, self.account.sender
        rows = self._queries.displaced_transactions(
            self._pool, target=self.target, chain_id=chain_id, sender=sender, nonce=used_nonces, limit=limit
        )
        return [_transaction(row) async for row in rows]

    async def foreign(self) -> list[str]:
        """What is unfinished for another chain, contract or key, or for another target with this account."""
        account = self.account
        rows = self._queries.foreign_transactions(
            self._pool,
            target=self.target,
            chain_id=account.chain_id,
            contract=account.contract,
            sender=account.sender,
        )
        return [
            f"target {row['target']}, chain {row['chain_id']}, contract {row['contract']}, key {row['sender']}"
            async for row in rows
        ]

    async def attempts(self, tree_id: int) -> list[Attempt]:
        """Everything signed for a tree, oldest first."""
        return [
            Attempt(
                number=row["number"],
                nonce=row["nonce"],
                hash=row["hash"],
                raw=row["raw"],
                fees=Fees(row["max_fee"], row["priority_fee"]),
                sent_seconds_ago=row["sent_seconds_ago"],
            )
            async for row in self._queries.attempts_of(self._pool, tree_id=tree_id, target=self.target)
        ]

    async def next_nonce(self, tree_id: int, used_nonces: int) -> int:
        """The lowest nonce that neither the chain nor anything else that may still be mined uses."""
        chain_id, sender = self.account.chain_id, self.account.sender
        nonce: int = await self._queries.next_nonce(
            self._pool, chain_id=chain_id, sender=sender, tree_id=tree_id, used=used_nonces
        )
        return nonce

    async def last_final(self) -> Transaction | None:
        """The final transaction in the highest block; None when there is none whose block's hash is known."""
        account = self.account
        row = await self._queries.last_final(
            self._pool, target=self.target, chain_id=account.chain_id, contract=account.contract
        )
        return _transaction(row) if row else None

    async def count_by_state(self) -> dict[str, int]:
        """How many transactions are in each state but the last."""
        rows = self._queries.count_by_state(self._pool, target=self.target)
        return {row["state"]: row["transactions"] async for row in rows}


class Writing:
    """One transaction's writes, under the lease."""

    def __init__(self, connection: Any, queries: Any, target: str, fence: int) -> None:
        self._connection = connection
        self._queries = queries
        self._target = target
        self._fence = fence

    async def signed(self, transaction: Transaction, signed: SignedTransaction, *, nonce: int, fees: Fees) -> None:
        """Keeps a signed transaction; the first one takes the nonce."""
        await self._queries.insert_attempt(
            self._connection,
            tree_id=transaction.tree_id,
            target=self._target,
            nonce=nonce,
            hash=signed.hash,
            raw=signed.raw,
            max_fee=fees.max_fee,
            priority_fee=fees.priority_fee,
        )
        if transaction.state is State.BUILT:
            await self._step("mark_signed", transaction, nonce=nonce)

    async def sent(self, transaction: Transaction, attempt: Attempt) -> None:
        """A node has the attempt."""
        await self._queries.mark_attempt_sent(
            self._connection, tree_id=transaction.tree_id, target=self._target, number=attempt.number
        )
        await self._step("mark_sent", transaction)

    async def mined(self, transaction: Transaction, receipt: Receipt) -> None:
        """The registration stands in a block."""
        place = {"hash": receipt.hash, "block_number": receipt.block_number, "block_hash": receipt.block_hash}
        cost = {"gas_used": receipt.gas_used, "gas_price": receipt.gas_price}
        await self._step("mark_mined", transaction, **place, **cost)

    async def displaced(self, transaction: Transaction) -> None:
        """The block that it stood in is gone."""
        await self._step("mark_displaced", transaction)

    async def renonced(self, transaction: Transaction, nonce: int) -> None:
        """What was signed last for it has another nonce than before."""
        await self._step("mark_renonced", transaction, nonce=nonce)

    async def unsigned(self, transaction: Transaction) -> None:
        """Its nonce went to another transaction."""
        await self._step("mark_unsigned", transaction)

    async def final(self, transaction: Transaction) -> None:
        """Deep enough; with this its tree may be final."""
        await self._step("mark_final", transaction)

    async def _step(self, name: str, transaction: Transaction, **values: object) -> None:
        step = getattr(self._queries, name)
        await step(self._connection, tree_id=transaction.tree_id, target=self._target, fence=self._fence, **values)


def _transaction(row: Any) -> Transaction:
    return Transaction(
        tree_id=row["tree_id"],
        root=row["root"],
        size=row["size"],
        state=State(row["state"]),
        nonce=row["nonce"],
        hash=row["hash"],
        block_number=row["block_number"],
        block_hash=row["block_hash"],
    )
