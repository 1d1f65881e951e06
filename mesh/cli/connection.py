"""Where the commands connect to, and as whom: given by option, else the local mesh in this folder."""

from pathlib import Path

import click
import grpc

from mesh.cli.console import home
from mesh.client import peer, with_api_key
from mesh.clock import SystemClock
from mesh.identity import ServiceTokens
from mesh.local.state import StateDirectory

OPERATOR = "admin"


def local_port(name: str) -> int:
    """A port of the local mesh. Raises ClickException when none runs."""
    state = StateDirectory(home())
    if state.holder() is None:
        raise click.ClickException("no mesh runs here: start one with `voketag up`, or say --target")
    return state.read().ports[name]


def edge(target: str | None) -> str:
    """host:port of the edge."""
    return target or f"127.0.0.1:{local_port('edge')}"


def as_factory(target: str | None, key: str) -> grpc.aio.Channel:
    """A channel through the edge for the factory whose API key it is."""
    return with_api_key(edge(target), key)


def as_operator(target: str | None, key_file: Path | None) -> grpc.aio.Channel:
    """A channel to the factory service under the operators' service key."""
    path = key_file or home() / "secrets" / f"identity_{OPERATOR}.pem"
    try:
        tokens = ServiceTokens(OPERATOR, path.read_text(), SystemClock())
    except FileNotFoundError as error:
        raise click.ClickException(f"the operators' key is not at {path}: say --key-file") from error
    return peer(target or f"127.0.0.1:{local_port('factory')}", tokens=tokens, service="factory")


def explain(error: grpc.aio.AioRpcError) -> click.ClickException:
    """The error as a sentence for the terminal."""
    code = error.code().name
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return click.ClickException(f"the service cannot be reached ({error.details()})")
    return click.ClickException(f"{error.details()} ({code})")
