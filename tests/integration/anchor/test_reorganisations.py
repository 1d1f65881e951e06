"""The chain gives other blocks in place of old ones: what stood there is followed, sent again, and told where it is."""

import asyncio

import pytest

from anchor.chain import Fees, UnsignedTransaction
from anchor.submission import Progress, Submission
from tests.integration.anchor.world import GWEI, World


@pytest.mark.parametrize("depth", [1, 3])
async def test_a_reorganised_block_is_followed(bent: World, depth: int) -> None:
    bent.configure(confirmations=6)
    submissions = await bent.submit(5)
    await bent.reach("mined")
    await bent.ground.mine(depth - 1)
    await bent.ground.rpc("anvil_reorg", depth, [])
    assert await bent.ground.chain().receipt((await bent.journal.attempts(1))[0].hash) is None
    await bent.round()
    await bent.ground.mine(6)
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


async def test_a_transaction_that_moved_to_another_block_is_followed(bent: World) -> None:
    bent.configure(confirmations=6)
    snapshot = await bent.ground.rpc("evm_snapshot")
    [submission] = await bent.submit()
    await bent.reach("mined")
    before = await bent.find(submission)
    raw = (await bent.journal.attempts(1))[0].raw
    await bent.ground.rpc("evm_revert", snapshot)
    await bent.ground.mine(3)
    await bent.ground.chain().send(raw)
    await bent.reach("mined")
    after = await bent.find(submission)
    assert before.location is not None
    assert after.location is not None
    assert after.location.block_number == before.location.block_number + 3
    await bent.ground.mine(6)
    await bent.reach("final")
    await bent.assert_anchored_once([submission])


async def test_a_chain_that_lost_final_blocks_gets_them_again(bent: World) -> None:
    """As a dev chain restarted with an older state: positions stay, the registrations are sent again."""
    snapshot = await bent.ground.rpc("evm_snapshot")
    submissions = []
    for trees, count in enumerate((2, 3), 1):
        submissions += await bent.submit(count)
        await bent.reach(*["final"] * trees)
    await bent.ground.rpc("evm_revert", snapshot)
    submissions += await bent.submit(1)
    await bent.reach("final", "final", "final")
    await bent.assert_anchored_once(submissions)
    rows = await bent.pool.fetch("SELECT first_position FROM trees ORDER BY tree_id")
    assert [row["first_position"] for row in rows] == [1, 3, 6]


async def reorganise(world: World, depth: int, *, keep: bool) -> None:
    """Other blocks in place of the newest ones; `keep` puts the tree's transaction into the last of them."""
    raw = (await world.journal.attempts(1))[-1].raw
    await world.ground.rpc("anvil_reorg", depth, [["0x" + raw.hex(), depth - 1]] if keep else [])


async def place(world: World, submission: Submission) -> int:
    anchor = await world.find(submission)
    assert anchor.location is not None
    return anchor.location.block_number


@pytest.mark.parametrize("keep", [True, False], ids=["in the new chain", "out of the new chain"])
@pytest.mark.parametrize("depth", [1, 3, 6])
async def test_a_registration_before_it_is_final(bent: World, depth: int, keep: bool) -> None:
    bent.configure(confirmations=8)
    submissions = await bent.submit(3)
    await bent.reach("mined")
    await bent.ground.mine(depth - 1)
    await reorganise(bent, depth, keep=keep)
    await bent.round()
    assert await bent.states() != ["final"]
    await bent.ground.mine(10)
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


@pytest.mark.parametrize("keep", [True, False], ids=["in the new chain", "out of the new chain"])
async def test_a_registration_of_confirmed_depth(bent: World, keep: bool) -> None:
    """It was final: it is so again, where it stands now; the position that was told stays."""
    bent.configure(confirmations=3)
    submissions = await bent.submit(3)
    await bent.reach("mined")
    await bent.ground.mine(4)
    await bent.reach("final")
    before = await place(bent, submissions[0])
    await reorganise(bent, 5, keep=keep)
    await bent.round()
    assert await bent.states() == ["mined" if keep else "sent"]
    assert bent.registry.get_sample_value("voketag_anchor_faults_total", {"kind": "displaced"}) == 1
    async with asyncio.timeout(20):
        while await bent.states() != ["final"]:
            await bent.ground.mine()
            await bent.round()
    await bent.assert_anchored_once(submissions)
    assert await place(bent, submissions[0]) > before
    assert await bent.pool.fetchval("SELECT first_position FROM trees") == 1


async def test_all_final_registrations_behind_the_fork_are_found(bent: World) -> None:
    submissions = []
    for trees in (1, 2, 3):
        submissions += await bent.submit()
        await bent.reach(*["final"] * trees)
    raws = ["0x" + (await bent.journal.attempts(tree))[-1].raw.hex() for tree in (1, 2, 3)]
    await bent.ground.rpc("anvil_reorg", 2, [[raws[1], 1], [raws[2], 1]])
    await bent.round()
    assert bent.registry.get_sample_value("voketag_anchor_faults_total", {"kind": "displaced"}) == 2
    await bent.reach("final", "final", "final")
    await bent.assert_anchored_once(submissions)
    assert await place(bent, submissions[1]) == await place(bent, submissions[2])


async def test_final_is_what_the_chain_calls_so(bent: World) -> None:
    bent.configure(confirmations=None)
    [submission] = await bent.submit()
    await bent.reach("mined")
    block = await place(bent, submission)
    while await bent.ground.chain().finalized() < block:
        assert (await bent.find(submission)).progress is Progress.MINED
        await bent.ground.mine(16)
        await bent.round()
    await bent.reach("final")
    assert await bent.ground.chain().head() > block + 16
    await bent.assert_anchored_once([submission])


async def foreign(world: World, nonce: int, fees: Fees = Fees(90 * GWEI, 50 * GWEI)) -> None:  # noqa: B008 frozen
    """A transaction of the key that is none of ours."""
    unsigned = UnsignedTransaction(31_337, nonce, world.signer.address, b"", 21_000, fees)
    await world.ground.chain().send((await world.signer.sign(unsigned)).raw)


async def test_a_nonce_that_was_taken_from_us_and_given_back_leaves_no_gap(bent: World) -> None:
    bent.configure(confirmations=8, resend_after_seconds=0)
    await bent.ground.rpc("evm_setAutomine", False)
    submissions = await bent.submit()
    await bent.round()
    [first] = await bent.journal.attempts(1)
    await bent.ground.rpc("anvil_dropAllTransactions")
    await foreign(bent, first.nonce)
    await bent.ground.mine()
    await bent.round()
    await bent.ground.mine()
    await bent.reach("mined")
    await bent.ground.rpc("anvil_reorg", 2, [])
    await bent.ground.rpc("evm_setAutomine", True)
    await bent.reach("mined")
    await bent.ground.mine(8)
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


async def test_a_foreign_nonce_that_is_given_back_leaves_no_gap(bent: World) -> None:
    """Ours waits behind a nonce that nobody has: it is signed for that one."""
    bent.configure(confirmations=8, resend_after_seconds=0)
    nonce = await bent.ground.chain().used_nonces(bent.signer.address)
    await foreign(bent, nonce)
    submissions = await bent.submit()
    await bent.reach("mined")
    await bent.ground.rpc("anvil_reorg", 2, [])
    await bent.reach("mined")
    assert nonce in [attempt.nonce for attempt in await bent.journal.attempts(1)]
    await bent.ground.mine(8)
    await bent.reach("final")
    submissions += await bent.submit()
    await bent.reach("final", "mined")
    await bent.ground.mine(8)
    await bent.reach("final", "final")
    await bent.assert_anchored_once(submissions)


@pytest.mark.parametrize("max_fee", [100 * GWEI, GWEI], ids=["other-fees", "same-bytes"])
async def test_a_nonce_that_was_signed_for_and_given_up_leaves_no_gap(bent: World, max_fee: int) -> None:
    """It was signed for 1, then for the gap at 0, and lost that one: it takes 1 again, which nobody else pursues.

    At the cap the fees, and so the bytes, are those of the first time.
    """
    bent.configure(confirmations=8, resend_after_seconds=0, max_fee=max_fee)
    await bent.ground.rpc("evm_setAutomine", False)
    first = await bent.ground.chain().used_nonces(bent.signer.address)
    await foreign(bent, first)
    await bent.ground.mine()
    submissions = await bent.submit()
    await bent.round()
    await bent.ground.rpc("anvil_reorg", 1, [])
    await bent.ground.rpc("anvil_dropAllTransactions")
    await bent.round()
    assert [attempt.nonce for attempt in await bent.journal.attempts(1)] == [first + 1, first]
    await bent.ground.rpc("anvil_dropAllTransactions")
    await foreign(bent, first)
    await bent.ground.mine()
    await bent.round()
    attempts = await bent.journal.attempts(1)
    assert [attempt.nonce for attempt in attempts][-2:] == [first, first + 1]
    assert len(attempts) == (2 if max_fee == GWEI else 3)
    await bent.ground.mine()
    await bent.reach("mined")
    await bent.ground.mine(8)
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


async def test_a_gap_below_a_foreign_transaction_that_pays_too_much_is_filled(bent: World) -> None:
    """No fee of ours replaces it, and it waits for the lower nonce that ours had left."""
    bent.configure(confirmations=3, resend_after_seconds=0)
    await bent.ground.rpc("evm_setAutomine", False)
    first = await bent.ground.chain().used_nonces(bent.signer.address)
    await foreign(bent, first)
    await bent.ground.mine()
    dear = Fees(900 * GWEI, 900 * GWEI)
    await foreign(bent, first + 1, dear)
    submissions = await bent.submit()
    await bent.round()
    assert await bent.states() == ["signed"]
    await bent.ground.rpc("anvil_reorg", 1, [])
    await bent.ground.rpc("anvil_dropAllTransactions")
    await foreign(bent, first + 1, dear)
    await bent.round()
    assert (await bent.journal.attempts(1))[-1].nonce == first
    await bent.ground.mine(3)
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)
