"""The chain in the submitter's own process: a real EVM, the real contract, nothing that outlives the process."""

import asyncio
from typing import Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from anchor.chain import Fees, NonceUsedError, TransactionRefusedError, UnderpricedError
from anchor.delivery import Delivery, DeliveryPolicy
from anchor.journal import Account, Journal
from anchor.memory import MemoryChain
from anchor.metrics import Metrics
from anchor.proofs import Proofs
from anchor.store import Store
from anchor.submission import Progress, Submission
from anchor.submitter import Submitter
from anchor.window import WindowPolicy, Windows, leaf
from mesh.clock import new_id
from mesh.config import DatabaseSettings
from tests.integration.anchor.processes import running
from tests.integration.anchor.world import GWEI, batch, request
from trust.merkle import verify_inclusion

CONFIRMATIONS = 3


async def hand_in(store: Store, count: int) -> list[Submission]:
    submissions = [batch() for _ in range(count)]
    for submission in submissions:
        await store.submit(store.offer(submission, request()))
    return submissions


async def final(store: Store, submission: Submission) -> bool:
    found = await store.find(submission.kind, submission.subject_id)
    return found is not None and found.progress is Progress.FINAL


class Process:
    """A submitter with a chain of its own."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def work(self, store: Store, *submissions: Submission) -> MemoryChain:
        """Rounds until these are final."""
        chain, signer = await MemoryChain.start(gas=80_000)
        journal = Journal(self._pool, Account(chain.kind, chain.chain_id, chain.contract, signer.address))
        metrics, policy = Metrics(CollectorRegistry()), DeliveryPolicy(CONFIRMATIONS, 1000, 100 * GWEI)
        assert await journal.foreign() == []
        fence = await journal.acquire(new_id(), 1000)
        assert fence is not None
        delivery = Delivery(journal=journal, chain=chain, signer=signer, policy=policy, metrics=metrics, fence=fence)
        submitter = Submitter(
            journal=journal,
            windows=Windows(journal, WindowPolicy(0, 1000)),
            chain=chain,
            address=signer.address,
            deliver=lambda **_: delivery,
            metrics=metrics,
            poll_seconds=0.01,
        )
        async with asyncio.timeout(60):
            await submitter.round(fence, delivery)
            while not all([await final(store, submission) for submission in submissions]):
                await submitter.round(fence, delivery)
        await journal.release(fence)
        return chain


async def assert_registered(store: Store, chain: MemoryChain, submission: Submission) -> None:
    anchor = await store.find(submission.kind, submission.subject_id)
    assert anchor is not None
    assert anchor.location is not None
    assert (anchor.location.kind, anchor.location.contract) == ("memory", chain.contract)
    proof = await Proofs(store).of(anchor)
    assert proof is not None
    assert verify_inclusion(leaf(submission), proof.index, proof.size, list(proof.path), proof.anchor_root)
    receipt = await chain.registered(proof.anchor_root)
    assert receipt is not None
    assert (receipt.hash, receipt.block_number) == (anchor.location.transaction, anchor.location.block_number)


async def test_roots_become_final(pool: "asyncpg.Pool[Any]") -> None:
    store = Store(pool, new_id)
    submissions = await hand_in(store, 5)
    chain = await Process(pool).work(store, *submissions)
    for submission in submissions:
        await assert_registered(store, chain, submission)
    assert await chain.registered(bytes(32)) is None


async def test_the_next_process_registers_again_what_was_on_the_chain_of_the_one_before(
    pool: "asyncpg.Pool[Any]",
) -> None:
    store = Store(pool, new_id)
    old = await hand_in(store, 2)
    first = await Process(pool).work(store, *old)
    new = await hand_in(store, 1)
    second = await Process(pool).work(store, *old, *new)
    assert (first.contract, first.chain_id) == (second.contract, second.chain_id)
    for submission in (*old, *new):
        await assert_registered(store, second, submission)
    positions = await pool.fetch("SELECT first_position FROM trees ORDER BY tree_id")
    assert [row["first_position"] for row in positions] == [1, 3]


async def test_refusals_mean_what_they_do_elsewhere() -> None:
    chain, signer = await MemoryChain.start(gas=80_000)
    nonce, fees = await chain.used_nonces(signer.address), await chain.fees()

    async def send(number: int, fees: Fees) -> None:
        unsigned = chain.registration(bytes([number]) * 32, 1, nonce=number, fees=fees)
        await chain.send((await signer.sign(unsigned)).raw)

    with pytest.raises(NonceUsedError):
        await send(nonce - 1, fees)
    with pytest.raises(UnderpricedError):
        await send(nonce, Fees(1, 1))
    with pytest.raises(TransactionRefusedError) as refused:
        await send(nonce + 1, fees)
    assert type(refused.value) is TransactionRefusedError
    await send(nonce, fees)
    assert await chain.used_nonces(signer.address) == nonce + 1


async def test_the_process(pool: "asyncpg.Pool[Any]", database: DatabaseSettings) -> None:
    store = Store(pool, new_id)
    [submission] = await hand_in(store, 1)
    values = {
        "database_url": database.database_url,
        "database_password": database.database_password.get_secret_value(),
        "chain_kind": "memory",
        "confirmations": "3",
        "window_seconds": "0",
        "poll_seconds": "0.05",
    }
    env = {f"VOKETAG_{name.upper()}": value for name, value in values.items()}
    async with running("anchor", "submit", env=env) as process:
        async with asyncio.timeout(60):
            while not await final(store, submission):
                await asyncio.sleep(0.05)
        process.terminate()
        async with asyncio.timeout(20):
            assert await process.wait() == 0
