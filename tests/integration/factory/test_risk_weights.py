"""Weights of a factory's scans through the door: set, set anew, set back; and what is refused."""

from typing import Any
from uuid import uuid4

import grpc
import orjson
import pytest
from voketag.factory.v1 import account_pb2, account_pb2_grpc

from tests.integration.factory.world import Customer, Door, Ground, audit_detail, reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN: dict[str, Any] = {
    "copies": 60,
    "devices": 30,
    "travel": 25,
    "market": 100,
    "velocity": 25,
    "lifecycle": 60,
    "reports": 0,
    "suspicious": 30,
    "likely": 70,
    "activates": True,
}


def request_of(customer: Customer, **changes: Any) -> account_pb2.SetRiskWeightsRequest:
    weights = account_pb2.RiskWeights(**(OWN | changes))
    return account_pb2.SetRiskWeightsRequest(
        request_id=str(uuid4()), factory_id=str(customer.factory_id), weights=weights
    )


async def ask(door: Door, request: account_pb2.SetRiskWeightsRequest) -> account_pb2.SetRiskWeightsResponse:
    async with door.channel() as channel:
        stub: Any = account_pb2_grpc.AccountServiceStub(channel)
        answer: account_pb2.SetRiskWeightsResponse = await stub.SetRiskWeights(request, timeout=10)
        return answer


async def kept(ground: Ground, customer: Customer) -> Any:
    async with ground.owner() as owner:
        text = await owner.fetchval("SELECT risk_weights FROM factories WHERE factory_id = $1", customer.factory_id)
    return None if text is None else orjson.loads(text)


async def test_weights_are_set_under_a_version_of_their_own(ground: Ground, door: Door, customer: Customer) -> None:
    request = request_of(customer)
    answer = await ask(door, request)
    assert answer.weights == request.weights
    assert await kept(ground, customer) == OWN | {"version": answer.version}
    again = await ask(door, request_of(customer))
    assert again.version != answer.version, "every change has a name of its own"
    assert await ask(door, request) == answer, "a repeat says what it said"
    assert (await kept(ground, customer))["version"] == again.version, "and changes nothing"
    async with ground.owner() as owner:
        said = await owner.fetchrow(
            "SELECT detail FROM audit WHERE result = 'OK' AND request_id = $1::uuid", request.request_id
        )
    detail = audit_detail(said)
    before, after = detail["risk_weights"]["before"], detail["risk_weights"]["after"]
    assert (before, after["version"]) == (None, answer.version)
    back = account_pb2.SetRiskWeightsRequest(request_id=str(uuid4()), factory_id=str(customer.factory_id))
    assert await ask(door, back) == account_pb2.SetRiskWeightsResponse()
    assert await kept(ground, customer) is None
    with pytest.raises(grpc.aio.AioRpcError) as reused:
        await ask(door, account_pb2.SetRiskWeightsRequest(request_id=request.request_id, factory_id=back.factory_id))
    assert reason_of(reused.value) == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    "wrong", [{"copies": 101}, {"suspicious": 0}, {"likely": 101}, {"suspicious": 71}, {"likely": 0}], ids=str
)
async def test_weights_out_of_their_rules_are_refused(door: Door, customer: Customer, wrong: dict[str, int]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ask(door, request_of(customer, **wrong))
    assert reason_of(refused.value) == "VALIDATION_FAILED"


async def test_only_operators_set_weights_and_of_a_factory_that_is(door: Door, customer: Customer) -> None:
    async with grpc.aio.insecure_channel(door.target) as channel:
        stub: Any = account_pb2_grpc.AccountServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as denied:
            await stub.SetRiskWeights(request_of(customer), metadata=(("x-api-key", customer.key),), timeout=10)
    assert reason_of(denied.value) == "ACCESS_DENIED"
    nobody = request_of(customer)
    nobody.factory_id = str(uuid4())
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await ask(door, nobody)
    assert reason_of(unknown.value) == "FACTORY_NOT_FOUND"
