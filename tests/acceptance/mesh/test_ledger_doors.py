"""The ledger through Envoy: a scan is proved up to a block of the chain with what a stranger can fetch."""

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from voketag.factory.v1 import factory_pb2

from mesh.local.environment import Environment
from mesh.local.secrets import Secrets
from tests.acceptance.mesh.test_reports import example
from tests.meshes import ROOT, Answer, Mesh, voketag, wait_until
from trust import merkle
from trust.canonical import SubjectKind, anchor_leaf
from trust.checkpoint import open_checkpoint
from trust.ledger import read_entry
from trust.logproof import LogProof, verify
from trust.note import Verifier

pytestmark = pytest.mark.xdist_group("mesh")


def until(mesh: Mesh, path: str) -> Answer:
    wait_until(lambda: mesh.ask("GET", path).status == 200)
    return mesh.ask("GET", path)


def hashes(values: list[str]) -> list[bytes]:
    return [base64.b64decode(value) for value in values]


def test_a_scan_is_proved_up_to_the_chain(mesh: Mesh, batch: factory_pb2.CreateBatchResponse) -> None:
    token = batch.products[7].token
    scan = mesh.verify(token).json
    found = until(mesh, f"/api/ledger/scan/{token}/{scan['scanId']}")
    assert found.headers["cache-control"] == "no-store"
    key: dict[str, Any] = mesh.ask("GET", "/api/ledger/key").json
    verifiers = [Verifier.from_text(text) for text in key["keys"]]
    proof = found.json["proof"]
    entry, note = base64.b64decode(found.json["entry"]), proof["checkpoint"].encode()
    text = LogProof(entry, int(proof["index"]), tuple(hashes(proof["path"])), note)
    checkpoint = verify(text, verifiers, key["origin"])
    assert read_entry(entry)[1].product_id.hex() == batch.products[7].product_id.replace("-", "")
    assert found.json["tlogProof"].encode() == text.to_bytes()
    assert mesh.ask("GET", f"/api/ledger/checkpoint?size={checkpoint.size}").body == note
    subject = checkpoint.subject_id()
    wait_until(lambda: "proof" in mesh.ask("GET", f"/v1/anchor/{subject}/proof").json)
    anchored = mesh.ask("GET", f"/v1/anchor/{subject}/proof").json["proof"]
    leaf = merkle.leaf_hash(anchor_leaf(SubjectKind.SCAN_LEDGER, subject.bytes, checkpoint.size, checkpoint.root))
    path, root = hashes(anchored["path"]), base64.b64decode(anchored["anchorRoot"])
    assert merkle.verify_inclusion(leaf, int(anchored["index"]), int(anchored["size"]), path, root)


def test_a_proof_is_a_file_that_voketag_verifies(
    mesh: Mesh, batch: factory_pb2.CreateBatchResponse, tmp_path: Path
) -> None:
    token = batch.products[5].token
    scan = mesh.verify(token).json
    proof = until(mesh, f"/api/ledger/scan/{token}/{scan['scanId']}").json["tlogProof"]
    key = mesh.ask("GET", "/api/ledger/key").json["keys"][0]
    file = tmp_path / "scan.tlog-proof"
    for text, status in ((proof, 0), (proof.replace("index ", "index 9"), 1), (proof[:-2], 2)):
        file.write_text(text)
        done = voketag(mesh.home, "verify", str(file), "--key", key)
        assert done.returncode == status, done
        assert (scan["scanId"] in done.stdout) is (status == 0)


def test_the_documented_proof_runs_as_it_stands(mesh: Mesh, batch: factory_pb2.CreateBatchResponse) -> None:
    token = batch.products[9].token
    scan = mesh.verify(token).json
    until(mesh, f"/api/ledger/scan/{token}/{scan['scanId']}")
    code = example("Anyone: was my scan logged, and what was the log when I looked?", "python")
    environment = {"PATH": os.environ["PATH"], "EDGE": mesh.edge, "TOKEN": token, "SCAN_ID": scan["scanId"]}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert f"verdict 1, risk {scan['risk']['total']}," in done.stdout


def test_the_log_lies_where_readers_of_tile_logs_look(mesh: Mesh, batch: factory_pb2.CreateBatchResponse) -> None:
    mesh.verify(batch.products[8].token)
    key = until(mesh, "/api/ledger/key").json
    latest = until(mesh, "/api/ledger/checkpoint")
    assert (latest.headers["content-type"], latest.headers["cache-control"]) == (
        "text/plain; charset=utf-8",
        "no-cache",
    )
    checkpoint = open_checkpoint(latest.body, [Verifier.from_text(text) for text in key["keys"]], key["origin"])
    whole, rest = divmod(checkpoint.size, 256)
    names = [f"{number:03d}" for number in range(whole)] + ([f"{whole:03d}.p/{rest}"] if rest else [])
    tiles = b"".join([mesh.ask("GET", f"/api/ledger/tile/0/{name}").body for name in names])
    assert len(tiles) == 32 * checkpoint.size
    leaves = [tiles[place : place + 32] for place in range(0, len(tiles), 32)]
    assert merkle.root(leaves) == checkpoint.root
    assert mesh.ask("GET", "/api/ledger/tile/0/x001/000").reason == "NOT_LOGGED"
    assert mesh.ask("GET", f"/api/ledger/consistency?from_size=1&to_size={checkpoint.size}").status == 200
    assert mesh.ask("GET", "/api/ledger/consistency?from_size=2&to_size=1").reason == "VALIDATION_FAILED"
    assert mesh.ask("GET", "/api/ledger/inclusion?index=99999999").reason == "NOT_LOGGED"
    assert mesh.ask("GET", "/api/ledger/inclusion?index=-1").reason == "REQUEST_REFUSED"
    assert mesh.ask("GET", "/api/ledger/entries/000").status == 404


def test_a_stranger_audits_it_and_an_operator_too(
    mesh: Mesh, batch: factory_pb2.CreateBatchResponse, tmp_path: Path
) -> None:
    mesh.verify(batch.products[6].token)
    key = until(mesh, "/api/ledger/key").json["keys"][0]
    until(mesh, "/api/ledger/checkpoint")
    options = ("--key", key, "--since", str(tmp_path / "kept"), "--url", mesh.edge)
    for _ in range(2):
        outside = voketag(mesh.home, "audit-ledger", *options)
        assert (outside.returncode, "The ledger is clean." in outside.stdout) == (0, True), outside.stderr
    settings = Environment(mesh.ports, Secrets(mesh.home / "secrets", os.urandom), mesh.home, "").service(
        "scan", port=None, metrics="scan_journal_metrics"
    )
    command = [sys.executable, "-m", "mesh.cli", "audit-ledger", "--key", key]
    environment = {"PATH": os.environ["PATH"], **settings}
    inside = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (inside.returncode, "The ledger is clean." in inside.stdout) == (0, True), inside.stderr
