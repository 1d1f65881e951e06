"""ImportCsv and ExportProducts through a real server."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any
from uuid import uuid4

import grpc
import pytest
from voketag.factory.v1 import factory_pb2, table_pb2, table_pb2_grpc

from factory.exports import COLUMNS
from tests.integration.factory.world import (
    URL_PREFIX,
    Customer,
    Ground,
    eventually,
    metadata_of,
    reason_of,
    verify_batch,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

Request = table_pb2.ImportCsvRequest
HEADER = b"sku,gtin,name\n"
CSV, JSON_LINES = table_pb2.EXPORT_FORMAT_CSV, table_pb2.EXPORT_FORMAT_JSON_LINES


def frames(pieces: Iterable[bytes], **header: Any) -> Iterable[Request]:
    fields = {"request_id": str(uuid4()), "name": "table", **header}
    return [Request(header=table_pb2.CsvHeader(**fields)), *(Request(data=piece) for piece in pieces)]


async def send(customer: Customer, requests: Iterable[Request]) -> table_pb2.ImportCsvResponse:
    async with grpc.aio.insecure_channel(customer.door.target) as channel:
        stub: Any = table_pb2_grpc.TableServiceStub(channel)
        answer: table_pb2.ImportCsvResponse = await stub.ImportCsv(
            iter(requests), metadata=(("x-api-key", customer.key),), timeout=30
        )
        return answer


async def imported(customer: Customer, *pieces: bytes, **header: Any) -> table_pb2.ImportCsvResponse:
    return await send(customer, frames(pieces, **header))


async def refused(customer: Customer, *pieces: bytes, **header: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await imported(customer, *pieces, **header)
    return error.value


async def exported(customer: Customer, batch_id: str, form: Any = CSV) -> bytes:
    async with grpc.aio.insecure_channel(customer.door.target) as channel:
        stub: Any = table_pb2_grpc.TableServiceStub(channel)
        request = table_pb2.ExportProductsRequest(batch_id=batch_id, format=form)
        pieces = [
            response.data
            async for response in stub.ExportProducts(request, metadata=(("x-api-key", customer.key),), timeout=30)
        ]
    assert all(len(piece) <= 1024 * 1024 for piece in pieces)
    return b"".join(pieces)


def read_csv(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(b"S-%d,4006381333931,Shoe %d\n" % (number, number) for number in range(first, first + count))


async def states(ground: Ground, customer: Customer) -> list[str]:
    async with ground.owner() as owner:
        rows = await owner.fetch("SELECT state FROM batches WHERE factory_id = $1", customer.factory_id)
    return [row["state"] for row in rows]


async def test_file_becomes_products_and_comes_out_again(ground: Ground, customer: Customer) -> None:
    data = '\ufeffGTIN;Name;colour\r\n4006381333931;"Läufer ""9"";\r\nblau";=red\r\n\r\n;Ohne;\r\n'.encode()
    answer = await imported(customer, *(bytes((byte,)) for byte in data), template={"brand": "Voke"})
    assert (answer.row_count, answer.refused_count, len(answer.errors)) == (2, 0, 0)
    assert answer.batch.state == factory_pb2.BATCH_STATE_PENDING
    products = await customer.products(answer.batch.batch_id)
    assert [dict(product.attributes) for product in products] == [
        {"gtin": "4006381333931", "name": 'Läufer "9"; blau', "colour": "=red", "brand": "Voke"},
        {"name": "Ohne", "brand": "Voke"},
    ]
    verify_batch(ground, answer.batch, products)
    rows = read_csv(await exported(customer, answer.batch.batch_id))
    assert tuple(rows[0]) == COLUMNS
    for row, product in zip(rows, products, strict=True):
        assert (row["index"], row["product_id"], row["state"]) == (str(product.index), product.product_id, "CREATED")
        assert (row["token"], row["url"]) == (product.token, URL_PREFIX + product.token)
    assert rows[0]["name"] == 'Läufer "9"; blau'
    assert json.loads(rows[0]["attributes"]) == {"brand": "Voke", "colour": "=red"}
    objects = [json.loads(line) for line in (await exported(customer, answer.batch.batch_id, JSON_LINES)).splitlines()]
    assert [line["attributes"] for line in objects] == [dict(product.attributes) for product in products]
    assert [(line["index"], line["token"], line["url"], line["product_id"], line["state"]) for line in objects] == [
        (product.index, product.token, product.url, product.product_id, "CREATED") for product in products
    ]


async def test_many_rows_go_in_and_out_by_pages(ground: Ground, customer: Customer) -> None:
    data = HEADER + lines(5001)
    answer = await imported(customer, *(data[start : start + 10_007] for start in range(0, len(data), 10_007)))
    assert (answer.row_count, answer.batch.product_count) == (5001, 5001)
    rows = read_csv(await exported(customer, answer.batch.batch_id))
    assert [(row["index"], row["sku"]) for row in rows] == [(str(number), f"S-{number}") for number in range(5001)]
    verify_batch(ground, answer.batch, await customer.products(answer.batch.batch_id))


async def test_bad_rows_are_named_and_the_others_go_on(customer: Customer) -> None:
    answer = await imported(
        customer,
        b"sku;gtin;name;note\n"
        b"a;4006381333931;ok;\n"
        b"b;4006381333932;ok;\n"
        b'c;;"bell \x07";\n'
        b'd;;"two\nlines";\n'
        b"e;;;;surplus\n"
        b";;;\n"
        b"f;;" + b"x" * 301 + b";\n"
        b"g;;;" + b"y" * 4100 + b"\n",
    )
    assert (answer.row_count, answer.refused_count, answer.batch.issued_count) == (8, 6, 2)
    found = [
        (error.line, error.column, error.value, factory_pb2.RowErrorReason.Name(error.reason)[17:])
        for error in answer.errors
    ]
    assert found == [
        (3, "gtin", "4006381333932", "GTIN"),
        (4, "name", "bell \x07", "TEXT"),
        (7, "", "surplus", "KEY"),
        (8, "", "", "EMPTY"),
        (9, "name", "x" * 100, "TOO_LONG"),
        (10, "note", "y" * 100, "TOO_LONG"),
    ]
    assert answer.errors[2].message == "5 cells for 4 columns"
    assert all(error.message for error in answer.errors)


async def test_first_thousand_errors_are_reported(customer: Customer) -> None:
    answer = await imported(customer, b"sku,gtin\n" + b"a,1\n" * 2500 + b"b,\n")
    assert (answer.row_count, answer.refused_count, len(answer.errors)) == (2501, 2500, 1000)
    assert [error.line for error in answer.errors] == list(range(2, 1002))
    assert answer.batch.product_count == 1


async def test_dry_run_checks_everything_and_issues_nothing(ground: Ground, customer: Customer) -> None:
    data = HEADER + lines(2500) + b"x,1,Broken\n"
    request_id = str(uuid4())
    answer = await imported(customer, data, dry_run=True, request_id=request_id)
    assert (answer.row_count, answer.refused_count, answer.HasField("batch")) == (2501, 1, False)
    assert (answer.errors[0].line, answer.errors[0].column, answer.errors[0].value) == (2502, "gtin", "1")
    error = await refused(customer, HEADER + b'a,,"\n', dry_run=True)
    assert reason_of(error) == "TABLE_MALFORMED"
    error = await refused(customer, data, dry_run=True, template={"gtin": "1"})
    assert reason_of(error) == "VALIDATION_FAILED"
    assert await states(ground, customer) == []
    assert (await imported(customer, data, request_id=request_id)).batch.issued_count == 2500


@pytest.mark.parametrize("header", [{"all_or_nothing": True}, {}])
async def test_nothing_is_issued_when_the_rule_says_so(
    ground: Ground, customer: Customer, header: dict[str, bool]
) -> None:
    good = b"" if not header else lines(1500)
    requests = frames([HEADER + good + b"x,1,Broken\n"], **header)
    answers = [await send(customer, requests) for _ in range(2)]
    assert answers[0] == answers[1]
    assert not answers[0].HasField("batch")
    assert (answers[0].row_count, answers[0].refused_count) == (good.count(b"\n") + 1, 1)
    assert answers[0].errors[0].value == "1"
    assert await states(ground, customer) == ["CANCELLED"]
    # Another file under the same request has nothing to answer by.
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await send(customer, [next(iter(requests)), Request(data=HEADER + lines(3))])
    assert reason_of(error.value) == "BATCH_STATE_CONFLICT"


async def test_doomed_table_is_only_checked(ground: Ground, customer: Customer) -> None:
    data = HEADER + lines(1500) + (b"x,1,Broken\n" + lines(999)) * 40
    pieces = [data[start : start + 100_000] for start in range(0, len(data), 100_000)]
    requests = frames(pieces, all_or_nothing=True)
    answers = [await send(customer, requests) for _ in range(2)]
    assert answers[0] == answers[1]
    assert not answers[0].HasField("batch")
    assert (answers[0].row_count, answers[0].refused_count) == (41_500, 40)
    assert [error.line for error in answers[0].errors] == list(range(1502, 41_502, 1000))
    async with ground.owner() as owner:
        query = "SELECT issued_count FROM batches WHERE factory_id = $1 AND state = 'CANCELLED'"
        issued = await owner.fetchval(query, customer.factory_id)
    # The chunks before the one with the first bad row, that one, and those on their way then.
    assert 1000 <= issued <= 5_000


async def test_all_or_nothing_issues_all(customer: Customer) -> None:
    answer = await imported(customer, HEADER + lines(1500), all_or_nothing=True)
    assert answer.batch.product_count == 1500


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b"", "1", "empty"),
        (b"\xef\xbb\xbf\r\n", "1", "empty"),
        (b"sku,sku\na,b\n", "1", "named twice"),
        (b"4006381333931,Shoe\n4006381333931,Shoe\n", "1", "cannot be the name"),
        (HEADER + b'a,,"open\n', "2", "never closed"),
        (HEADER + b"a,,\xff\n", "2", "not UTF-8"),
    ],
)
async def test_broken_file_opens_no_batch(
    ground: Ground, customer: Customer, data: bytes, line: str, problem: str
) -> None:
    error = await refused(customer, data)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) == "TABLE_MALFORMED"
    assert metadata_of(error)["line"] == line
    assert problem in metadata_of(error)["problem"]
    assert await states(ground, customer) == []


async def test_header_alone_is_an_empty_batch(ground: Ground, customer: Customer) -> None:
    assert reason_of(await refused(customer, HEADER)) == "BATCH_EMPTY"
    assert await states(ground, customer) == []


async def test_file_that_breaks_late_leaves_a_cancelled_batch(ground: Ground, customer: Customer) -> None:
    requests = frames([HEADER + lines(3000) + b"a,,\xff\n"])
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await send(customer, requests)
        assert reason_of(error.value) == "TABLE_MALFORMED"
        assert metadata_of(error.value)["line"] == "3002"
        assert await states(ground, customer) == ["CANCELLED"]


async def broken_off(customer: Customer, requests: Iterable[Request]) -> str:
    """Sends frames, and breaks off when the first chunk is committed: the batch."""

    async def open_ended() -> AsyncIterator[Request]:
        for request in requests:
            yield request
        await asyncio.Event().wait()

    async def committed() -> str:
        page = await customer.stub.ListBatches(factory_pb2.ListBatchesRequest())
        return page.batches[0].batch_id if page.batches and page.batches[0].issued_count else ""

    async with grpc.aio.insecure_channel(customer.door.target) as channel:
        stub: Any = table_pb2_grpc.TableServiceStub(channel)
        call = stub.ImportCsv(open_ended(), metadata=(("x-api-key", customer.key),))
        batch_id = await eventually(committed)
        call.cancel()
        await asyncio.wait([asyncio.ensure_future(call.code())])
    return batch_id


async def test_broken_stream_goes_on_where_it_was_committed(ground: Ground, customer: Customer) -> None:
    data = HEADER + b"x,1,Broken\n" + lines(4999)
    requests = list(frames([data[:50_000], data[50_000:]]))
    batch_id = await broken_off(customer, requests[:2])
    answers = [await send(customer, requests) for _ in range(2)]
    assert answers[0] == answers[1]
    assert (answers[0].row_count, answers[0].refused_count, answers[0].errors[0].line) == (5000, 1, 2)
    assert answers[0].batch.batch_id == batch_id
    products = await customer.products(batch_id)
    assert [product.attributes["sku"] for product in products] == [f"S-{number}" for number in range(4999)]
    verify_batch(ground, answers[0].batch, products)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await send(customer, [requests[0], Request(data=HEADER + lines(3))])
    assert reason_of(error.value) == "SEQUENCE_CONFLICT"
    assert (await customer.batch(answers[0].batch.batch_id)).state == factory_pb2.BATCH_STATE_PENDING


async def test_file_with_more_than_a_million_products_is_cancelled(ground: Ground, customer: Customer) -> None:
    requests = list(frames([HEADER + lines(1002)]))
    batch_id = await broken_off(customer, requests)
    async with ground.owner() as owner:
        # As if 999,999 products had been issued: only the counter and the right edge of the tree are looked at.
        await owner.execute("UPDATE batches SET issued_count = 999999 WHERE batch_id = $1", batch_id)
        await owner.execute("DELETE FROM tiles WHERE batch_id = $1", batch_id)
        for level, index, width in ((0, 3906, 63), (1, 15, 66), (2, 0, 15)):
            await owner.execute("INSERT INTO tiles VALUES ($1, $2, $3, $4)", batch_id, level, index, bytes(32 * width))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await send(customer, requests)
    assert reason_of(error.value) == "BATCH_TOO_LARGE"
    assert (await customer.batch(batch_id)).state == factory_pb2.BATCH_STATE_CANCELLED


async def test_frames_come_in_their_order(customer: Customer) -> None:
    header, data = frames([HEADER + lines(1)])
    for requests in ([], [data], [header, header], [header, data, header]):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await send(customer, requests)
        assert reason_of(error.value) == "STREAM_HEADER_EXPECTED"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await send(customer, [header, Request(data=bytes(1024 * 1024 + 1))])
    assert reason_of(error.value) == "VALIDATION_FAILED"


async def test_another_factorys_batch_is_exported_like_none(customer: Customer) -> None:
    batch_id = (await imported(customer, HEADER + lines(2))).batch.batch_id
    async with customer.door.customer() as other:
        for unknown in (batch_id, str(uuid4())):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await exported(other, unknown)
            assert reason_of(error.value) == "BATCH_NOT_FOUND"
            assert metadata_of(error.value) == {"batch_id": unknown}


async def test_batch_without_products_is_a_header(customer: Customer) -> None:
    batch_id = (await customer.order(5)).batch.batch_id
    assert read_csv(await exported(customer, batch_id)) == []
    assert await exported(customer, batch_id, JSON_LINES) == b""


async def test_products_of_a_template_are_exported(customer: Customer) -> None:
    template = {"name": "=cmd|' /C calc'!A0", "colour": "red"}
    answer = await customer.order(3, template=template, return_products=True)
    rows = read_csv(await exported(customer, answer.batch.batch_id))
    assert [row["token"] for row in rows] == [product.token for product in answer.products]
    assert {row["name"] for row in rows} == {"'=cmd|' /C calc'!A0"}
    data = await exported(customer, answer.batch.batch_id, JSON_LINES)
    assert [json.loads(line)["attributes"] for line in data.splitlines()] == [template] * 3


async def test_pieces_of_large_rows_are_at_most_a_mebibyte(customer: Customer) -> None:
    note = 'x"' * 1000
    batch_id = (await customer.order(1000, template={"note": note}, return_products=True)).batch.batch_id
    rows = read_csv(await exported(customer, batch_id))
    assert [json.loads(row["attributes"]) for row in rows] == [{"note": note}] * 1000


async def test_cancelled_export_and_import_leave_nothing_running(customer: Customer) -> None:
    batch_id = (await imported(customer, HEADER + lines(20_000))).batch.batch_id
    metadata = (("x-api-key", customer.key),)
    async with grpc.aio.insecure_channel(customer.door.target) as channel:
        stub: Any = table_pb2_grpc.TableServiceStub(channel)
        await stub.ExportProducts(
            table_pb2.ExportProductsRequest(batch_id=batch_id, format=CSV), metadata=metadata
        ).read()
        before = len(asyncio.all_tasks())
        for _ in range(5):
            call = stub.ExportProducts(
                table_pb2.ExportProductsRequest(batch_id=batch_id, format=CSV), metadata=metadata
            )
            assert (await call.read()).data
            call.cancel()
            writing = stub.ImportCsv(metadata=metadata)
            for request in frames([HEADER + lines(3000)]):
                await writing.write(request)
            writing.cancel()
            del call, writing

        async def gone() -> bool:
            return len(asyncio.all_tasks()) <= before

        await eventually(gone)
