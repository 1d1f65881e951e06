"""`voketag demo`: the whole main job on real input, each step timed and checked."""

import asyncio
import json
import secrets
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import grpc
from rich.table import Table
from voketag.factory.v1 import factory_pb2
from voketag.factory.v1.account_pb2_grpc import AccountServiceStub

from mesh.cli.accounts import open_account
from mesh.cli.connection import as_factory, as_operator, explain
from mesh.cli.console import at_terminal, console, home
from mesh.cli.order import Order, OrderRequest, place, state_name
from mesh.cli.people import local_settings, make_admin
from mesh.cli.products import ProductsCsv
from mesh.cli.up import addresses, run_mesh
from mesh.local.files import write_whole
from mesh.local.mesh import LocalMesh
from trust import receipt, token
from trust.rpc import JsonRpcChain

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "products.csv"
ANSWER_SECONDS = 10
ADMIN = "admin@example.com"
NO_HEADERS: Mapping[str, str] = {}


class DemoError(Exception):
    """A step did not do what it should; the text says what it did."""


@dataclass(frozen=True)
class Row:
    """A step that went right."""

    step: str
    result: str
    seconds: float


class Demo:
    """The steps, in order. Each gives a sentence on what happened, or raises."""

    def __init__(self, mesh: LocalMesh, products: ProductsCsv) -> None:
        self._mesh = mesh
        self._products = products
        self._key = ""
        self._order = Order(factory_pb2.Batch(), "")
        self._receipt = b""
        self.login = ""
        self.rows: list[Row] = []

    @property
    def page(self) -> str:
        """The consumer page of the first product."""
        return f"{self._mesh.edge}/r/{self._order.tokens[0]}"

    @property
    def receipt_url(self) -> str:
        """The receipt of the first product."""
        return f"{self._mesh.edge}/api/receipt/{self._order.tokens[0]}"

    async def run(self) -> None:
        """All steps. Raises DemoError and what the steps raise."""
        steps: dict[str, Callable[[], Awaitable[str]]] = {
            "make an admin and log in": self._log_in,
            "open a factory account": self._open,
            "import the products and anchor the batch": self._import,
            "scan a product": self._scan,
            "check its receipt without VokeTag": self._check,
            "scan a forged token": self._forge,
            "check the receipt of a wrong product": self._swap,
        }
        for name, step in steps.items():
            started = time.monotonic()
            result = await step()
            self.rows.append(Row(name, result, time.monotonic() - started))
            console.print(f"[green]✓[/] {name}: {result}", soft_wrap=True)

    async def _log_in(self) -> str:
        first = not (path := home() / "secrets" / "demo_admin").exists()
        password = secrets.token_urlsafe(18) if first else path.read_text()
        if first:
            await asyncio.to_thread(make_admin, local_settings(), ADMIN, "Demo Admin", password)
            write_whole(path, password.encode())
            self.login = f"{ADMIN} / {password}   (shown once; kept in {path})"
        asked = json.dumps({"email": ADMIN, "password": password}).encode()
        session = json.loads(await self._fetch(f"{self._mesh.edge}/v1/auth/login", asked))
        bearer = {"authorization": f"Bearer {session['tokens']['accessToken']}"}
        user = json.loads(await self._fetch(f"{self._mesh.edge}/v1/auth/me", headers=bearer))["user"]
        if user["role"] != "ROLE_ADMIN":
            raise DemoError(f"the login is of {user}")
        return f"logged in as {user['email']}, whom the service knows by the access token"

    async def _open(self) -> str:
        target = f"127.0.0.1:{self._mesh.ports['factory']}"
        async with as_operator(target, self._mesh.secrets.identity("admin")) as channel:
            issued = await open_account(AccountServiceStub(channel), "Demo factory")
        self._key = issued.secret
        return f"factory {issued.api_key.factory_id}, API key {issued.api_key.prefix}…"

    async def _import(self) -> str:
        request = OrderRequest(self._products, f"demo {self._products.path.stem}")
        async with as_factory(f"127.0.0.1:{self._mesh.ports['edge']}", self._key) as channel:
            self._order = order = await place(channel, self._key, request)
        batch = order.batch
        if batch.state != factory_pb2.BATCH_STATE_COMPLETED or not batch.issued_count:
            raise DemoError(f"the batch ended {state_name(batch)} {batch.failure}")
        return (
            f"{batch.issued_count:,} products in {order.import_seconds:.2f} s, {batch.refused_count:,} rows refused;"
            f" root {batch.root.hex()[:16]}… final in block {batch.anchor.block_number}"
            f" after {order.anchor_seconds:.1f} s"
        )

    async def _scan(self) -> str:
        answer = await self._verify(self._order.tokens[0])
        if answer["verdict"] != "VERDICT_GENUINE_CODE" or not answer["firstScan"] or answer["degraded"]:
            raise DemoError(f"the scan answered {answer}")
        name = answer["product"]["attributes"].get("name", answer["product"]["productId"])
        return f"GENUINE_CODE, scan number {answer['scanCount']}, {name}"

    async def _check(self) -> str:
        self._receipt = await self._fetch(self.receipt_url)
        chain = JsonRpcChain(self._mesh.chain)
        result = await asyncio.to_thread(receipt.verify, receipt.Receipt.from_json(self._receipt), chain)
        if not result.valid or any(step.outcome is not receipt.Outcome.PASSED for step in result.steps):
            raise DemoError(f"the receipt was refused: {result.steps}")
        return f"valid: {len(result.steps)} steps passed, {len(self._receipt):,} bytes"

    async def _forge(self) -> str:
        genuine = token.decode(self._order.tokens[0])
        tag = bytes([genuine.tag[0] ^ 1]) + genuine.tag[1:]
        forged = token.encode(token.Token(genuine.kid, genuine.product_id, tag))
        answer = await self._verify(forged)
        if answer["verdict"] != "VERDICT_UNKNOWN_CODE" or answer.get("product"):
            raise DemoError(f"the forged token answered {answer}")
        return "UNKNOWN_CODE: one flipped bit is enough"

    async def _swap(self) -> str:
        document = json.loads(self._receipt)
        document["product"]["attributes"]["name"] = "Another product"
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        if receipt.verify(receipt.Receipt.from_json(text)).valid:
            raise DemoError("the receipt was taken for another product")
        return "refused: the receipt binds every attribute"

    async def _verify(self, text: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(await self._fetch(f"{self._mesh.edge}/api/verify/{text}", b"{}"))
        return answer

    async def _fetch(self, url: str, body: bytes | None = None, headers: Mapping[str, str] = NO_HEADERS) -> bytes:
        request = urllib.request.Request(url, body, {"content-type": "application/json", **headers})  # noqa: S310 - our own edge

        def answer() -> bytes:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:  # noqa: S310
                content: bytes = response.read()
                return content

        return await asyncio.to_thread(answer)


def summary(demo: Demo, mesh: LocalMesh, up_seconds: float) -> None:
    """What happened, how long it took, and what to open."""
    table = Table("step", "seconds", title="What happened", title_justify="left")
    table.add_row("start the mesh", f"{up_seconds:.2f}")
    for row in demo.rows:
        table.add_row(row.step, f"{row.seconds:.2f}")
    console.print(table)
    if demo.login:
        console.print(f"login           {demo.login}", soft_wrap=True)
    console.print(f"consumer page   {demo.page}", soft_wrap=True)
    console.print(f"receipt         {demo.receipt_url}", soft_wrap=True)
    console.print(addresses(mesh))


@click.command()
@click.option("--csv", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Your own products.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the edge; else the last one, or a free one.")
def demo(path: Path | None, port: int | None) -> None:
    """Run the whole main job: order, import, anchor, scan, check, and two frauds that must fail.

    At a terminal the mesh then stays up until Ctrl-C; elsewhere it stops.
    Exits 0 only if every step did what it should.
    """
    started = time.monotonic()
    products = ProductsCsv(path or EXAMPLE)

    async def work(mesh: LocalMesh) -> None:
        up_seconds = time.monotonic() - started
        run = Demo(mesh, products)
        try:
            await run.run()
        except grpc.aio.AioRpcError as error:
            raise click.ClickException(f"the demo failed: {explain(error).message}") from error
        except Exception as error:
            raise click.ClickException(f"the demo failed: {error}") from error
        summary(run, mesh, up_seconds)
        if at_terminal():
            console.print("[green]Everything did what it should.[/] The mesh stays up; Ctrl-C stops it.")
            await asyncio.Event().wait()

    run_mesh(work, port=port)
