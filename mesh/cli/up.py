"""`voketag up`, `down` and `status`: the local mesh as a whole."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from select import select

import click
from rich.table import Table

from mesh.cli.console import console, home
from mesh.local.errors import LocalError
from mesh.local.mesh import LocalMesh
from mesh.local.state import StateDirectory

Work = Callable[[LocalMesh], Awaitable[None]]


def addresses(mesh: LocalMesh) -> Table:
    """What to open, and where the rest is."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("edge (JSON, gRPC, pages)", f"[bold]{mesh.edge}[/]")
    table.add_row("internal JSON and gRPC", f"http://127.0.0.1:{mesh.ports['internal']}")
    table.add_row("dev chain (JSON-RPC)", mesh.chain)
    table.add_row("metrics of scan", f"http://127.0.0.1:{mesh.ports['scan_metrics']}/metrics")
    table.add_row("logs", str(home() / "logs"))
    return table


async def with_mesh(work: Work, port: int | None, trusted_hops: int) -> None:
    """Runs the mesh around `work`; SIGINT and SIGTERM cancel the work and stop the mesh in order."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    mesh = LocalMesh(
        StateDirectory(home()),
        edge_port=port,
        trusted_hops=trusted_hops,
        say=lambda line: console.print(f"[dim]{line}[/]"),
    )
    async with mesh.running():
        await work(mesh)


def run_mesh(work: Work, *, port: int | None = None, trusted_hops: int = 0) -> None:
    """`with_mesh` from a command: Ctrl-C is a clean end, a mesh that cannot start an error message."""
    try:
        asyncio.run(with_mesh(work, port, trusted_hops))
    except asyncio.CancelledError:
        console.print("Stopped; everything is kept for the next start.")
    except LocalError as error:
        raise click.ClickException(str(error)) from error
    except ExceptionGroup as group:
        first = group.exceptions[0]
        if isinstance(first, LocalError | click.ClickException):
            raise click.ClickException(str(first)) from group
        raise


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the edge; else the last one, or a free one.")
@click.option("--trusted-hops", type=click.IntRange(0, 8), default=0, help="Proxies before the edge to believe.")
def up(port: int | None, trusted_hops: int) -> None:
    """Run the whole mesh on this machine until Ctrl-C. State is kept."""
    started = time.monotonic()

    async def work(mesh: LocalMesh) -> None:
        console.print(f"[green]The mesh is up[/] after {time.monotonic() - started:.1f} s. Ctrl-C stops it.")
        console.print(addresses(mesh))
        await asyncio.Event().wait()

    run_mesh(work, port=port, trusted_hops=trusted_hops)


@click.command()
def down() -> None:
    """Stop the mesh that runs in this state directory; all its state is kept."""
    pid = StateDirectory(home()).holder()
    if pid is None:
        console.print("No mesh runs here.")
        return
    with suppress(ProcessLookupError):  # it ended by itself
        process = os.pidfd_open(pid)
        signal.pidfd_send_signal(process, signal.SIGTERM)
        with console.status(f"Stopping the mesh (pid {pid})"):
            select([process], [], [])  # readable once it has ended (pidfd_open(2))
    console.print("Stopped; everything is kept for the next start.")


@click.command()
def status() -> None:
    """Say whether a mesh runs here, and its processes, ports and logs. Exits 1 when none runs."""
    state = StateDirectory(home())
    pid, record = state.holder(), state.read()
    if pid is None:
        console.print(f"No mesh runs in {state.folder}.")
        raise SystemExit(1)
    table = Table("process", "pid", "port", title=f"Mesh in {state.folder}, started by pid {pid}", title_justify="left")
    for name, child in record.pids.items():
        table.add_row(name, str(child), str(record.ports.get(name, "")))
    console.print(table)
