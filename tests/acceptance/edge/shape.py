"""The one shape of every error."""

from typing import Any

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tests.acceptance.edge.door import Reply


def assert_error(reply: Reply, *, status: int, code: int, reason: str) -> Any:
    """`reply` is google.rpc.Status as JSON with exactly one ErrorInfo of our domain. Returns the body."""
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/json"
    assert set(reply.json) == {"code", "message", "details"}
    parsed = json_format.Parse(reply.body, status_pb2.Status())
    infos = [detail for detail in parsed.details if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    assert len(infos) == 1
    info = error_details_pb2.ErrorInfo()
    infos[0].Unpack(info)
    assert (parsed.code, info.reason, info.domain) == (code, reason, "voketag.com")
    assert parsed.message
    return reply.json


def reason(error: grpc.aio.AioRpcError) -> str:
    """The reason in the error's one ErrorInfo."""
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, status.code) == ("voketag.com", error.code().value[0])
    return str(info.reason)
