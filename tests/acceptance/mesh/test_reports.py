"""Looks, reports and streams of scans through the edge, and the documents' own examples of them, run as they stand."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from voketag.factory.v1 import factory_pb2

from tests.meshes import ROOT, Mesh

pytestmark = pytest.mark.xdist_group("mesh")
Batch = factory_pb2.CreateBatchResponse
CLIENTS = (ROOT / "docs" / "clients.md").read_text()


def example(heading: str, language: str) -> str:
    """The one example in this language under a heading of docs/clients.md."""
    section = CLIENTS.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    [code] = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(code)


def shell(mesh: Mesh, code: str, token: str) -> Any:
    environment = {"PATH": os.environ["PATH"], "EDGE": mesh.edge, "TOKEN": token}
    done = subprocess.run(["bash", "-euc", code], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_documented_look_counts_nothing(mesh: Mesh, batch: Batch) -> None:
    code, token = example("Anyone: look without counting", "sh"), batch.products[8].token
    before = mesh.verify(token).json["scanCount"]
    looked = shell(mesh, code, token)
    assert (looked["verdict"], looked["scanCount"]) == ("VERDICT_GENUINE_CODE", before)
    assert "firstScan" not in looked
    assert mesh.verify(token).json["scanCount"] == before + 1


def test_the_documented_report_gives_a_case(mesh: Mesh, batch: Batch) -> None:
    code = example("Anyone: report what looks wrong", "sh")
    case_id = shell(mesh, code, batch.products[8].token)["caseId"]
    assert UUID(case_id).version == 7
    assert shell(mesh, code, batch.products[8].token)["caseId"] == case_id
    fields = {"requestId": str(uuid4()), "text": "x", "kind": "FRAUD_KIND_OTHER", "token": batch.products[8].token}
    again = mesh.ask("POST", "/api/fraud/report", json.dumps(fields).encode())
    assert (again.status, again.json) == (200, {"caseId": case_id})
    reused = mesh.ask("POST", "/api/fraud/report", json.dumps(fields | {"text": "y"}).encode())
    assert (reused.status, reused.reason) == (400, "REQUEST_ID_REUSED")


def test_the_documented_stream_scans_a_file(mesh: Mesh, api_key: str, tmp_path: Path) -> None:
    forged = "0" * 50
    tokens = [product.token for product in mesh.order(api_key, 10).products]
    (tmp_path / "tokens").write_text("\n".join([*tokens, forged, "nonsense"]))
    code = example("Warehouses and marketplaces: thousands of codes on one stream", "python")
    command = [sys.executable, "-c", code, mesh.edge.removeprefix("http://"), str(tmp_path / "tokens")]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    said = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert {said[token][0] for token in tokens} == {"VERDICT_GENUINE_CODE"}
    assert said[forged] == ["VERDICT_UNKNOWN_CODE", "0"]
    assert said["nonsense"] == ["is", "no", "token"]


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/api/tag/nonsense", 400, "TOKEN_MALFORMED"),
        ("/api/tag/" + "0" * 200, 400, "VALIDATION_FAILED"),
        ("/api/tag/", 404, "REQUEST_REFUSED"),
        ("/api/tag/a/b", 404, "REQUEST_REFUSED"),
        ("/api/tag/nonsense?x=1", 400, "REQUEST_REFUSED"),
    ],
)
def test_wrong_looks_are_refused(mesh: Mesh, path: str, status: int, reason: str) -> None:
    answer = mesh.ask("GET", path)
    assert (answer.status, answer.reason) == (status, reason)


def test_wrong_reports_are_refused_and_cost_no_case(mesh: Mesh) -> None:
    def refused(body: bytes, kind: str = "application/json") -> tuple[int, str]:
        answer = mesh.ask("POST", "/api/fraud/report", body, {"content-type": kind})
        return answer.status, answer.reason

    assert refused(b"{}") == (400, "VALIDATION_FAILED")
    assert refused(b"") == (400, "VALIDATION_FAILED")
    assert refused(b"[") == (400, "REQUEST_REFUSED")
    assert refused(b'{"nope": 1}') == (400, "REQUEST_REFUSED")
    assert refused(b'{"kind": "FRAUD_KIND_NOPE"}') == (400, "REQUEST_REFUSED")
    assert refused(b"text=x", "application/x-www-form-urlencoded") == (415, "REQUEST_REFUSED")
    assert refused(b'{"text": "' + b"x" * 100_000 + b'"}') == (413, "REQUEST_REFUSED")


def test_a_report_s_contact_and_code_are_in_no_log(mesh: Mesh, batch: Batch) -> None:
    secret = f"{uuid4().hex}@example.com"
    fields = {"requestId": str(uuid4()), "text": f"see {secret}", "kind": "FRAUD_KIND_OTHER", "contact": secret}
    fields["token"] = batch.products[9].token
    assert mesh.ask("POST", "/api/fraud/report", json.dumps(fields).encode()).status == 200
    for log in (mesh.home / "logs").iterdir():
        assert secret not in log.read_text(errors="replace"), log.name
        assert fields["token"] not in log.read_text(errors="replace"), log.name
