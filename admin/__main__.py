"""`python -m admin [serve | work | migrate | create EMAIL NAME FILE | audit OPTIONS | audit-key | new-audit-key]`.

The file holds a password; `-` is standard input.
"""

import sys
from functools import partial
from pathlib import Path

import uvloop

from admin import auditing
from admin.config import AdminSettings, AuditSettings, CreateSettings, LogKeySettings, LogNameSettings, WorkerSettings
from admin.schema import bring_up_as_owner
from mesh.config import OwnerSettings, load
from mesh.processes import run, run_one
from mesh.telemetry import configure, serve_metrics
from trust.note import Signer


async def serve(index: int) -> None:
    """The gRPC server."""
    from admin.assembly import serve as run_server

    configure(settings := load(AdminSettings), "admin")
    serve_metrics(settings.metrics_host, settings.metrics_port and settings.metrics_port + index)
    await run_server(settings)


async def work(_index: int) -> None:
    """The worker."""
    from admin.file_assembly import work as run_worker

    configure(settings := load(WorkerSettings), "admin")
    serve_metrics(settings.metrics_host, settings.metrics_port)
    await run_worker(settings)


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
        case ["work"]:
            run(1, work)
        case ["migrate"]:
            uvloop.run(bring_up_as_owner(load(OwnerSettings)))
        case ["create", email, name, file]:
            password = (sys.stdin.read() if file == "-" else Path(file).read_text()).rstrip("\n")
            sys.exit(run_one(partial(create, email, name, password), 0))
        case ["audit", *arguments]:
            configure(settings := load(AuditSettings), "admin")
            sys.exit(uvloop.run(auditing.look(settings, arguments)))
        case ["audit-key"]:
            sys.stdout.write(load(LogKeySettings).audit_signer.verifier.to_text() + "\n")
        case ["new-audit-key"]:
            sys.stdout.write(Signer.generate(load(LogNameSettings).audit_origin).to_text() + "\n")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
