"""`python -m scan [serve | journal | migrate]`."""

import asyncio
import sys
from pathlib import Path

from mesh import processes, telemetry
from mesh.config import OwnerSettings, load
from mesh.migrate import migrate_as_owner
from scan import assembly, writing
from scan.config import JournalSettings, ScanSettings
from scan.judging import Judging
from scan.ledger import Ledger
from trust.keyring import Keyring

MIGRATIONS = Path(__file__).parent / "migrations"


async def serve(index: int) -> None:
    """One process of the server."""
    settings = load(ScanSettings)
    telemetry.configure(settings, "scan")
    keyring = Keyring.from_json(settings.keyring.get_secret_value())
    telemetry.serve_metrics(settings.metrics_host, settings.metrics_port and settings.metrics_port + index)
    await assembly.serve(settings, keyring)


async def journal(_index: int) -> None:
    """The writer of the journal."""
    settings = load(JournalSettings)
    telemetry.configure(settings, "scan")
    telemetry.serve_metrics(settings.metrics_host, settings.metrics_port)
    await writing.journal(settings, Ledger(settings.ledger_origin), Judging(settings.weights))


def main() -> None:
    """Entry point."""
    match sys.argv[1:] or ["serve"]:
        case ["serve"]:
            processes.run(load(ScanSettings).processes, serve)
        case ["journal"]:
            processes.run(1, journal)
        case ["migrate"]:
            asyncio.run(migrate_as_owner(load(OwnerSettings), schema="scan", folder=MIGRATIONS))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
