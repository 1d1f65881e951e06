"""`python -m anchor [serve | submit | stamp | migrate | deploy]`."""

import sys

import uvloop

from anchor.config import (
    ChainKindSettings,
    DeliverySettings,
    DeploySettings,
    ServeSettings,
    StampSettings,
    SubmitSettings,
)
from anchor.store import MIGRATIONS
from mesh.config import OwnerSettings, load
from mesh.migrate import migrate_as_owner
from mesh.processes import run
from mesh.telemetry import configure, serve_metrics


async def serve(index: int) -> None:
    """The gRPC server."""
    from anchor.serving import serve as run_server

    configure(settings := load(ServeSettings), "anchor")
    serve_metrics(settings.metrics_host, settings.metrics_port and settings.metrics_port + index)
    await run_server(settings)


async def submit(_index: int) -> None:
    """The submitter."""
    from anchor.assembly import submit as run_submitter
    from anchor.assembly import submit_in_memory

    if load(ChainKindSettings).chain_kind == "memory":
        configure(alone := load(DeliverySettings), "anchor")
        await submit_in_memory(alone)
    else:
        configure(settings := load(SubmitSettings), "anchor")
        await run_submitter(settings)


async def stamp(_index: int) -> None:
    """The stamper."""
    from anchor.stamping import stamp as run_stamper

    configure(settings := load(StampSettings), "anchor")
    await run_stamper(settings)


def deploy() -> None:
    """Deploys the contract, unless it stands."""
    from anchor.assembly import deploy as run_deployer

    configure(settings := load(DeploySettings), "anchor")
    sys.stdout.write(run_deployer(settings) + "\n")


def main() -> None:
    """Entry point."""
    match sys.argv[1:] or ["serve"]:
        case ["serve"]:
            run(load(ServeSettings).processes, serve)
        case ["submit"]:
            run(1, submit)
        case ["stamp"]:
            run(1, stamp)
        case ["migrate"]:
            uvloop.run(migrate_as_owner(load(OwnerSettings), schema="anchor", folder=MIGRATIONS))
        case ["deploy"]:
            deploy()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
