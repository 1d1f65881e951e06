"""`python -m admin [serve | migrate | create EMAIL NAME PASSWORD_FILE]`; the file may be `-` for standard input."""

import sys
from functools import partial
from pathlib import Path

import uvloop

from admin.config import AdminSettings, CreateSettings
from admin.store import MIGRATIONS
from mesh.config import OwnerSettings, load
from mesh.migrate import migrate_as_owner
from mesh.processes import run, run_one
from mesh.telemetry import configure, serve_metrics


async def serve(index: int) -> None:
    """The gRPC server."""
    from admin.assembly import serve as run_server

    configure(settings := load(AdminSettings), "admin")
    serve_metrics(settings.metrics_host, settings.metrics_port and settings.metrics_port + index)
    await run_server(settings)


async def create(email: str, name: str, password: str, _index: int) -> None:
    """An admin."""
    from admin.assembly import create as make

    configure(settings := load(CreateSettings), "admin")
    user = await make(settings, email=email, name=name, password=password)
    sys.stdout.write(f"{user.user_id}\n")


def main() -> None:
    """Entry point."""
    match sys.argv[1:] or ["serve"]:
        case ["serve"]:
            run(load(AdminSettings).processes, serve)
        case ["migrate"]:
            uvloop.run(migrate_as_owner(load(OwnerSettings), schema="admin", folder=MIGRATIONS))
        case ["create", email, name, file]:
            password = (sys.stdin.read() if file == "-" else Path(file).read_text()).rstrip("\n")
            sys.exit(run_one(partial(create, email, name, password), 0))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
