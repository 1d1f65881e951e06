"""How the tests of quotas read and set them."""

from typing import Any
from uuid import uuid4

import grpc
from google.rpc import error_details_pb2, status_pb2
from redis.asyncio import Redis
from voketag.factory.v1 import account_pb2, account_pb2_grpc
from voketag.factory.v1.account_pb2 import SetQuotaRequest

from mesh.client import with_api_key
from tests.integration.factory.world import Customer, Door, Ground, Import, metadata_of, reason_of, rows

DAY = 86_400.0
NOON = 20_000 * DAY + DAY / 2


async def usage(customer: Customer) -> account_pb2.GetUsageResponse:
    async with with_api_key(customer.door.target, customer.key) as channel:
        stub: Any = account_pb2_grpc.AccountServiceStub(channel)
        answer: account_pb2.GetUsageResponse = await stub.GetUsage(account_pb2.GetUsageRequest(), timeout=10)
        return answer


async def set_quota(door: Door, customer: Customer, **quota: Any) -> account_pb2.Quota:
    request = SetQuotaRequest(request_id=str(uuid4()), factory_id=str(customer.factory_id), **quota)
    return (await ask_quota(door, request)).quota


async def ask_quota(door: Door, request: SetQuotaRequest) -> account_pb2.SetQuotaResponse:
    async with door.channel() as channel:
        stub: Any = account_pb2_grpc.AccountServiceStub(channel)
        answer: account_pb2.SetQuotaResponse = await stub.SetQuota(request, timeout=10)
        return answer


def retry_seconds(error: grpc.aio.AioRpcError) -> float:
    """The delay of the one RetryInfo."""
    retry = error_details_pb2.RetryInfo()
    trailing = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    assert sum(detail.Unpack(retry) for detail in status.details if detail.Is(retry.DESCRIPTOR)) == 1
    return retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9


def refused(error: grpc.aio.AioRpcError, quota: str, limit: int, used: int) -> None:
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(error) == "QUOTA_EXCEEDED"
    assert metadata_of(error) == {"quota": quota, "limit": str(limit), "used": str(used)}


async def issued(ground: Ground, customer: Customer) -> int:
    async with ground.owner() as owner:
        query = "SELECT coalesce(sum(issued_count), 0) FROM batches WHERE factory_id = $1"
        return int(await owner.fetchval(query, customer.factory_id))


async def leases(url: str, customer: Customer) -> list[float]:
    """When each lease in Valkey ends, in milliseconds."""
    async with Redis.from_url(url) as reader:
        found: Any = await reader.zrange(f"imports:{{{customer.factory_id}}}", 0, -1, withscores=True)
    return [end for _, end in found]


async def lease_end(url: str, customer: Customer) -> float:
    (end,) = await leases(url, customer)
    return end


async def send_all(stream: Import, chunks: int, size: int) -> tuple[int, grpc.aio.AioRpcError | None]:
    """Rows acknowledged until the end or an error."""
    acknowledged = stream.next_row
    try:
        for first in range(stream.next_row, chunks * size, size):
            acknowledged = (await stream.chunk(first, rows(size, first))).committed_rows
    except grpc.aio.AioRpcError as error:
        return acknowledged, error
    return acknowledged, None
