"""What the edge adds, strips, limits and keeps out of its log."""

import asyncio
import json
from pathlib import Path

import grpc
import pytest
from voketag.anchor.v1 import anchor_pb2, anchor_pb2_grpc
from voketag.scan.v1 import scan_pb2, scan_pb2_grpc

from tests.acceptance.edge.certificate import make_certificate
from tests.acceptance.edge.door import SHOP, Edge, open_edge
from tests.acceptance.edge.shape import assert_error, reason

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECURITY = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}


@pytest.mark.parametrize("path", ["/v1/batches", "/nope"])
async def test_security_headers_are_on_answers_and_errors(edge: Edge, path: str) -> None:
    reply = await edge.public.call("GET", path)
    assert {name: reply.headers.get(name) for name in SECURITY} == SECURITY
    assert not {"server", "strict-transport-security", "x-envoy-upstream-service-time"} & set(reply.headers)


async def test_spoofed_addresses_and_proxy_headers_do_not_reach_a_service(edge: Edge) -> None:
    spoofed = {
        "x-client-address": "203.0.113.9",
        "x-forwarded-for": "203.0.113.9",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-original-path": "/evil",
        "forwarded": "for=203.0.113.9",
        "x-client-place": "BR,0,203.0",
        "x-marker": "spoof",
    }
    assert (await edge.public.call("GET", "/r/ABC", headers=spoofed)).status == 200
    (seen,) = [call for call in edge.canned.metadata if call.get("x-marker") == "spoof"]
    assert seen["x-client-address"] == "127.0.0.1"
    assert seen["x-envoy-original-path"] == "/r/ABC"
    assert not [value for key, value in seen.items() if "203.0.113.9" in value or "evil" in value]
    assert not {
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-envoy-upstream-rq-timeout-ms",
        "forwarded",
        "x-client-place",
    } & set(seen)


async def test_a_spoofed_original_path_does_not_change_the_shape_of_errors(edge: Edge) -> None:
    headers = {"content-type": "application/grpc", "te": "trailers", "x-envoy-original-path": "/v1/anchor"}
    reply = await edge.public.call("POST", "/voketag.anchor.v1.AnchorService/SubmitRoot", headers=headers)
    assert (reply.headers["content-type"], reply.headers["grpc-status"]) == ("application/grpc", "12")


@pytest.mark.parametrize("path", ["/api/verify/ABC", "/voketag.scan.v1.ScanService/Verify"])
async def test_cors_lets_configured_origins_in_and_no_other(edge: Edge, path: str) -> None:
    allowed = await edge.public.call("OPTIONS", path, headers=PREFLIGHT | {"origin": SHOP})
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == SHOP
    assert "POST" in allowed.headers["access-control-allow-methods"]
    assert {"content-type", "x-api-key"} <= set(allowed.headers["access-control-allow-headers"].split(", "))
    other = await edge.public.call("OPTIONS", path, headers=PREFLIGHT | {"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


async def test_cors_headers_are_on_answers_and_on_errors(edge: Edge) -> None:
    for token in ("ABC", "FAIL-NOT_FOUND-PRODUCT_NOT_FOUND"):
        reply = await edge.public.call("POST", f"/api/verify/{token}", json={}, headers={"origin": SHOP})
        assert reply.headers["access-control-allow-origin"] == SHOP


async def test_the_log_names_routes_and_holds_no_token_address_or_key(tmp_path: Path) -> None:
    token = "0123456789ABCDEFGHJKMNPQRSTVWXYZ0123456789ABCDEFGH"
    async with open_edge(tmp_path) as edge:
        headers = {"x-api-key": "SECRETKEY", "x-forwarded-for": "203.0.113.9", "referer": f"https://x/r/{token}"}
        for method, path in (
            ("GET", f"/r/{token}"),
            ("GET", f"/api/receipt/{token}"),
            ("POST", f"/api/verify/{token}"),
            ("POST", f"/api/verify/{token}?{token}=1"),
            ("GET", f"/nope/{token}"),
            ("GET", f"/r/{token}/{token}"),
        ):
            await edge.public.call(method, path, headers=headers, **({"json": {}} if method == "POST" else {}))
    text = (tmp_path / "envoy.log").read_text()
    assert token not in text
    assert not [word for word in ("SECRETKEY", "203.0.113.9", "127.0.0.1") if word in text]
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    methods = [line["http_method"] for line in lines]
    assert (methods.count("GET"), methods.count("POST")) == (4, 2)
    routes = [line["route"] for line in lines if line["status"] == 200]
    assert sorted(routes) == [f"voketag.scan.v1.ScanService.{name}" for name in ("GetPage", "GetReceipt", "Verify")]
    assert len(lines) == 6


async def test_a_service_that_is_away_is_unavailable_in_the_same_shape(tmp_path: Path) -> None:
    async with open_edge(tmp_path, away="anchor") as edge:
        reply = await edge.public.call("GET", "/v1/anchor/0190c8a0-0000-7000-8000-000000000000")
        body = assert_error(reply, status=503, code=14, reason="DEPENDENCY_UNAVAILABLE")
        assert [detail["retryDelay"] for detail in body["details"] if "retryDelay" in detail] == ["1s"]
        assert (await edge.public.call("GET", "/r/ABC")).status == 200


async def test_a_service_that_hangs_costs_its_callers_no_more_than_the_time_of_a_call(tmp_path: Path) -> None:
    async with open_edge(tmp_path, hanging="anchor", unary_seconds=1.0) as edge:
        reply = await edge.public.call("GET", "/v1/anchor/0190c8a0-0000-7000-8000-000000000000")
        assert_error(reply, status=504, code=4, reason="DEADLINE_EXCEEDED")
        async with grpc.aio.insecure_channel(edge.public.target) as channel:
            stub = anchor_pb2_grpc.AnchorServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetAnchor(anchor_pb2.GetAnchorRequest())
        assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


async def test_the_coarse_limit_refuses_with_a_time_to_come_back(tmp_path: Path) -> None:
    async with open_edge(tmp_path, calls_a_second=2) as edge:
        replies = await asyncio.gather(*(edge.public.call("GET", "/r/ABC") for _ in range(12)))
        refused = [reply for reply in replies if reply.status != 200]
        assert refused
        for reply in refused:
            assert_error(reply, status=429, code=8, reason="RATE_LIMITED")
            assert reply.headers["retry-after"] == "1"


async def test_with_a_certificate_the_edge_speaks_tls_and_says_so_to_browsers(tmp_path: Path) -> None:
    tls = make_certificate(tmp_path)
    async with open_edge(tmp_path, tls=tls) as edge:
        reply = await edge.public.call("GET", "/r/ABC")
        assert (reply.status, reply.body) == (200, b"ABC")
        assert reply.headers["strict-transport-security"].startswith("max-age=63072000")
        credentials = grpc.ssl_channel_credentials(tls.certificate.read_bytes())
        async with grpc.aio.secure_channel(edge.public.target, credentials) as channel:
            answer = await scan_pb2_grpc.ScanServiceStub(channel).Verify(scan_pb2.VerifyRequest(token="ABC"))
        assert answer.verdict == scan_pb2.VERDICT_GENUINE_CODE
