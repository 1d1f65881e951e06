"""The submitter's durable steps: every write holds the lease at the writer's own fence, or fails."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from anchor.chain import Fees, Receipt
from anchor.signer import SignedTransaction
from anchor.store import SQL
from anchor.submission import Submission
from anchor.transaction import Attempt, State, Transaction
from mesh.database import load_queries
from trust.canonical import SubjectKind
from trust.tiles import Tile

LEASE = "submitter"


class LeaseLostError(Exception):
    """Another submitter holds the lease: this one must not write."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where this submitter's transactions go, and from which account (addresses in EIP-55)."""

    chain_kind: str
    chain_id: int
    contract: str
    sender: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Pending roots: the age of the oldest (seconds), how many there are, up to a window's, whether any is urgent."""

    seconds: float
    roots: int
    urgent: bool


class Journal:
    """Windows, transactions and the lease in PostgreSQL, on a pool of the role `voketag_anchor`."""

    def __init__(self, pool: "asyncpg.Pool[Any]", account: Account) -> None:
        self._pool = pool
        self._queries = load_queries(SQL)
        self.account = account

    async def acquire(self, holder: UUID, seconds: float) -> int | None:
        """The fence of a lease of so many seconds; None while another holder has it."""
        fence: int | None = await self._queries.acquire_lease(self._pool, name=LEASE, holder=holder, seconds=seconds)
        return fence

    async def renew(self, fence: int, seconds: float) -> None:
        """Raises LeaseLostError."""
        if await self._queries.renew_lease(self._pool, name=LEASE, fence=fence, seconds=seconds) is None:
            raise LeaseLostError(f"fence {fence} is not the newest")

    async def release(self, fence: int) -> None:
        """Lets the next holder in at once."""
        await self._queries.release_lease(self._pool, name=LEASE, fence=fence)

    @asynccontextmanager
    async def writing(self, fence: int) -> AsyncIterator["Writing"]:
        """A transaction during which the lease cannot pass on. Raises LeaseLostError."""
        async with self._pool.acquire() as connection, connection.transaction():
            if await self._queries.hold_lease(connection, name=LEASE, fence=fence) is None:
                raise LeaseLostError(f"fence {fence} is not the newest")
            yield Writing(connection, self._queries, self.account, fence)

    async def waiting(self, limit: int) -> Waiting | None:
        """What the next window would take; None when nothing is pending."""
        row = await self._queries.pending_window(self._pool, limit=limit)
        return Waiting(row["waited_seconds"], row["pending"], row["urgent"]) if row["pending"] else None

    async def backed_up(self, limit: int) -> bool:
        """True while a transaction still waits to be sent, or `limit` of them wait to be mined."""
        answer: bool = await self._queries.is_backed_up(self._pool, limit=limit)
        return answer

    async def frozen(self) -> bool:
        """True while nothing may be closed, signed or sent."""
        answer: bool = await self._queries.is_frozen(self._pool)
        return answer

    async def open(self, limit: int) -> list[Transaction]:
        """Transactions that are not final, in the order of their nonces."""
        return [_transaction(row) async for row in self._queries.open_transactions(self._pool, limit=limit)]

    async def displaced(self, used_nonces: int, limit: int) -> list[Transaction]:
        """Mined or final transactions whose nonces the chain does not count as used."""
        chain_id, sender = self.account.chain_id, self.account.sender
        rows = self._queries.displaced_transactions(
            self._pool, chain_id=chain_id, sender=sender, nonce=used_nonces, limit=limit
        )
        return [_transaction(row) async for row in rows]

    async def foreign(self) -> list[str]:
        """What is unfinished for another chain, contract or key."""
        account = self.account
        rows = self._queries.foreign_transactions(
            self._pool, chain_id=account.chain_id, contract=account.contract, sender=account.sender
        )
        return [f"chain {row['chain_id']}, contract {row['contract']}, key {row['sender']}" async for row in rows]

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
            async for row in self._queries.attempts_of(self._pool, tree_id=tree_id)
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
        row = await self._queries.last_final(self._pool, chain_id=account.chain_id, contract=account.contract)
        return _transaction(row) if row else None

    async def count_by_state(self) -> dict[str, int]:
        """How many transactions are in each state but the last."""
        return {row["state"]: row["transactions"] async for row in self._queries.count_by_state(self._pool)}


class Writing:
    """One transaction's writes, under the lease."""

    def __init__(self, connection: Any, queries: Any, account: Account, fence: int) -> None:
        self._connection = connection
        self._queries = queries
        self._account = account
        self._fence = fence

    async def pending(self, limit: int) -> list[tuple[UUID, Submission]]:
        """The oldest submissions without a tree."""
        return [
            (
                row["submission_id"],
                Submission(SubjectKind(row["kind"]), row["subject_id"], row["root"], row["size"]),
            )
            async for row in self._queries.pending_roots(self._connection, limit=limit)
        ]

    async def insert_tree(self, root: bytes, tiles: Sequence[Tile], submission_ids: Sequence[UUID]) -> int:
        """A closed window with its leaves, in the order of the ids, and its transaction: the tree's id."""
        run, queries = self._connection, self._queries
        tree_id: int = await queries.insert_tree(run, root=root, size=len(submission_ids))
        await queries.insert_tiles(
            run,
            tree_id=tree_id,
            levels=[tile.level for tile in tiles],
            numbers=[tile.index for tile in tiles],
            hashes=[tile.hashes for tile in tiles],
        )
        status = await queries.place_leaves(run, tree_id=tree_id, submission_ids=submission_ids)
        assert status == f"UPDATE {len(submission_ids)}", f"a root has two leaves: {status}"
        account = self._account
        await queries.insert_transaction(
            run,
            tree_id=tree_id,
            chain_kind=account.chain_kind,
            chain_id=account.chain_id,
            contract=account.contract,
            sender=account.sender,
            fence=self._fence,
        )
        return tree_id

    async def signed(self, transaction: Transaction, signed: SignedTransaction, *, nonce: int, fees: Fees) -> None:
        """Keeps a signed transaction; the first one takes the nonce."""
        await self._queries.insert_attempt(
            self._connection,
            tree_id=transaction.tree_id,
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
        await self._queries.mark_attempt_sent(self._connection, tree_id=transaction.tree_id, number=attempt.number)
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
        """Deep enough: its roots take the next positions."""
        await self._queries.assign_positions(self._connection, tree_id=transaction.tree_id)
        await self._step("mark_final", transaction)

    async def _step(self, name: str, transaction: Transaction, **values: object) -> None:
        step = getattr(self._queries, name)
        await step(self._connection, tree_id=transaction.tree_id, fence=self._fence, **values)


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
