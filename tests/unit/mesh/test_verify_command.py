"""`voketag verify` from the command line, for receipts with evidence beside the chain."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from mesh.cli.verify import verify
from tests.unit.trust.vectors import load, named

VECTORS = load("evidence")
VALID = named(VECTORS["valid"])
MUTATIONS = named(VECTORS["mutations"])
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
