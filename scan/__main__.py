"""`python -m scan [serve | journal | migrate | audit OPTIONS | ledger-key | new-ledger-key]`.

`new-ledger-key` prints a new signing key of checkpoints, a secret; `ledger-key` the public key of the one configured.
"""

import asyncio
import sys
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh import processes, telemetry
from mesh.auditor import NOT_AUDITED, AuditError
from mesh.config import OwnerSettings, load
from mesh.errors import DependencyUnavailable
from mesh.migrate import migrate_as_owner
from scan import assembly, auditing, writing
from scan.config import AuditSettings, JournalSettings, KeySettings, RecordSettings, ScanSettings
from scan.judging import Judging
from scan.ledger import Ledger
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


async def audit(arguments: list[str]) -> int:
    """The exit status of an audit."""
    asked, settings = auditing.options(arguments), load(AuditSettings)
    telemetry.configure(settings, "scan")
    try:
        return await auditing.run(settings, asked)
    except (AuditError, DependencyUnavailable) as error:
        sys.stderr.write(f"{error}\n")
    except Exception:
        log.exception("the ledger cannot be audited")  # an uncaught one would end with the status of findings
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
        case ["audit", *arguments]:
            sys.exit(asyncio.run(audit(arguments)))
        case ["ledger-key"]:
            sys.stdout.write(load(KeySettings).ledger_signer.verifier.to_text() + "\n")
        case ["new-ledger-key"]:
            signer = Signer(load(RecordSettings).ledger_origin, Ed25519PrivateKey.generate())
            sys.stdout.write(signer.to_text() + "\n")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
