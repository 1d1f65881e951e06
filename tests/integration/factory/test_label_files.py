"""Codes and files of labels from a real server over a real database, read back by a decoder that is none of ours."""

import io
import tracemalloc
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from voketag.factory.v1 import factory_pb2, label_pb2, label_pb2_grpc

from tests import scanner
from tests.fakes.final_anchor import FinalAnchor
from tests.integration.factory.world import URL_PREFIX, Customer, Door, Ground, Import, reason_of, rows, working

pytestmark = pytest.mark.asyncio(loop_scope="module")
PIECE_BYTES = 1 << 20


@asynccontextmanager
async def label_stub(door: Door) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(door.target) as channel:
        yield label_pb2_grpc.LabelServiceStub(channel)


async def labels(customer: Customer, batch_id: str, form: Any, **more: Any) -> bytes:
    """The whole file, whose pieces are looked at on the way."""
    file, drawn = io.BytesIO(), 0
    request = label_pb2.MakeLabelsRequest(batch_id=batch_id, format=form, **more)
    async with label_stub(customer.door) as stub:
        async for piece in stub.MakeLabels(request, metadata=(("x-api-key", customer.key),)):
            assert len(piece.data) <= PIECE_BYTES
            assert drawn <= piece.drawn <= piece.label_count
            drawn = piece.drawn
            file.write(piece.data)
    assert drawn == piece.label_count > 0
    return file.getvalue()


async def tokens_of(customer: Customer, batch_id: str) -> list[str]:
    return [product.token for product in await customer.products(batch_id)]


async def refused(customer: Customer, batch_id: str, **more: Any) -> str:
    more.setdefault("format", label_pb2.LABEL_FORMAT_PDF)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await labels(customer, batch_id, more.pop("format"), **more)
    return reason_of(error.value)


async def test_code_needs_no_key_and_is_kept_for_ever(customer: Customer) -> None:
    token = (await customer.order(1, return_products=True)).products[0].token
    async with label_stub(customer.door) as stub:
        for form, media_type, image in (
            (label_pb2.QR_FORMAT_UNSPECIFIED, "image/svg+xml", scanner.svg),
            (label_pb2.QR_FORMAT_SVG, "image/svg+xml", scanner.svg),
            (label_pb2.QR_FORMAT_PNG, "image/png", scanner.png),
        ):
            for level in label_pb2.ErrorLevel.values():
                request = label_pb2.GetQrCodeRequest(token=token, format=form, error_level=level, scale=3)
                call = stub.GetQrCode(request, timeout=10)
                body: HttpBody = await call
                assert dict(await call.initial_metadata())["cache-control"] == "public, max-age=31536000, immutable"
                assert body.content_type == media_type
                read = scanner.only(image(body.data))
                assert (read.text, read.ec_level) == (URL_PREFIX + token, "MLMQH"[level])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"token": "nope"}, "TOKEN_MALFORMED"),
        ({"token": "U" * 50}, "TOKEN_MALFORMED"),
        ({"token": ""}, "VALIDATION_FAILED"),
        ({"token": "0" * 129}, "VALIDATION_FAILED"),
        ({"scale": 21}, "VALIDATION_FAILED"),
        ({"format": 3}, "VALIDATION_FAILED"),
        ({"error_level": 5}, "VALIDATION_FAILED"),
    ],
)
async def test_broken_questions_for_a_code(door: Door, changes: dict[str, Any], reason: str) -> None:
    async with label_stub(door) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.GetQrCode(label_pb2.GetQrCodeRequest(**{"token": "0" * 50, **changes}), timeout=10)
    assert reason_of(error.value) == reason
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "cache-control" not in dict(error.value.initial_metadata() or ())


@pytest.mark.parametrize("level", [label_pb2.ERROR_LEVEL_UNSPECIFIED, label_pb2.ERROR_LEVEL_H])
async def test_zip_has_every_label_in_order(customer: Customer, level: int) -> None:
    batch_id = (await customer.order(450, return_products=True)).batch.batch_id
    tokens = await tokens_of(customer, batch_id)
    data = await labels(customer, batch_id, label_pb2.LABEL_FORMAT_ZIP_SVG, error_level=level)
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.namelist() == [f"{index:07d}.svg" for index in range(450)]
        read = [scanner.only(scanner.svg(opened.read(name))).text for name in opened.namelist()]
    assert read == [URL_PREFIX + token for token in tokens]


async def test_pdf_has_every_label_in_order(customer: Customer) -> None:
    batch_id = (await customer.order(205, return_products=True)).batch.batch_id
    tokens = await tokens_of(customer, batch_id)
    grid = label_pb2.LabelGrid(columns=6, rows=9, margin_mm=7)
    data = await labels(customer, batch_id, label_pb2.LABEL_FORMAT_PDF, grid=grid)
    pages = list(scanner.pdf(data))
    assert len(pages) == 4
    assert [code.text for image, _ in pages for code in scanner.read(image)] == [URL_PREFIX + t for t in tokens]
    assert "".join("".join(text.split()) for _, text in pages) == "".join(tokens)


@pytest.mark.parametrize(("first", "most", "count"), [(0, 3, 3), (7, 0, 3), (9, 5, 1), (2, 4, 4)])
async def test_part_of_a_batch(customer: Customer, first: int, most: int, count: int) -> None:
    batch_id = (await customer.order(10, return_products=True)).batch.batch_id
    wanted = (await tokens_of(customer, batch_id))[first : first + count]
    part = {"first_index": first, "max_labels": most}
    data = await labels(customer, batch_id, label_pb2.LABEL_FORMAT_ZIP_SVG, **part)
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.namelist() == [f"{index:07d}.svg" for index in range(first, first + count)]
        read = [scanner.only(scanner.svg(opened.read(name))).text for name in opened.namelist()]
    assert read == [URL_PREFIX + token for token in wanted]
    ((image, _),) = scanner.pdf(await labels(customer, batch_id, label_pb2.LABEL_FORMAT_PDF, **part))
    assert [code.text for code in scanner.read(image)] == [URL_PREFIX + token for token in wanted]


async def test_another_tenants_batch_answers_like_none(customer: Customer) -> None:
    batch_id = (await customer.order(1, return_products=True)).batch.batch_id
    async with customer.door.customer("Other") as other:
        assert await refused(other, batch_id) == await refused(other, str(uuid4())) == "BATCH_NOT_FOUND"
        wrong = {"format": label_pb2.LABEL_FORMAT_ZIP_SVG, "first_index": 5}
        assert await refused(other, batch_id, **wrong) == "BATCH_NOT_FOUND"
    async with label_stub(customer.door) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.MakeLabels(
                label_pb2.MakeLabelsRequest(batch_id=batch_id, format=label_pb2.LABEL_FORMAT_PDF)
            ).read()
    assert reason_of(error.value) == "CREDENTIALS_MISSING"


async def test_labels_of_a_batch_that_is_not_whole_or_cancelled_are_refused(customer: Customer) -> None:
    waiting = (await customer.order(10)).batch.batch_id
    assert await refused(customer, waiting) == "BATCH_STATE_CONFLICT"
    opened = await Import(customer).open()
    await opened.chunk(0, rows(2))
    assert await refused(customer, opened.batch_id) == "BATCH_STATE_CONFLICT"
    await opened.end(2)
    await labels(customer, opened.batch_id, label_pb2.LABEL_FORMAT_PDF)
    request = factory_pb2.CancelBatchRequest(request_id=str(uuid4()), batch_id=opened.batch_id)
    await customer.stub.CancelBatch(request, timeout=10)
    assert await refused(customer, opened.batch_id) == "BATCH_STATE_CONFLICT"


@pytest.mark.parametrize(
    "more",
    [
        {"format": label_pb2.LABEL_FORMAT_UNSPECIFIED},
        {"format": 3},
        {"first_index": 2},
        {"grid": {"columns": 21}},
        {"grid": {"rows": 31}},
        {"grid": {"margin_mm": 50.5}},
        {"grid": {"code_mm": 9}},
        {"grid": {"code_mm": 100}},
        {"grid": {"columns": 20, "rows": 30}},
        {"error_level": 5},
    ],
)
async def test_broken_orders_of_labels(customer: Customer, more: dict[str, Any]) -> None:
    batch_id = (await customer.order(2, return_products=True)).batch.batch_id
    assert await refused(customer, batch_id, **more) == "VALIDATION_FAILED"


async def test_large_batch(ground: Ground, anchor: FinalAnchor, customer: Customer) -> None:
    """A PDF has a limit; a ZIP has none, since nothing of it is kept."""
    batch_id = (await customer.order(10_001)).batch.batch_id
    async with working(ground, anchor):
        await customer.reached(batch_id, factory_pb2.BATCH_STATE_COMPLETED)
    assert await refused(customer, batch_id) == "VALIDATION_FAILED"
    _, small = await size_and_peak(customer, batch_id, 400)
    size, large = await size_and_peak(customer, batch_id, 1600)
    assert large - small < size / 2, "kept, 1,200 labels more would be three quarters of it"


async def size_and_peak(customer: Customer, batch_id: str, count: int) -> tuple[int, int]:
    """Bytes of a ZIP, and bytes allocated at the peak while it was made and read."""
    form, drawn, size = label_pb2.LABEL_FORMAT_ZIP_SVG, 0, 0
    request = label_pb2.MakeLabelsRequest(batch_id=batch_id, format=form, max_labels=count)
    tracemalloc.start()
    try:
        async with label_stub(customer.door) as stub:
            async for piece in stub.MakeLabels(request, metadata=(("x-api-key", customer.key),)):
                drawn, size = piece.drawn, size + len(piece.data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert drawn == count
    return size, peak
