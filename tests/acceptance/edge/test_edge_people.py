"""What Envoy itself makes of people's access tokens, before any service sees them."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from voketag.admin.v1 import auth_pb2, auth_pb2_grpc

from tests.acceptance.edge.door import Edge
from tests.acceptance.edge.shape import assert_error, reason
from tests.fakes.people import OLD_KEY, access_token, forged_hmac, raw_public

pytestmark = pytest.mark.asyncio(loop_scope="session")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_good_tokens_pass_under_both_keys_of_a_rotation(edge: Edge) -> None:
    for token in (access_token(), access_token("support", kid="user-1", key=OLD_KEY)):
        assert (await edge.public.call("GET", "/v1/auth/me", headers=bearer(token))).status == 200
        assert edge.canned.metadata[-1]["authorization"] == f"Bearer {token}"


@pytest.mark.parametrize("skew", [-50, 50])
async def test_clocks_may_differ(edge: Edge, skew: int) -> None:
    at = datetime.now(UTC) + timedelta(seconds=skew - (600 if skew < 0 else 0))
    assert (await edge.public.call("GET", "/v1/auth/me", headers=bearer(access_token(at=at)))).status == 200


async def test_wrong_tokens_are_answered_by_the_edge(edge: Edge) -> None:
    for token in (
        access_token(at=datetime.now(UTC) - timedelta(hours=1)),
        access_token(kid="user-1"),
        access_token(kid="user-3"),
        access_token(alg="none", key=""),
        access_token(aud="factory"),
        access_token(iss="factory"),
        forged_hmac(access_token(), raw_public(OLD_KEY)),
        "abc",
    ):
        calls = len(edge.canned.metadata)
        for door in (edge.public, edge.internal):
            reply = await door.call("GET", "/v1/auth/me", headers=bearer(token))
            assert reply.status in (401, 403)
            assert_error(reply, status=reply.status, code=16, reason="CREDENTIALS_INVALID")
        seen = edge.canned.metadata[calls:]
        assert not [metadata for metadata in seen if metadata.get("authorization") == f"Bearer {token}"]


async def test_a_grpc_caller_is_refused_in_the_same_shape(edge: Edge) -> None:
    async with grpc.aio.insecure_channel(edge.public.target) as channel:
        stub = auth_pb2_grpc.AuthServiceStub(channel)
        metadata = (("authorization", f"Bearer {access_token(iss='factory')}"),)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.GetMe(auth_pb2.GetMeRequest(), metadata=metadata)
    assert reason(error.value) == "CREDENTIALS_INVALID"


async def test_who_sends_no_token_is_answered_by_the_service(edge: Edge) -> None:
    calls = len(edge.canned.metadata)
    assert (await edge.public.call("GET", "/v1/auth/me")).status == 200
    assert len(edge.canned.metadata) > calls


async def test_a_change_of_a_person_is_read_as_strictly_as_any_post(edge: Edge) -> None:
    path = "/v1/admin/users/0190c8a0-0000-7000-8000-000000000000"
    reply = await edge.public.call("PATCH", path, json={"updateMask": "name,factoryId", "name": "Ada"})
    assert (reply.status, reply.json["user"]["name"]) == (200, "name,factory_id")
    reply = await edge.public.call("PATCH", path, json={"updateMask": "name", "passwordHash": "x"})
    assert_error(reply, status=400, code=3, reason="REQUEST_REFUSED")
    reply = await edge.public.call("PATCH", path, data=b"{}", headers={"content-type": "text/plain"})
    assert_error(reply, status=415, code=3, reason="REQUEST_REFUSED")


PROOF = "/v1/merkle/proof/0190c8a0-0000-7000-8000-000000000000"
OF_FACTORIES = ("/v1/batches", "/v1/usage")
OF_SERVICES = ("/v1/admin/factories", "/v1/anchors", "/v1/scans/today", "/v1/scans/top", PROOF)


@pytest.mark.parametrize("path", [*OF_FACTORIES, *OF_SERVICES])
async def test_where_others_call_too_the_public_door_lets_in_people_s_bearer_tokens_alone(
    edge: Edge, path: str
) -> None:
    """Services bring theirs to the internal door, and factories have a header of their own."""
    service = access_token(iss="admin", aud="factory", typ="JWT", kid="admin-1", key=OLD_KEY)
    refused = await edge.public.call("GET", path, headers=bearer(service))
    assert_error(refused, status=401, code=16, reason="CREDENTIALS_INVALID")
    for headers in (bearer(access_token()), {"x-api-key": "vk_x"}, {}):
        assert (await edge.public.call("GET", path, headers=headers)).status == 200
    if path in OF_SERVICES:
        assert (await edge.internal.call("GET", path, headers=bearer(service))).status == 200
