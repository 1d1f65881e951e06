"""Files in and out by the command line, through Envoy."""

import csv
import json
import re
from pathlib import Path

import pytest

from tests.meshes import Mesh, voketag

pytestmark = pytest.mark.xdist_group("mesh")


def test_command_line_imports_and_exports(mesh: Mesh, tmp_path: Path) -> None:
    table = tmp_path / "azeite.csv"
    table.write_text(
        'gtin;name;cor\n7899000000003;"Azeite; ""extra""";verde\n123;Broken;azul\n;=SUM(A1);\n', encoding="utf-8-sig"
    )
    dry = voketag(mesh.home, "import", "--csv", str(table), "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "3 rows read, 1 refused" in dry.stdout
    assert "azeite.csv:3, gtin: '123' is not a GTIN" in dry.stdout
    assert "nothing was issued" in dry.stdout
    nothing = voketag(mesh.home, "import", "--csv", str(table), "--all-or-nothing")
    assert nothing.returncode == 1
    assert "nothing was issued" in nothing.stdout
    done = voketag(mesh.home, "import", "--csv", str(table), "--name", "Safra")
    assert done.returncode == 0, done.stderr
    assert "2 products issued" in done.stdout
    found = re.search(r"batch ([0-9a-f-]{36})", done.stdout)
    assert found
    out = tmp_path / "out.csv"
    assert voketag(mesh.home, "export", found[1], "--out", str(out)).returncode == 0
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["gtin"], row["name"]) for row in rows] == [
        ("7899000000003", 'Azeite; "extra"'),
        ("", "'=SUM(A1)"),
    ]
    verdict = mesh.verify(rows[0]["token"]).json
    assert verdict["product"]["attributes"] == {"gtin": "7899000000003", "name": 'Azeite; "extra"', "cor": "verde"}
    lines = tmp_path / "out.jsonl"
    assert voketag(mesh.home, "export", found[1], "--format", "jsonl", "--out", str(lines)).returncode == 0
    assert [json.loads(line)["token"] for line in lines.read_text().splitlines()] == [row["token"] for row in rows]


def test_command_line_says_what_is_wrong(mesh: Mesh, tmp_path: Path) -> None:
    table, out = tmp_path / "p.csv", tmp_path / "out.csv"
    table.write_text('gtin,name\n,"open\n')
    done = voketag(mesh.home, "import", "--csv", str(table))
    assert done.returncode == 1
    assert "Line 2 of the file: a quote is never closed" in done.stderr
    done = voketag(mesh.home, "export", "0190a000-0000-7000-8000-000000000000", "--out", str(out))
    assert done.returncode == 1
    assert "There is no batch" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [table]
