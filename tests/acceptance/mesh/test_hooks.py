"""Webhooks over JSON through Envoy, by the worker of the mesh: a batch is completed, and its factory hears of it."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest

from tests.meshes import Mesh, wait_until

pytestmark = pytest.mark.xdist_group("mesh")


class Listener(ThreadingHTTPServer):
    """Takes everything."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), Taker)


class Taker(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_completed_batch_is_told_and_signed(mesh: Mesh, api_key: str, listener: Listener) -> None:
    def post(path: str, **body: Any) -> Any:
        body.setdefault("requestId", str(uuid4()))
        answer = mesh.ask("POST", path, json.dumps(body).encode(), {"x-api-key": api_key})
        assert answer.status == 200, answer
        return answer.json

    url = f"http://127.0.0.1:{listener.server_port}/hook"
    created = post("/v1/webhooks", url=url, eventTypes=["EVENT_TYPE_BATCH_COMPLETED"])
    endpoint_id = created["endpoint"]["endpointId"]
    batch_id = mesh.order(api_key, 3).batch.batch_id
    wait_until(lambda: len(listener.received) > 0)
    ((headers, body),) = listener.received
    event = json.loads(body)
    assert (event["type"], event["data"]["batchId"]) == ("batch.completed", batch_id)
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = hmac.new(base64.b64decode(created["secret"].removeprefix("whsec_")), content, hashlib.sha256).digest()
    assert f"v1,{base64.b64encode(mac).decode()}" in headers["webhook-signature"].split()

    def states() -> list[str]:
        path = f"/v1/webhooks/{endpoint_id}/deliveries"
        return [item["state"] for item in mesh.ask("GET", path, headers={"x-api-key": api_key}).json["deliveries"]]

    wait_until(lambda: states() == ["DELIVERY_STATE_DELIVERED"])
    disabled = post(f"/v1/webhooks/{endpoint_id}/disable")
    assert disabled["endpoint"]["disableReason"] == "DISABLE_REASON_REQUESTED"


def test_a_suspicious_scan_is_told_to_the_factory(mesh: Mesh, api_key: str, listener: Listener) -> None:
    def post(path: str, **body: Any) -> Any:
        body.setdefault("requestId", str(uuid4()))
        answer = mesh.ask("POST", path, json.dumps(body).encode(), {"x-api-key": api_key})
        assert answer.status == 200, answer
        return answer.json

    url = f"http://127.0.0.1:{listener.server_port}/hook"
    created = post("/v1/webhooks", url=url, eventTypes=["EVENT_TYPE_FRAUD_SUSPECTED"])
    order = mesh.order(api_key, 2)
    mesh.completed(api_key, order.batch.batch_id)
    product = order.products[0]
    for state in ("ACTIVATED", "SHIPPED", "SOLD", "CONSUMED"):
        ids = {"productIds": [product.product_id]}
        post("/v1/products/change", toState=f"PRODUCT_STATE_{state}", ids=ids)
    suspected = ("VERDICT_SUSPICIOUS", "VERDICT_LIKELY_COPY")  # the second when whoever scans was busy elsewhere too
    wait_until(lambda: mesh.verify(product.token).json["verdict"] in suspected)
    mesh.verify(product.token)
    wait_until(lambda: len(listener.received) > 0)
    event = json.loads(listener.received[0][1])
    assert (event["type"], event["data"]["productId"]) == ("fraud.suspected", product.product_id)
    assert f"VERDICT_{event['data']['verdict']}" in suspected
    assert event["data"]["riskScore"] >= 60
    assert "risk.lifecycle.consumed" in event["data"]["messageCodes"]
    post(f"/v1/webhooks/{created['endpoint']['endpointId']}/disable")
    told = [json.loads(body)["data"]["verdict"] for _, body in listener.received]
    assert len(told) == len(set(told)), "once a day for a verdict, however many scans say it"
