"""What JSON callers get from the edge."""

import asyncio
import base64
import io
import json
from functools import partial
from typing import Any

import pytest

from tests.acceptance.edge.door import Edge
from tests.acceptance.edge.shape import assert_error
from tests.acceptance.edge.upstream import IMMUTABLE, PAGE_POLICY

pytestmark = pytest.mark.asyncio(loop_scope="session")

assert_refused = partial(assert_error, code=3, reason="REQUEST_REFUSED")
assert_unknown = partial(assert_error, status=404, code=5, reason="REQUEST_REFUSED")
ORDER = "/v1/batches"


async def test_a_verdict_comes_as_json_with_every_scalar_in_lower_camel_case(edge: Edge) -> None:
    reply = await edge.public.call("POST", "/api/verify/ABC", json={"typed": True})
    assert reply.status == 200
    assert reply.json == {
        "verdict": "VERDICT_GENUINE_CODE",
        "checks": [],
        "degraded": False,
        "firstScan": False,
        "scanCount": 0,
        "recorded": False,
        "scanId": "",
        "firstCountryCode": "",
    }


async def test_a_page_keeps_its_content_type_and_its_own_content_policy(edge: Edge) -> None:
    reply = await edge.public.call("GET", "/r/ABC")
    assert (reply.status, reply.body) == (200, b"ABC")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["content-security-policy"] == PAGE_POLICY


async def test_a_receipt_is_the_service_s_own_document(edge: Edge) -> None:
    reply = await edge.public.call("GET", "/api/receipt/ABC")
    assert (reply.headers["content-type"], reply.body) == ("application/json", b'{"receipt": 1}')


async def test_the_ledger_lies_where_a_reader_of_tile_logs_looks(edge: Edge) -> None:
    reply = await edge.public.call("GET", "/api/ledger/tile/0/x001/x234/067.p/12")
    assert (reply.status, reply.body) == (200, b"0/x001/x234/067.p/12")
    assert (reply.headers["content-type"], reply.headers["cache-control"]) == ("application/octet-stream", IMMUTABLE)
    reply = await edge.public.call("GET", "/api/ledger/checkpoint?size=7")
    assert (reply.headers["content-type"], reply.body) == ("text/plain; charset=utf-8", b"log\n7\n")
    reply = await edge.public.call("GET", "/api/ledger/consistency?from_size=3&toSize=9")
    assert reply.json == {"fromSize": "3", "toSize": "9", "path": ["MQ=="]}
    for query in ("consistency?from_size=-1", "inclusion?index=x", "checkpoint?size=1.5", "key?size=1"):
        assert_refused(await edge.public.call("GET", f"/api/ledger/{query}"), status=400)
    assert_unknown(await edge.public.call("GET", "/api/ledger/entries/000"))
    assert_unknown(await edge.public.call("POST", "/api/ledger/checkpoint", json={}))


async def test_a_look_at_a_tag_is_a_get(edge: Edge) -> None:
    reply = await edge.public.call("GET", "/api/tag/ABC")
    assert (reply.status, reply.json["verdict"], reply.json["scanCount"]) == (200, "VERDICT_GENUINE_CODE", 3)
    assert "firstScan" not in reply.json
    assert_refused(await edge.public.call("GET", "/api/tag/ABC?typed=true"), status=400)
    assert_unknown(await edge.public.call("POST", "/api/tag/ABC", json={}))


async def test_a_report_passes_with_its_enum_and_bytes(edge: Edge) -> None:
    photo = {"sha256": base64.b64encode(bytes(32)).decode(), "mediaType": "image/png"}
    body = {"requestId": "x", "text": "é", "kind": "FRAUD_KIND_PACK_DIFFERS", "photo": photo}
    reply = await edge.public.call("POST", "/api/fraud/report", json=body)
    assert (reply.status, reply.json) == (200, {"caseId": f"3-é-{bytes(32).hex()}"})


@pytest.mark.parametrize(
    "body", ['{"kind": "NOPE"}', '{"photo": {"sha": 1}}', '{"photo": {"sha256": "%"}}', '{"text": 1}', '{"nope": 1}']
)
async def test_reports_that_do_not_fit_are_refused(edge: Edge, body: str) -> None:
    headers = {"content-type": "application/json"}
    assert_refused(await edge.public.call("POST", "/api/fraud/report", data=body, headers=headers), status=400)
    plain = await edge.public.call("POST", "/api/fraud/report", data=b"{}", headers={"content-type": "text/plain"})
    assert_refused(plain, status=415)


@pytest.mark.parametrize("name", ["page_size", "pageSize"])
async def test_query_parameters_go_by_either_spelling(edge: Edge, name: str) -> None:
    reply = await edge.public.call("GET", f"{ORDER}?{name}=3&state=BATCH_STATE_PENDING")
    assert reply.json["nextPageToken"] == "3-2"


@pytest.mark.parametrize("query", ["nope=1", "page_size=abc", "state=NOPE"])
async def test_unknown_and_wrong_query_parameters_are_refused(edge: Edge, query: str) -> None:
    assert_refused(await edge.public.call("GET", f"{ORDER}?{query}"), status=400)


@pytest.mark.parametrize(
    "body",
    [
        '{"nope": 1}',
        '{"name": "a", "nope": {"x": [1]}}',
        '{"template": {"gtin": "1"}, "nope": 1}',
        r'{"name": "a\\\"}{", "nope": 1}',
        r'{"na\u006de": "a"}',
        '{"": 1}',
        '[{"nope": 1}]',
        '{"template": {"x": {"nope": 1}}}',
        '{"template": {"x": ["nope"]}}',
        '{"template": ["x"]}',
        '{"name": {"x": 1}}',
        '{"product_count": 1.5}',
        '{"product_count": -1}',
        '{"name": 1}',
        '{"name": "\\ud800"}',
        "[]",
        "null",
        "{",
        "[" * 20_000,
    ],
)
async def test_bodies_that_do_not_fit_the_request_are_refused(edge: Edge, body: str) -> None:
    reply = await edge.public.call("POST", ORDER, data=body, headers={"content-type": "application/json"})
    assert_refused(reply, status=400)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": 'a "quoted": {thing}', "template": {"nope": '{"nope": 1}', "gtin": "1"}},
        {"product_count": 1, "returnProducts": False},
        {"productCount": "1", "return_products": True},
        {"name": "ключ\\", "template": {"": ""}},
    ],
)
async def test_bodies_that_fit_pass(edge: Edge, body: dict[str, object]) -> None:
    reply = await edge.public.call("POST", f"{ORDER}/" if not body else ORDER, json=body)
    assert reply.status == 200, reply


async def test_the_message_names_the_unknown_field(edge: Edge) -> None:
    reply = await edge.public.call("POST", "/api/verify/ABC/?", json={"tpyed": True})
    assert "tpyed" in assert_refused(reply, status=400)["message"]


async def test_the_token_of_the_path_cannot_be_contradicted_by_the_body(edge: Edge) -> None:
    assert_refused(await edge.public.call("POST", "/api/verify/ABC", json={"token": "XYZ"}), status=400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
async def test_other_content_types_are_refused(edge: Edge, kind: str) -> None:
    reply = await edge.public.call("POST", "/api/verify/ABC", data=b"{}", headers={"content-type": kind})
    assert_refused(reply, status=415)


async def test_a_charset_may_stand_in_the_content_type(edge: Edge) -> None:
    headers = {"content-type": "application/json; charset=utf-8"}
    assert (await edge.public.call("POST", "/api/verify/ABC", data=b"{}", headers=headers)).status == 200


@pytest.mark.parametrize("size", [64 * 1024 + 1, 2_000_000])
async def test_large_bodies_are_refused(edge: Edge, size: int) -> None:
    body = io.BytesIO(json.dumps({"name": "x" * size}).encode())
    reply = await edge.public.call("POST", ORDER, data=body, headers={"content-type": "application/json"})
    assert_refused(reply, status=413)


async def test_large_answers_pass(edge: Edge) -> None:
    reply = await edge.public.call("POST", ORDER, json={"productCount": 1_500})
    assert len(reply.json["products"]) == 1_500
    assert len(reply.body) > 3_000_000


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nope"),
        ("GET", "/r/a/b"),
        ("GET", "/api/verify/ABC"),
        ("DELETE", ORDER),
        ("PUT", ORDER),
        ("GET", "/metrics"),
        ("GET", "/healthz"),
        ("GET", "/grpc.health.v1.Health/Check"),
        ("OPTIONS", ORDER),
    ],
)
async def test_unknown_paths_and_methods_are_not_found(edge: Edge, method: str, path: str) -> None:
    options: dict[str, Any] = {"json": {}} if method == "PUT" else {}
    assert_unknown(await edge.public.call(method, path, **options))


async def test_json_cannot_be_sent_to_a_grpc_path(edge: Edge) -> None:
    assert_unknown(await edge.public.call("POST", "/voketag.scan.v1.ScanService/Verify", json={}))


async def test_headers_over_the_limit_are_refused_in_the_same_shape(edge: Edge) -> None:
    reply = await edge.public.call("GET", "/r/ABC", headers={"x-big": "x" * 20_000})
    assert_refused(reply, status=431)


@pytest.mark.parametrize(
    ("name", "reason", "status", "code"),
    [
        ("INVALID_ARGUMENT", "TOKEN_MALFORMED", 400, 3),
        ("UNAUTHENTICATED", "CREDENTIALS_MISSING", 401, 16),
        ("PERMISSION_DENIED", "ACCESS_DENIED", 403, 7),
        ("NOT_FOUND", "PRODUCT_NOT_FOUND", 404, 5),
        ("ALREADY_EXISTS", "ANCHOR_CONFLICT", 409, 6),
        ("RESOURCE_EXHAUSTED", "RATE_LIMITED", 429, 8),
        ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", 429, 8),
        ("INTERNAL", "INTERNAL", 500, 13),
        ("UNAVAILABLE", "SHUTTING_DOWN", 503, 14),
        ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", 504, 4),
    ],
)
async def test_errors_of_services_keep_their_details(
    edge: Edge, name: str, reason: str, status: int, code: int
) -> None:
    reply = await edge.public.call("POST", f"/api/verify/FAIL-{name}-{reason}", json={})
    body = assert_error(reply, status=status, code=code, reason=reason)
    assert body["message"] == "No, «really» not"
    assert body["details"][0]["metadata"] == {"token": "short"}


async def test_a_request_that_never_ends_is_cut_off(edge: Edge) -> None:
    reader, writer = await asyncio.open_connection(edge.public.address.host, edge.public.address.port)
    writer.write(
        b"POST /api/verify/ABC HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"
    )
    answer = await reader.readuntil(b"\r\n")
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408")


async def test_service_only_paths_are_hidden_at_the_edge_and_open_inside(edge: Edge) -> None:
    assert_unknown(await edge.public.call("POST", "/v1/anchor", json={}))
    assert_unknown(await edge.public.call("POST", "/v1/anchors", json={}))
    assert (await edge.internal.call("POST", "/v1/anchor", json={"size": "7"})).json["anchor"]["size"] == "7"
    reply = await edge.internal.call("POST", "/v1/admin/factories", json={"name": "A"})
    assert reply.json["factory"]["name"] == "A"


async def test_the_internal_door_tells_health_and_metrics(edge: Edge) -> None:
    assert (await edge.internal.call("GET", "/healthz")).status == 200
    metrics = await edge.internal.call("GET", "/metrics")
    assert b"envoy_http_downstream_rq_total" in metrics.body
