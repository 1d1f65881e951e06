"""`voketag verify` from the command line: receipts with evidence beside the chain, proofs that scans were logged."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner

from mesh.cli.verify import verify
from tests.unit.trust.ledgers import ORIGIN, SIGNER, event
from tests.unit.trust.vectors import load, named
from trust.checkpoint import Checkpoint, sign_checkpoint
from trust.ledger import entry_bytes
from trust.logproof import LogProof
from trust.merkle import leaf_hash
from trust.note import Verifier

VECTORS = load("evidence")
VALID = named(VECTORS["valid"])
MUTATIONS = named(VECTORS["mutations"])
PROOFS = load("logproof")
PROOF = PROOFS["valid"][0]
STAMPED = VALID["a time stamp"]["text"]


def run(folder: Path, text: str, authority: str | None = None) -> tuple[int, str]:
    (folder / "receipt.json").write_text(text)
    arguments = [str(folder / "receipt.json")]
    if authority is not None:
        (folder / "authority.pem").write_text(authority)
        arguments += ["--tsa", str(folder / "authority.pem")]
    result = CliRunner().invoke(verify, arguments)
    return result.exit_code, result.output


def test_a_time_stamp_is_checked_with_its_authoritys_certificate(tmp_path: Path) -> None:
    status, said = run(tmp_path, STAMPED, VECTORS["authority"])
    assert status == 0
    assert f"✓ evidence_1: a time-stamp authority had the anchor root at {VECTORS['time']}" in said


def test_without_a_certificate_it_is_not_checked(tmp_path: Path) -> None:
    status, said = run(tmp_path, STAMPED)
    assert status == 0
    assert "– evidence_1: a time stamp, which needs its authority's certificate" in said


@pytest.mark.parametrize("name", [name for name, mutation in MUTATIONS.items() if mutation["result"] == "stamp"])
def test_a_false_time_stamp_is_refused(tmp_path: Path, name: str) -> None:
    status, said = run(tmp_path, MUTATIONS[name]["text"], VECTORS["authority"])
    assert status == 1
    assert "✗ evidence_" in said


@pytest.mark.parametrize(
    "authority", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate(tmp_path: Path, authority: str) -> None:
    assert run(tmp_path, STAMPED, authority)[0] == 2


def proved(folder: Path, text: str, *keys: str) -> tuple[int, str]:
    (folder / "scan.tlog-proof").write_text(text)
    options = [part for key in keys for part in ("--key", key)]
    result = CliRunner().invoke(verify, [str(folder / "scan.tlog-proof"), *options])
    return result.exit_code, result.output


@pytest.mark.parametrize("case", PROOFS["valid"], ids=lambda case: case["name"])
def test_a_logged_scan_is_told_with_what_the_log_says_of_it(tmp_path: Path, case: dict[str, Any]) -> None:
    status, said = proved(tmp_path, case["text"], *PROOFS["keys"])
    assert status == 0
    assert f"✓ entry {case['index']} of {case['size']} that voketag.test/ledger has signed: scan" in said
    assert str(UUID(case["event_id"])) in said
    assert str(UUID(case["product_id"])) in said
    assert f"verdict {case['verdict']}, risk {case['risk_total']}" in said


@pytest.mark.parametrize("case", PROOFS["mutations"], ids=lambda case: case["name"])
def test_a_changed_proof_is_refused(tmp_path: Path, case: dict[str, Any]) -> None:
    status, said = proved(tmp_path, case["text"], *PROOFS["keys"])
    assert status in {1, 2}
    assert "✓" not in said


def test_a_proof_says_nothing_without_the_logs_own_key(tmp_path: Path) -> None:
    other = "voketag.test/ledger+b74f1d2a+AUZ0"
    assert proved(tmp_path, PROOF["text"])[0] == 2
    assert proved(tmp_path, PROOF["text"], "no key")[0] == 2
    assert proved(tmp_path, PROOF["text"], other)[0] == 2
    stranger = Verifier("voketag.test/ledger", bytes(32)).to_text()
    assert proved(tmp_path, PROOF["text"], stranger) == (
        1,
        "✗ The proof is refused: no known key has signed the note\n",
    )
    assert proved(tmp_path, PROOF["text"], stranger, *PROOFS["keys"])[0] == 0


def test_what_a_log_signs_and_is_no_scan_is_told(tmp_path: Path) -> None:
    for entry, status in ((b"audit", 2), (entry_bytes(bytes(32), event(1)._replace(time_ms=(1 << 64) - 1)), 1)):
        checkpoint = sign_checkpoint(Checkpoint(ORIGIN, 1, leaf_hash(entry)), SIGNER)
        text = LogProof(entry, 0, (), checkpoint).to_bytes().decode()
        assert proved(tmp_path, text, SIGNER.verifier.to_text())[0] == status
