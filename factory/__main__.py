"""`python -m factory [serve | work | migrate]`."""

import sys

from factory import assembly, schema
from factory.config import FactorySettings, WorkerSettings
from mesh.config import LogSettings, OwnerSettings, load
from mesh.processes import run
from mesh.telemetry import configure, serve_metrics


async def serve(index: int) -> None:
    """The gRPC server."""
    settings = load(FactorySettings)
    configure(settings, "factory")
    serve_metrics(settings.metrics_host, settings.metrics_port and settings.metrics_port + index)
    await assembly.serve(settings)


async def work(_index: int) -> None:
    """The worker."""
    settings = load(WorkerSettings)
    configure(settings, "factory")
    serve_metrics(settings.metrics_host, settings.metrics_port)
    await assembly.work(settings)


async def migrate(_index: int) -> None:
    """The schema."""
    configure(load(LogSettings), "factory")
    await schema.bring_up_as_owner(load(OwnerSettings))


def main() -> None:
    """Entry point."""
    match sys.argv[1:] or ["serve"]:
        case ["serve"]:
            run(load(FactorySettings).processes, serve)
        case ["work"]:
            run(1, work)
        case ["migrate"]:
            run(1, migrate)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
