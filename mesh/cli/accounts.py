"""`voketag factory`: operators open and suspend factory accounts, issue their API keys and set their quotas."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import click
import grpc
from voketag.factory.v1 import account_pb2
from voketag.factory.v1.account_pb2_grpc import AccountServiceStub

from mesh.cli.connection import as_operator, explain
from mesh.cli.console import console

if TYPE_CHECKING:
    from voketag.factory.v1.account_pb2_grpc import AccountServiceAsyncStub  # known to the type checker alone

R = TypeVar("R")


async def open_account(stub: "AccountServiceAsyncStub", name: str) -> account_pb2.CreateApiKeyResponse:
    """A new factory and its first API key."""
    created = await stub.CreateFactory(account_pb2.CreateFactoryRequest(request_id=str(uuid4()), name=name))
    return await issue_key(stub, created.factory.factory_id)


async def issue_key(stub: "AccountServiceAsyncStub", factory_id: str) -> account_pb2.CreateApiKeyResponse:
    """A new API key of a factory."""
    return await stub.CreateApiKey(account_pb2.CreateApiKeyRequest(request_id=str(uuid4()), factory_id=factory_id))


def operate(target: str | None, key_file: Path | None, work: Callable[["AccountServiceAsyncStub"], Awaitable[R]]) -> R:
    """Runs `work` with a stub under the operators' key; errors end the command."""

    async def run() -> R:
        async with as_operator(target, key_file) as channel:
            return await work(AccountServiceStub(channel))

    try:
        return asyncio.run(run())
    except grpc.aio.AioRpcError as error:
        raise explain(error) from error


def show(issued: account_pb2.CreateApiKeyResponse | account_pb2.RotateApiKeyResponse) -> None:
    """Prints a key, this once."""
    console.print(f"factory  {issued.api_key.factory_id}")
    console.print(f"key      {issued.api_key.key_id}")
    console.print(f"secret   [bold]{issued.secret}[/]   (shown once: keep it)", soft_wrap=True)


@click.group()
@click.option("--target", metavar="HOST:PORT", help="The factory service; else the local mesh's.")
@click.option("--key-file", type=click.Path(path_type=Path), help="The operators' service key; else the local mesh's.")
@click.pass_context
def factory(context: click.Context, target: str | None, key_file: Path | None) -> None:
    """Open and suspend factory accounts, issue, rotate and revoke their API keys, set their quotas."""
    context.obj = (target, key_file)


@factory.command()
@click.argument("name")
@click.pass_obj
def create(connection: tuple[str | None, Path | None], name: str) -> None:
    """Open an account and issue its first API key."""
    show(operate(*connection, lambda stub: open_account(stub, name)))


@factory.command("new-key")
@click.argument("factory_id")
@click.pass_obj
def new_key(connection: tuple[str | None, Path | None], factory_id: str) -> None:
    """Issue another API key."""
    show(operate(*connection, lambda stub: issue_key(stub, factory_id)))


@factory.command("revoke-key")
@click.argument("key_id")
@click.pass_obj
def revoke_key(connection: tuple[str | None, Path | None], key_id: str) -> None:
    """End an API key: within 2 s nothing accepts it."""
    request = account_pb2.RevokeApiKeyRequest(request_id=str(uuid4()), key_id=key_id)
    operate(*connection, lambda stub: stub.RevokeApiKey(request))
    console.print("Revoked.")


@factory.command("rotate-key")
@click.argument("key_id")
@click.option("--overlap", type=click.IntRange(0, 720), default=24, show_default=True, help="Hours that it goes on.")
@click.pass_obj
def rotate_key(connection: tuple[str | None, Path | None], key_id: str, overlap: int) -> None:
    """Issue a key in the place of another."""
    request = account_pb2.RotateApiKeyRequest(request_id=str(uuid4()), key_id=key_id)
    request.overlap.FromTimedelta(timedelta(hours=overlap))
    rotated = operate(*connection, lambda stub: stub.RotateApiKey(request))
    show(rotated)
    console.print(f"The old key ends {rotated.replaced.expire_time.ToDatetime():%Y-%m-%d %H:%M} UTC.")


@factory.command()
@click.argument("factory_id")
@click.option("--reason", default="", help="Why, for the audit.")
@click.pass_obj
def suspend(connection: tuple[str | None, Path | None], factory_id: str, reason: str) -> None:
    """Keep a factory out: within 2 s nothing accepts its keys; its products are verified as ever."""
    request = account_pb2.SuspendFactoryRequest(request_id=str(uuid4()), factory_id=factory_id, reason=reason)
    operate(*connection, lambda stub: stub.SuspendFactory(request))
    console.print("Suspended.")


@factory.command()
@click.argument("factory_id")
@click.pass_obj
def resume(connection: tuple[str | None, Path | None], factory_id: str) -> None:
    """Let a suspended factory in again."""
    request = account_pb2.ResumeFactoryRequest(request_id=str(uuid4()), factory_id=factory_id)
    operate(*connection, lambda stub: stub.ResumeFactory(request))
    console.print("Resumed.")


@factory.command("set-quota")
@click.argument("factory_id")
@click.option("--products-a-day", type=click.IntRange(0), help="Midnight to midnight UTC; 0 stops issuing.")
@click.option("--concurrent-imports", type=click.IntRange(0), help="At the same time; 0 stops them.")
@click.pass_obj
def set_quota(
    connection: tuple[str | None, Path | None],
    factory_id: str,
    products_a_day: int | None,
    concurrent_imports: int | None,
) -> None:
    """Set what a factory may issue and import; what is left out is as for every factory."""
    request = account_pb2.SetQuotaRequest(
        request_id=str(uuid4()),
        factory_id=factory_id,
        products_a_day=products_a_day,
        concurrent_imports=concurrent_imports,
    )
    quota = operate(*connection, lambda stub: stub.SetQuota(request)).quota
    console.print(f"products a day      {quota.products_a_day}")
    console.print(f"concurrent imports  {quota.concurrent_imports}")
