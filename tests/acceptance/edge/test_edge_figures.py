"""Figures over JSON: how a period is asked for."""

import pytest

from tests.acceptance.edge.door import Edge
from tests.acceptance.edge.shape import assert_error

pytestmark = pytest.mark.asyncio(loop_scope="session")
PERIOD = "fromTime=2026-01-01T00:00:00Z&toTime=2026-01-31T00:00:00Z"


async def test_a_period_is_asked_for_by_query(edge: Edge) -> None:
    path = f"/v1/admin/analytics?{PERIOD}&granularity=GRANULARITY_HOUR&metrics=METRIC_SCANS&metrics=METRIC_COUNTRIES"
    reply = await edge.public.call("GET", path)
    assert reply.status == 200
    assert reply.json["scans"]["points"][0]["startTime"] == "2026-01-01T00:00:00Z"
    assert reply.json["products"]["products"] == [{"productId": "1", "scans": "1", "scansAtMost": "1"}]
    assert reply.json["anchoring"]["total"]["feeWei"] == "1"


@pytest.mark.parametrize("wrong", ["fromTime=yesterday", "granularity=GRANULARITY_YEAR", "metrics=NOPE", "limit=1"])
async def test_a_wrong_query_is_refused(edge: Edge, wrong: str) -> None:
    reply = await edge.public.call("GET", f"/v1/admin/analytics?{wrong}")
    assert_error(reply, status=400, code=3, reason="REQUEST_REFUSED")
