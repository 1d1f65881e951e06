"""The documented receivers: the example as a process of its own, the lines of the document, and the command line."""

import asyncio
import json
import re
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from factory.signing import RootKey, headers
from mesh.clock import new_id
from tests.integration.factory.receivers import Hooks, delivering, hooks, receiving
from tests.integration.factory.world import ROOT, Customer, Ground, eventually
from tests.servers import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")
DELIVERED = 2


@pytest_asyncio.fixture(loop_scope="module")
async def mine(customer: Customer) -> AsyncIterator[Hooks]:
    async with hooks(customer) as mine:
        yield mine


@asynccontextmanager
async def example(secret: str, port: int) -> AsyncIterator[Process]:
    """examples/webhook_receiver.py, listening."""
    command = (sys.executable, str(ROOT / "examples" / "webhook_receiver.py"), str(port))
    process = await asyncio.create_subprocess_exec(*command, env={"WEBHOOK_SECRET": secret}, stdout=PIPE)
    try:

        async def listening() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                return False
            writer.close()
            await writer.wait_closed()
            return True

        await eventually(listening)
        yield process
    finally:
        process.kill()
        await process.communicate()


async def line(process: Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 20)).decode()


async def test_example_takes_what_is_signed_and_does_it_once(ground: Ground, mine: Hooks) -> None:
    port = free_port()
    created = await mine.create(f"http://127.0.0.1:{port}/")
    endpoint_id = created.endpoint.endpoint_id
    async with example(created.secret, port) as process, delivering(ground):
        await mine.test(endpoint_id)
        done = await mine.reached(endpoint_id, DELIVERED)
        assert await line(process) == f'webhook.test endpoint/{endpoint_id} {{"endpointId": "{endpoint_id}"}}\n'
        await mine.replay(done.delivery_id)
        again = await mine.reached(endpoint_id, DELIVERED, attempts=2)
        assert [attempt.status for attempt in again.attempts] == [204, 204]
        await mine.test(endpoint_id)
        await mine.reached(endpoint_id, DELIVERED)
        assert "webhook.test" in await line(process), "the replay printed nothing"


async def test_example_refuses_what_is_forged_or_old() -> None:
    keys, port, now = RootKey(bytes(32)).keys(new_id(), 1), free_port(), int(time.time())
    body = b'{"id":"1","type":"t","subject":"s","data":{}}'
    good = headers([keys], new_id(), now, body)
    async with example(keys.secret_text, port), aiohttp.ClientSession() as session:
        for sent, data, status in (
            (good, body, 204),
            (good | {"webhook-id": str(new_id())}, body, 401),
            (good | {"webhook-timestamp": str(now + 1)}, body, 401),
            (good | {"webhook-signature": ""}, body, 401),
            (good, body + b" ", 401),
            (headers([keys], new_id(), now - 301, body), body, 401),
            (headers([keys], new_id(), now + 400, body), body, 401),
            (headers([RootKey(bytes(32)).keys(new_id(), 1)], new_id(), now, body), body, 401),
            ({}, body, 401),
            (good, b"x" * 70_000, 401),
        ):
            async with session.post(f"http://127.0.0.1:{port}/", data=data, headers=sent) as response:
                assert response.status == status, sent


def documented() -> Callable[..., bool]:
    """`verify` as docs/webhooks.md has it."""
    text = (ROOT / "docs" / "webhooks.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(source, names)
    verify: Callable[..., bool] = names["verify"]
    return verify


async def test_lines_of_the_document_verify() -> None:
    verify, now = documented(), int(time.time())
    keys, others = (RootKey(bytes([number] * 32)).keys(new_id(), 1) for number in range(2))
    made = headers([others, keys], new_id(), now, b"{}")
    assert verify(keys.secret_text, made, b"{}")
    assert verify(others.secret_text, made, b"{}")
    assert not verify(keys.secret_text, made, b"{ }")
    assert not verify(keys.secret_text, headers([others], new_id(), now, b"{}"), b"{}")
    assert not verify(keys.secret_text, headers([keys], new_id(), now - 400, b"{}"), b"{}")


async def test_every_type_and_error_is_documented() -> None:
    from voketag.factory.v1 import webhook_pb2

    from factory.events import EventType

    text = (ROOT / "docs" / "webhooks.md").read_text()
    assert set(re.findall(r"^\| `([a-z]+\.[a-z_]+)` \|", text, re.MULTILINE)) == set(EventType)
    names = {name.removeprefix("EVENT_TYPE_") for name in webhook_pb2.EventType.keys()[1:]}
    assert names == set(EventType.__members__)


async def command(folder: Path, customer: Customer, *words: str) -> str:
    """What `voketag webhook` says."""
    key = folder / "key"
    key.write_text(customer.key)
    options = ("--target", customer.door.target, "--api-key-file", str(key))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mesh.cli", "webhook", *options, *words), stdout=PIPE, stderr=PIPE, cwd=ROOT
    )
    out, err = await process.communicate()
    return (out + err).decode()


async def test_command_line(ground: Ground, mine: Hooks, tmp_path: Path) -> None:
    async def say(*words: str) -> str:
        return await command(tmp_path, mine.customer, *words)

    async with receiving(500, 200) as receiver, delivering(ground, schedule=()):
        said = await say("create", receiver.url, "--event", "batch.failed", "--event", "product.state_changed")
        fields = dict(re.findall(r"^(\w+) +(\S+)$", said, re.MULTILINE))
        endpoint = await mine.endpoint(fields["endpoint"])
        assert (list(endpoint.event_types), fields["public"]) == ([2, 4], endpoint.public_key)
        assert fields["secret"].startswith("whsec_")
        assert f"{fields['endpoint']}  enabled  {receiver.url}" in await say("list")
        assert "pending    webhook_test" in await say("test", fields["endpoint"])
        failed = await mine.reached(fields["endpoint"], 3)
        assert re.search(r"failed .*\n +\S+  500  \d+ ms", await say("deliveries", fields["endpoint"]))
        assert await say("deliveries", fields["endpoint"], "--state", "delivered") == ""
        assert failed.delivery_id in await say("replay", failed.delivery_id)
        await mine.reached(fields["endpoint"], DELIVERED)
        assert fields["secret"] not in await say("rotate", fields["endpoint"])
        assert "Disabled." in await say("disable", fields["endpoint"])
        assert f"{fields['endpoint']}  disabled (requested)" in await say("list")
        assert "There is no endpoint" in await say("rotate", str(new_id()))
    assert json.loads(receiver.received[0].body)["type"] == "webhook.test"
