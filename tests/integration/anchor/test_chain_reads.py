"""VerifyOnChain, GetTransaction and GetStatus through a real server, on a real chain."""

import asyncio
from typing import Any

import pytest
from voketag.anchor.v1 import anchor_pb2 as pb
from voketag.anchor.v1 import anchor_pb2_grpc

from anchor.chain import ChainUnavailableError
from anchor.reader import EvmReader
from mesh.clock import new_id
from tests.fakes.chain import raising
from tests.integration.anchor.doors import QUESTIONS, Door, failing
from tests.integration.anchor.world import ETHER, World, batch, request


def verify(submission: Any) -> pb.VerifyOnChainRequest:
    return pb.VerifyOnChainRequest(batch_id=str(submission.subject_id))


async def test_the_contract_is_asked_and_not_our_table(world: World, public: Any) -> None:
    [submission] = await world.submit()
    pending = await public.VerifyOnChain(verify(submission))
    assert (pending.registered, pending.anchor_root, pending.agrees) == (False, b"", True)
    world.chain.plan("send:before", raising(ChainUnavailableError("away")))
    with pytest.raises(ChainUnavailableError):
        await world.round()
    built = await public.VerifyOnChain(verify(submission))
    assert (built.registered, len(built.anchor_root), built.agrees) == (False, 32, True)
    await world.reach("final")
    final = await public.VerifyOnChain(verify(submission))
    assert (final.registered, final.agrees, final.location) == (True, True, final.anchor.location)
    # Our table lies; the chain does not.
    await world.pool.execute("UPDATE transactions SET block_number = block_number + 1")
    told = await public.VerifyOnChain(verify(submission))
    assert (told.registered, told.agrees, told.location) == (True, False, final.location)
    assert told.anchor.location.block_number == final.location.block_number + 1


async def test_a_registration_that_the_chain_lost_is_not_there(bent: World) -> None:
    snapshot = await bent.ground.rpc("evm_snapshot")
    [submission] = await bent.submit()
    await bent.reach("final")
    door = Door(bent)
    server = door.server()
    await server.start()
    async with door.channel(None) as line:
        stub: Any = anchor_pb2_grpc.AnchorServiceStub(line)
        assert (await stub.VerifyOnChain(verify(submission))).registered
        await bent.ground.rpc("evm_revert", snapshot)
        lost = await stub.VerifyOnChain(verify(submission))
        assert (lost.registered, lost.agrees, lost.anchor.state) == (False, False, pb.ANCHOR_STATE_FINAL)
    await server.stop()


async def test_wrong_questions_to_the_chain(world: World, door: Door, public: Any) -> None:
    assert await failing(public.VerifyOnChain(verify(batch()))) == "ANCHOR_NOT_FOUND"
    assert await failing(public.VerifyOnChain(pb.VerifyOnChainRequest(batch_id="x"))) == "VALIDATION_FAILED"
    [submission] = await world.submit()
    await world.reach("final")
    door.reader.away = True
    assert await failing(public.VerifyOnChain(verify(submission))) == "DEPENDENCY_UNAVAILABLE"
    door.reader.away = False
    door.reader.going.clear()
    hanging = [asyncio.ensure_future(public.VerifyOnChain(verify(submission))) for _ in range(QUESTIONS)]
    async with asyncio.timeout(10):
        while door.reader.waiting < QUESTIONS:
            await asyncio.sleep(0.01)
        assert await failing(public.VerifyOnChain(verify(submission))) == "RATE_LIMITED"
    door.reader.going.set()
    assert all(answer.registered for answer in await asyncio.gather(*hanging))


async def test_a_node_of_another_chain_is_no_node(world: World) -> None:
    with pytest.raises(ChainUnavailableError, match="chain 31337"):
        await EvmReader(world.ground.web3).open(1, world.chain.contract)


async def test_a_transaction_is_found_by_any_hash_ever_signed(bent: World) -> None:
    door = Door(bent)
    server = door.server()
    await server.start()
    bent.configure(resend_after_seconds=0)
    await bent.ground.rpc("evm_setAutomine", False)
    await bent.submit(3)
    await bent.round()
    await bent.round()
    attempts = await bent.journal.attempts(1)
    assert len(attempts) > 1
    async with door.channel(None) as line:
        stub: Any = anchor_pb2_grpc.AnchorServiceStub(line)
        for attempt in attempts:
            for text in ("0x" + attempt.hash.hex(), "0x" + attempt.hash.hex().upper()):
                found = (await stub.GetTransaction(pb.GetTransactionRequest(tx_id=text))).registration
                assert [each.transaction for each in found.attempts] == ["0x" + each.hash.hex() for each in attempts]
        assert (found.size, found.state, found.HasField("location")) == (3, pb.ANCHOR_STATE_SUBMITTED, False)
        assert (found.contract, found.sender) == (bent.chain.contract, bent.signer.address)
        assert [each.max_fee for each in found.attempts] == [each.fees.max_fee for each in attempts]
        assert found.attempts[0].HasField("send_time")
        await bent.ground.mine()
        await bent.reach("final")
        final = (await stub.GetTransaction(pb.GetTransactionRequest(tx_id=text))).registration
        assert final.state == pb.ANCHOR_STATE_FINAL
        assert final.location.transaction in {each.transaction for each in final.attempts}
        # A registration whose attempts a restored backup lost is found where it stands.
        await bent.pool.execute("UPDATE attempts SET hash = sha256(hash)")
        by_place = (await stub.GetTransaction(pb.GetTransactionRequest(tx_id=final.location.transaction))).registration
        assert by_place.location == final.location
    await server.stop()


@pytest.mark.parametrize("text", ["", "0x", "ab" * 32, "0x" + "g" * 64, "0x" + "0" * 63, "0x" + "0" * 65])
async def test_wrong_hashes(public: Any, text: str) -> None:
    assert await failing(public.GetTransaction(pb.GetTransactionRequest(tx_id=text))) == "VALIDATION_FAILED"


async def test_an_unknown_transaction(public: Any) -> None:
    unknown = pb.GetTransactionRequest(tx_id="0x" + "0" * 64)
    assert await failing(public.GetTransaction(unknown)) == "TRANSACTION_NOT_FOUND"


async def test_operators_see_how_anchoring_is(world: World, door: Door, factory: Any, public: Any) -> None:
    assert await failing(factory.GetStatus(pb.GetStatusRequest())) == "ACCESS_DENIED"
    assert await failing(public.GetStatus(pb.GetStatusRequest())) == "CREDENTIALS_MISSING"
    async with door.channel("admin") as line:
        admin: Any = anchor_pb2_grpc.AnchorServiceStub(line)
        empty = await admin.GetStatus(pb.GetStatusRequest())
        assert (empty.pending_roots, empty.lag_seconds, empty.HasField("account")) == (0, 0, False)
        await world.submit(2)
        await world.store.set_freeze(request(), frozen=True, why=f"look {new_id()}")
        waiting = await admin.GetStatus(pb.GetStatusRequest())
        assert (waiting.pending_roots, waiting.freeze.frozen) == (2, True)
        assert waiting.lag_seconds >= waiting.pending_seconds > 0
        await world.store.set_freeze(request(), frozen=False, why="")
        world.chain.plan("send:before", raising(ChainUnavailableError("away")))
        with pytest.raises(ChainUnavailableError):
            await world.round()
        signed = await admin.GetStatus(pb.GetStatusRequest())
        assert (signed.pending_roots, signed.built, signed.signed, signed.sent) == (0, 0, 1, 0)
        assert signed.lag_seconds > waiting.lag_seconds
        account = signed.account
        assert (account.address, account.contract) == (world.signer.address, world.chain.contract)
        assert account.next_nonce == account.chain.used_nonces + 1
        assert 0 < int(account.chain.balance) <= 10 * ETHER
        assert account.chain.max_fee >= account.chain.priority_fee > 0
        await world.reach("final")
        final = await admin.GetStatus(pb.GetStatusRequest())
        assert (final.lag_seconds, final.account.next_nonce) == (0, final.account.chain.used_nonces)
        assert int(final.account.chain.balance) < int(account.chain.balance)
        door.reader.away = True
        blind = await admin.GetStatus(pb.GetStatusRequest())
        assert (blind.account.HasField("chain"), blind.account.next_nonce) == (False, final.account.next_nonce)
