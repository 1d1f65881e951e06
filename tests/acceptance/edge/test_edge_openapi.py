"""docs/openapi.yaml against the contract and a live Envoy."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_schema_validator import OAS31Validator

from tests.acceptance.edge.door import Edge, Reply

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).resolve().parents[3]
BODIED = ("post", "put", "patch")
SOME_ID = "0190c8a0-0000-7000-8000-000000000000"


@cache
def document() -> Any:
    return yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())


def operations() -> list[tuple[str, str]]:
    return [(verb, path) for path, verbs in document()["paths"].items() for verb in verbs]


def check(schema: Any, value: Any) -> None:
    """Raises when `value` is not what the document says."""
    OAS31Validator(schema | {"components": document()["components"]}).validate(value)


def check_error(reply: Reply) -> None:
    assert reply.headers["content-type"] == "application/json"
    check({"$ref": "#/components/schemas/Error"}, reply.json)


def filled(path: str) -> str:
    return re.sub(r"{\w+}", SOME_ID, re.sub("{(number|kid)}", "7", path))


@pytest.mark.parametrize(("verb", "path"), operations())
async def test_every_operation_answers_as_described(edge: Edge, verb: str, path: str) -> None:
    options: dict[str, Any] = {"json": {}} if verb in BODIED else {}
    reply = await edge.internal.call(verb.upper(), filled(path), **options)
    assert reply.status == 200, reply
    content = document()["paths"][path][verb]["responses"]["200"]["content"]
    (kind,) = content
    assert reply.headers["content-type"].split(";")[0] == kind
    if "schema" in content[kind]:
        check(content[kind]["schema"], reply.json)


@pytest.mark.parametrize(("verb", "path"), operations())
async def test_every_operation_refuses_in_the_described_shape(edge: Edge, verb: str, path: str) -> None:
    described = document()["paths"][path][verb]["responses"]
    if verb in BODIED:
        large = b'{"name": "%s"}' % (b"x" * 70_000)
        bodies = {400: b'{"nope": 1}', 413: large}
        for status, body in bodies.items():
            headers = {"content-type": "application/json"}
            reply = await edge.internal.call(verb.upper(), filled(path), data=body, headers=headers)
            assert (reply.status, str(status) in described) == (status, True)
            check_error(reply)
        plain = await edge.internal.call(verb.upper(), filled(path), data=b"{}", headers={"content-type": "text/plain"})
        assert (plain.status, "415" in described) == (415, True)
        check_error(plain)
    refused = await edge.internal.call(
        verb.upper(), f"{filled(path)}?nope=1", **({"json": {}} if verb in BODIED else {})
    )
    assert refused.status == 400
    check_error(refused)


@pytest.mark.parametrize(("verb", "path"), operations())
async def test_operations_with_the_public_server_are_public_and_no_others(edge: Edge, verb: str, path: str) -> None:
    options: dict[str, Any] = {"json": {}} if verb in BODIED else {}
    reply = await edge.public.call(verb.upper(), filled(path), **options)
    internal = "servers" in document()["paths"][path][verb]
    assert reply.status == (404 if internal else 200)


async def test_a_service_s_error_is_in_the_described_shape(edge: Edge) -> None:
    reply = await edge.public.call("POST", "/api/verify/FAIL-RESOURCE_EXHAUSTED-RATE_LIMITED", json={})
    assert str(reply.status) in document()["paths"]["/api/verify/{token}"]["post"]["responses"]
    check_error(reply)


async def test_requests_of_the_described_shape_are_the_only_ones_let_through(edge: Edge) -> None:
    schema = document()["components"]["schemas"]["CreateBatchRequest"]
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["requestId", "name", "productCount"]
    assert schema["properties"]["productCount"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 1_000_000,
        "description": "Products to issue.",
    }
    assert "token" not in document()["components"]["schemas"]["VerifyRequest"]["properties"]
