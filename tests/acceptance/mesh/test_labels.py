"""Codes for everybody and labels for a factory, through Envoy and by command."""

import zipfile
from pathlib import Path

import pytest
from voketag.factory.v1 import factory_pb2

from tests import scanner
from tests.meshes import Mesh, voketag

pytestmark = pytest.mark.xdist_group("mesh")
Batch = factory_pb2.CreateBatchResponse
MEDIA_TYPES = {"": "image/svg+xml", "QR_FORMAT_SVG": "image/svg+xml", "QR_FORMAT_PNG": "image/png"}


@pytest.mark.parametrize("form", MEDIA_TYPES)
@pytest.mark.parametrize("level", ["", "ERROR_LEVEL_L", "ERROR_LEVEL_Q", "ERROR_LEVEL_H"])
def test_code_by_get(mesh: Mesh, batch: Batch, form: str, level: str) -> None:
    product = batch.products[3]
    query = "&".join(f"{name}={value}" for name, value in (("format", form), ("errorLevel", level)) if value)
    answer = mesh.ask("GET", f"/qrcode/{product.token}{'?' if query else ''}{query}")
    assert answer.status == 200
    assert answer.headers["content-type"] == MEDIA_TYPES[form]
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    read = scanner.only((scanner.png if "PNG" in form else scanner.svg)(answer.body))
    assert (read.text, read.ec_level) == (product.url, level[-1:] or "M")


def test_size_of_a_code(mesh: Mesh, batch: Batch) -> None:
    for scale, dots in ((0, 164), (1, 41), (20, 820)):
        answer = mesh.ask("GET", f"/qrcode/{batch.products[0].token}?format=QR_FORMAT_PNG&scale={scale}")
        assert scanner.png(answer.body).size == (dots, dots)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nope", "TOKEN_MALFORMED"),
        ("{lower}", "TOKEN_MALFORMED"),
        ("{token}?scale=21", "VALIDATION_FAILED"),
        ("{token}?errorLevel=9", "REQUEST_REFUSED"),
    ],
)
def test_broken_questions(mesh: Mesh, batch: Batch, path: str, reason: str) -> None:
    token = batch.products[0].token
    answer = mesh.ask("GET", "/qrcode/" + path.format(token=token, lower=token.lower()))
    assert (answer.status, answer.reason) == (400, reason)
    assert answer.headers["content-type"] == "application/json"
    assert "cache-control" not in answer.headers


def test_labels_by_command(mesh: Mesh, api_key: str, batch: Batch, tmp_path: Path) -> None:
    key = tmp_path / "key.txt"
    key.write_text(api_key)
    urls = [product.url for product in batch.products]
    zipped, paged = tmp_path / "labels.zip", tmp_path / "labels.pdf"
    common = ("labels", batch.batch.batch_id, "--api-key-file", str(key))
    done = voketag(mesh.home, *common, "--format", "zip", "--level", "q", "--out", str(zipped))
    assert done.returncode == 0, done.stderr
    assert f"10 labels in {zipped}" in done.stdout
    with zipfile.ZipFile(zipped) as opened:
        codes = [scanner.only(scanner.svg(opened.read(name))) for name in opened.namelist()]
    assert [code.text for code in codes] == urls
    assert {code.ec_level for code in codes} == {"Q"}
    page = ("--columns", "2", "--rows", "3", "--margin-mm", "15", "--code-mm", "40", "--first", "1", "--count", "8")
    done = voketag(mesh.home, *common, "--format", "pdf", "--out", str(paged), *page)
    assert done.returncode == 0, done.stderr
    pages = [[code.text for code in scanner.read(image)] for image, _ in scanner.pdf(paged.read_bytes())]
    assert pages == [urls[1:7], urls[7:9]]


def test_command_that_fails_leaves_no_file(mesh: Mesh, batch: Batch, tmp_path: Path) -> None:
    out = tmp_path / "labels.pdf"
    done = voketag(mesh.home, "labels", batch.batch.batch_id, "--format", "pdf", "--out", str(out))
    assert done.returncode == 1
    assert "There is no batch" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
