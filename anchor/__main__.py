"""`python -m anchor [serve | submit | migrate | deploy]`."""

import sys

import uvloop
from voketag.anchor.v1 import anchor_pb2, anchor_pb2_grpc

from anchor.changes import Changes
from anchor.config import DeploySettings, ServeSettings, SubmitSettings
from anchor.proofs import Proofs
from anchor.service import AnchorService
from anchor.store import MIGRATIONS, Store
from anchor.watch import Watch
from mesh.clock import SystemClock, new_id
from mesh.config import OwnerSettings, load
from mesh.database import check, connect
from mesh.identity import ServiceAuthenticator
from mesh.limits import LocalLimiter
from mesh.migrate import migrate_as_owner
from mesh.policy import SERVICE
from mesh.processes import run
from mesh.server import Server, ServerParts
from mesh.telemetry import configure, serve_metrics


async def serve(index: int) -> None:
    """The gRPC server."""
    configure(settings := load(ServeSettings), "anchor")
    serve_metrics(settings.metrics_host, settings.metrics_port and settings.metrics_port + index)
    pool = await connect(settings, schema="anchor")
    clock, store = SystemClock(), Store(pool, new_id)
    changes = Changes(pool, poll_seconds=settings.watch_poll_seconds, watchers=settings.watchers)
    service = AnchorService(store, Proofs(store), Watch(store, changes))
    parts = ServerParts(
        settings=settings,
        contracts=[anchor_pb2],
        register=[(anchor_pb2_grpc.add_AnchorServiceServicer_to_server, service)],
        authenticators={SERVICE: ServiceAuthenticator(settings.jwks, "anchor", clock)},
        limiter=LocalLimiter(clock),
        checks={"PostgreSQL": lambda: check(pool)},
        tracing=settings.otlp_endpoint is not None,
        on_stop=changes.close,
    )
    async with pool, changes.listening():
        await Server(parts).run()


async def submit(_index: int) -> None:
    """The submitter."""
    from anchor.assembly import submit as run_submitter

    configure(settings := load(SubmitSettings), "anchor")
    await run_submitter(settings)


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
        case ["migrate"]:
            uvloop.run(migrate_as_owner(load(OwnerSettings), schema="anchor", folder=MIGRATIONS))
        case ["deploy"]:
            deploy()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
