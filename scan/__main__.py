"""`python -m scan [serve | journal | migrate | audit OPTIONS | replay OPTIONS | ledger-key | new-ledger-key]`.

The keys of checkpoints: `new-ledger-key` prints a new one, a secret; `ledger-key` the public half of the one in use.
"""

import asyncio
import sys
from pathlib import Path
from types import ModuleType

import structlog

from mesh import processes, telemetry
from mesh.auditor import NOT_AUDITED, AuditError
from mesh.config import OwnerSettings, load
from mesh.errors import DependencyUnavailable
from mesh.ledger import Ledger
from mesh.migrate import migrate_as_owner
from scan import assembly, auditing, replaying, writing
from scan.config import AuditSettings, JournalSettings, KeySettings, RecordSettings, ScanSettings
from scan.judging import Judging
from scan.replaying import ReplayError
from trust.keyring import Keyring
from trust.note import Signer

log = structlog.get_logger()
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


async def look(command: ModuleType, arguments: list[str]) -> int:
    """The exit status of a command that reads the journal."""
    asked, settings = command.options(arguments), load(AuditSettings)
    telemetry.configure(settings, "scan")
    try:
        return int(await command.run(settings, asked))
    except (AuditError, ReplayError, DependencyUnavailable) as error:
        sys.stderr.write(f"{error}\n")
    except Exception:
        log.exception("the journal cannot be read")  # an uncaught one would end with the status of an audit's findings
    return NOT_AUDITED


def main() -> None:
    """Entry point."""
    match sys.argv[1:] or ["serve"]:
        case ["serve"]:
            processes.run(load(ScanSettings).processes, serve)
        case ["journal"]:
            processes.run(1, journal)
        case ["migrate"]:
            asyncio.run(migrate_as_owner(load(OwnerSettings), schema="scan", folder=MIGRATIONS))
        case ["audit" | "replay" as name, *arguments]:
            sys.exit(asyncio.run(look({"audit": auditing, "replay": replaying}[name], arguments)))
        case ["ledger-key"]:
            sys.stdout.write(load(KeySettings).ledger_signer.verifier.to_text() + "\n")
        case ["new-ledger-key"]:
            sys.stdout.write(Signer.generate(load(RecordSettings).ledger_origin).to_text() + "\n")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
