"""One transaction's way through its states, on a real chain and a real database."""

from itertools import pairwise

import asyncpg
import pytest
from eth_account import Account as Key

from anchor.chain import ChainMismatchError, ChainUnavailableError, Fees, UnsignedTransaction
from anchor.signer import KeySigner
from anchor.submission import Progress
from anchor.target_journal import LeaseLostError
from mesh.clock import new_id
from mesh.local.anvil import AnvilServer
from tests.fakes.chain import raising
from tests.integration.anchor.world import ETHER, GWEI, World


async def fees(world: World) -> list[Fees]:
    return [attempt.fees for attempt in await world.journal.attempts(1)]


async def test_roots_become_one_tree_one_transaction_and_final(world: World) -> None:
    submissions = await world.submit(300)
    assert (await world.find(submissions[0])).progress is Progress.PENDING
    await world.reach("final")
    assert len(world.chain.sent) == 1
    row = await world.pool.fetchrow("SELECT gas_used, gas_price, max_fee FROM transactions JOIN attempts USING (hash)")
    assert row is not None
    assert 21_000 < row["gas_used"] < 1_000_000
    assert 0 < row["gas_price"] <= row["max_fee"]
    await world.assert_anchored_once(submissions[::50])


async def test_mined_is_final_only_when_deep_enough(bent: World) -> None:
    bent.configure(confirmations=3)
    [submission] = await bent.submit()
    await bent.reach("mined")
    assert (await bent.find(submission)).progress is Progress.MINED
    await bent.ground.mine()
    await bent.round()
    assert await bent.states() == ["mined"]
    await bent.ground.mine()
    await bent.round()
    assert await bent.states() == ["final"]
    await bent.assert_anchored_once([submission])


async def test_a_window_waits_for_its_time_or_its_number(world: World) -> None:
    world.configure(window_seconds=1000, window_roots=3)
    first = await world.submit(2)
    await world.round()
    assert await world.states() == []
    assert (await world.find(first[0])).progress is Progress.PENDING
    assert world.registry.get_sample_value("voketag_anchor_waiting_roots") == 2
    await world.submit(2)
    await world.reach("final")
    assert await world.pool.fetchval("SELECT size FROM trees") == 3
    assert await world.pool.fetchval("SELECT count(*) FROM submissions WHERE tree_id IS NULL") == 1


async def test_positions_follow_each_other_over_trees(world: World) -> None:
    for trees, count in enumerate((3, 1, 4), 1):
        await world.submit(count)
        await world.reach(*["final"] * trees)
    rows = await world.pool.fetch("SELECT first_position, size FROM trees ORDER BY tree_id")
    assert [tuple(row) for row in rows] == [(1, 3), (4, 1), (5, 4)]


async def test_fees_rise_by_an_eighth_until_the_cap(bent: World) -> None:
    bent.configure(resend_after_seconds=0, max_fee=5 * GWEI)
    await bent.ground.rpc("evm_setAutomine", False)
    submissions = await bent.submit(2)
    for _ in range(12):
        await bent.round()
    paid = await fees(bent)
    assert len(paid) > 2
    for before, after in pairwise(paid):
        assert after.max_fee * 1000 >= before.max_fee * 1125
        assert after.priority_fee * 1000 >= before.priority_fee * 1125
    assert all(fee.max_fee <= 5 * GWEI for fee in paid)
    assert paid[-1].max_fee * 1125 > 5 * GWEI * 1000
    await bent.ground.mine()
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


async def test_an_earlier_attempt_that_is_mined_counts(bent: World) -> None:
    bent.configure(resend_after_seconds=0)
    await bent.ground.rpc("evm_setAutomine", False)
    [submission] = await bent.submit()
    await bent.round()
    await bent.round()
    attempts = await bent.journal.attempts(1)
    assert len(attempts) > 1
    await bent.ground.rpc("anvil_dropAllTransactions")
    await bent.ground.chain().send(attempts[0].raw)
    await bent.ground.mine()
    await bent.round()
    anchor = await bent.find(submission)
    assert anchor.location is not None
    assert anchor.location.transaction == attempts[0].hash
    await bent.assert_anchored_once([submission])


async def test_what_the_node_dropped_is_sent_again(bent: World) -> None:
    await bent.ground.rpc("evm_setAutomine", False)
    submissions = await bent.submit()
    await bent.round()
    await bent.ground.rpc("anvil_dropAllTransactions")
    bent.configure(resend_after_seconds=0)
    await bent.round()
    await bent.ground.mine()
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


async def test_underpriced_is_bumped_at_once(bent: World) -> None:
    submissions = await bent.submit()
    await bent.ground.rpc("anvil_setNextBlockBaseFeePerGas", hex(20 * GWEI))
    low = Fees(GWEI, GWEI)
    real = bent.chain.fees
    answers = [low]

    async def rising() -> Fees:
        return answers.pop() if answers else await real()

    bent.chain.fees = rising  # type: ignore[method-assign]
    await bent.ground.mine()  # the new base fee stands, and the first estimate is older
    await bent.reach("final")
    paid = await fees(bent)
    assert paid[0] == low
    assert len(paid) == 2
    await bent.assert_anchored_once(submissions)


async def test_out_of_funds_waits_for_funds(bent: World) -> None:
    await bent.ground.rpc("anvil_setBalance", bent.signer.address, "0x0")
    submissions = await bent.submit()
    assert not await bent.round()
    assert not await bent.round()
    assert await bent.states() == ["signed"]
    assert bent.registry.get_sample_value("voketag_anchor_faults_total", {"kind": "OutOfFunds"}) == 2
    assert bent.registry.get_sample_value("voketag_anchor_transactions", {"state": "signed"}) == 1
    assert bent.registry.get_sample_value("voketag_anchor_out_of_funds") == 1
    await bent.ground.rpc("anvil_setBalance", bent.signer.address, hex(ETHER))
    await bent.reach("final")
    assert bent.registry.get_sample_value("voketag_anchor_out_of_funds") == 0
    await bent.submit()
    await bent.reach("final", "final")
    assert 0.9 < (bent.registry.get_sample_value("voketag_anchor_balance_ether") or 0) < 1
    await bent.assert_anchored_once(submissions)
    assert len(await bent.journal.attempts(1)) == 1


async def other_transaction(world: World, nonce: int) -> None:
    unsigned = UnsignedTransaction(31_337, nonce, world.signer.address, b"", 21_000, Fees(90 * GWEI, 50 * GWEI))
    await world.ground.chain().send((await world.signer.sign(unsigned)).raw)


async def test_a_nonce_that_went_elsewhere_is_replaced(bent: World) -> None:
    bent.configure(resend_after_seconds=0)
    submissions = await bent.submit()
    bent.chain.plan("send:before", raising(ChainUnavailableError("gone")))
    with pytest.raises(ChainUnavailableError):
        await bent.round()
    assert await bent.states() == ["signed"]
    [first] = await bent.journal.attempts(1)
    await other_transaction(bent, first.nonce)
    await bent.reach("final")
    assert [attempt.nonce for attempt in await bent.journal.attempts(1)] == [first.nonce, first.nonce + 1]
    await bent.assert_anchored_once(submissions)


async def test_a_root_registered_by_an_unknown_transaction_is_found(bent: World) -> None:
    """As after a restored backup: our key registered it, with a transaction that no row knows."""
    submissions = await bent.submit()
    bent.chain.plan("send:before", raising(ChainUnavailableError("gone")))
    with pytest.raises(ChainUnavailableError):
        await bent.round()
    [first] = await bent.journal.attempts(1)
    tree = (await bent.journal.open(1))[0]
    unsigned = bent.chain.registration(tree.root, tree.size, nonce=first.nonce, fees=Fees(50 * GWEI, 40 * GWEI))
    signed = await bent.signer.sign(unsigned)
    await bent.ground.chain().send(signed.raw)
    await bent.reach("final")
    anchor = await bent.find(submissions[0])
    assert anchor.location is not None
    assert anchor.location.transaction == signed.hash
    await bent.assert_anchored_once(submissions)


async def test_a_reverted_registration_gets_a_new_nonce(bent: World) -> None:
    bent.configure(resend_after_seconds=0)
    bent.ground.gas = 30_000  # too little for the registration, enough for the node to take it
    bent.chain = type(bent.chain)(bent.ground.chain())
    bent.configure(resend_after_seconds=0)
    submissions = await bent.submit()
    bent.chain.plan("receipt:after", raising(ChainUnavailableError("gone")))
    with pytest.raises(ChainUnavailableError):
        await bent.round()
    bent.ground.gas = 80_000
    bent.chain = type(bent.chain)(bent.ground.chain())
    bent.configure(resend_after_seconds=0)
    await bent.reach("final")
    nonces = [attempt.nonce for attempt in await bent.journal.attempts(1)]
    assert nonces[-1] == nonces[0] + 1
    await bent.assert_anchored_once(submissions)


async def test_while_the_chain_is_away_roots_gather_and_nothing_is_lost(bent: World, chain_server: AnvilServer) -> None:
    submissions = await bent.submit()
    await chain_server.stop()
    for _ in range(3):
        submissions += await bent.submit()
        with pytest.raises(ChainUnavailableError):
            await bent.round()
    assert await bent.states() == ["built"]
    await chain_server.start()
    await bent.reach("final", "final")
    await bent.assert_anchored_once(submissions)


async def test_a_chain_that_came_back_as_another_stops_the_submitter(bent: World) -> None:
    await bent.submit()
    bent.chain.plan("head:before", raising(ChainUnavailableError("gone")))
    with pytest.raises(ChainUnavailableError):
        await bent.round()
    await bent.ground.rpc("anvil_setCode", bent.chain.contract, "0x00")
    with pytest.raises(ChainMismatchError, match="is not that of this AnchorRegistry"):
        await bent.round()
    assert bent.chain.sent == []


async def test_a_call_to_nothing_is_not_a_registration(bent: World) -> None:
    await bent.ground.rpc("evm_setAutomine", False)
    await bent.submit()
    await bent.reach("sent")  # the contract was looked at; it is looked at again only after an outage
    await bent.ground.rpc("anvil_setCode", bent.chain.contract, "0x")
    await bent.ground.rpc("evm_mine")
    with pytest.raises(ChainUnavailableError):
        await bent.reach("mined")
    assert await bent.states() == ["sent"]


async def test_a_lease_that_ends_too_late_is_over(world: World) -> None:
    """The clock was an hour ahead when a holder took it, who died."""
    await world.lead()
    assert await world.journal.acquire(new_id(), 1000) is None
    await world.pool.execute("UPDATE lease SET expires_at = expires_at + interval '1 hour'")
    assert await world.journal.acquire(new_id(), 1000) == world.fence + 1


async def test_a_clock_that_was_set_back_holds_nothing_up(bent: World) -> None:
    bent.configure(window_seconds=1000)
    submissions = await bent.submit()
    await bent.round()
    assert await bent.states() == []
    await bent.ground.rpc("evm_setAutomine", False)
    await bent.pool.execute("UPDATE submissions SET created_at = created_at + interval '1 day'")
    await bent.round()
    assert await bent.states() == ["sent"]
    await bent.ground.rpc("anvil_dropAllTransactions")
    await bent.pool.execute("UPDATE attempts SET sent_at = sent_at + interval '1 day'")
    await bent.round()
    assert len(await bent.journal.attempts(1)) == 2
    await bent.ground.mine()
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


async def test_a_clock_that_was_set_forward_only_hurries(bent: World) -> None:
    bent.configure(window_seconds=1000, resend_after_seconds=1000)
    await bent.ground.rpc("evm_setAutomine", False)
    submissions = await bent.submit()
    await bent.pool.execute("UPDATE submissions SET created_at = created_at - interval '1 day'")
    await bent.round()
    await bent.pool.execute("UPDATE attempts SET sent_at = sent_at - interval '1 day'")
    await bent.round()
    assert len(await bent.journal.attempts(1)) == 2
    await bent.ground.mine()
    await bent.reach("final")
    await bent.assert_anchored_once(submissions)


async def test_a_stale_fence_writes_nothing(world: World) -> None:
    stale = await world.lead()
    await world.journal.release(stale)
    await world.lead()
    await world.submit()
    with pytest.raises(LeaseLostError):
        await world.submitter.round(stale, world.deliver(stale))
    assert await world.states() == []


async def test_the_database_refuses_an_older_fence(world: World) -> None:
    await world.submit()
    await world.round()
    with pytest.raises(asyncpg.CheckViolationError, match="fence 0 is older"):
        await world.pool.execute("UPDATE transactions SET fence = 0")


async def test_another_keys_unfinished_transactions_are_named(world: World) -> None:
    await world.submit()
    world.chain.plan("send:before", raising(ChainUnavailableError("gone")))
    with pytest.raises(ChainUnavailableError):
        await world.round()
    assert await world.journal.foreign() == []
    mine = world.signer.address
    world.signer = KeySigner(Key.create())
    other = World(world.pool, world.ground)
    other.journal.account = type(other.journal.account)("evm", 31_337, world.chain.contract, world.signer.address)
    [foreign] = await other.journal.foreign()
    assert mine in foreign
