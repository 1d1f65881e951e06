"""Files through the edge: what is answered at once, and what is streamed."""

import pytest

from tests.acceptance.edge.canned_exports import PIECE
from tests.acceptance.edge.door import Edge
from tests.acceptance.edge.shape import assert_error
from tests.fakes.people import access_token

pytestmark = pytest.mark.asyncio(loop_scope="session")
FILE = "/v1/admin/downloads/0190c8a0-0000-7000-8000-000000000000"


async def test_a_small_export_is_answered_as_what_it_is(edge: Edge) -> None:
    path = "/v1/admin/export/scans?fromTime=2026-11-01T00:00:00Z&format=EXPORT_FORMAT_XLSX"
    reply = await edge.public.call("GET", path)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/csv")
    assert reply.body == b"scans 2026-11-01T00:00:00Z 3"


async def test_a_file_far_over_the_json_limit_passes_whole(edge: Edge) -> None:
    reply = await edge.public.call("GET", f"{FILE}?expires=120&signature=abc")
    assert (reply.status, reply.headers["cache-control"]) == (200, "private, no-store")
    assert reply.headers["content-type"] == "application/octet-stream"
    assert len(reply.body) == 5 + 120 * len(PIECE)
    assert reply.body == b"begin" + 120 * PIECE


async def test_a_download_that_says_too_much_is_refused(edge: Edge) -> None:
    reply = await edge.public.call("GET", f"{FILE}?expires=1&path=/etc/passwd")
    assert_error(reply, status=400, code=3, reason="REQUEST_REFUSED")


async def test_a_wrong_access_token_gets_no_file(edge: Edge) -> None:
    headers = {"authorization": f"Bearer {access_token(iss='factory')}"}
    assert (await edge.public.call("GET", FILE, headers=headers)).status in (401, 403)
