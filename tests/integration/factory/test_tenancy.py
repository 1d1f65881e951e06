"""Every RPC of the service with another tenant's ids: the whole answer is that for ids which do not exist.

Each case is first asked by whom it belongs to, where it goes well: so the ids are real ones.
"""

import base64
import importlib
import pkgutil
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
import voketag.factory.v1
from google.protobuf import field_mask_pb2, text_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from voketag.factory.v1 import (
    account_pb2,
    account_pb2_grpc,
    factory_pb2,
    label_pb2,
    lifecycle_pb2,
    table_pb2,
    webhook_pb2,
    webhook_pb2_grpc,
)

from factory.minting import Tokens, raw_uuid7
from mesh.policy import SERVICE, policies
from mesh.user_tokens import FACTORY_ROLES
from tests.fakes.people import access_token
from tests.integration.factory.world import Customer, Door

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEEN = error_details_pb2.DESCRIPTOR  # so that the details of a status are printed and not their bytes
NAMES = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # ids
    r"|\b[0-9A-HJKMNP-TV-Z]{50}\b"  # tokens
    r"|(?<=seconds: )\d+|(?<=nanos: )\d+|\n\s+nanos: \d+"  # times
    r"|vk_[a-z2-7]{8}_[\w-]{43}|whsec_[\w+/=]+|whpk_[\w+/=]+"  # keys
)
URL = "https://hooks.example.com/voketag"
ATTRIBUTES = {"sku": "A", "serial": "7"}


@dataclass(frozen=True)
class Ids:
    """Whatever a request can name. `request_id` is that of the case's own mutation."""

    factory_id: str
    key_id: str
    batch_id: str
    pending_id: str
    product_id: str
    token: str
    endpoint_id: str
    delivery_id: str
    page_token: str
    request_id: str


Calls = Sequence[Message]
Case = Callable[[Ids], Calls]


def import_of(ids: Ids) -> Calls:
    frame = factory_pb2.ImportProductsRequest
    return [
        frame(header=factory_pb2.ImportHeader(request_id=ids.request_id, name="import")),
        frame(chunk=factory_pb2.ImportChunk(first_row=0, rows=[factory_pb2.ImportRow(sku="A")])),
        frame(end=factory_pb2.ImportEnd(row_count=1)),
    ]


def csv_of(ids: Ids) -> Calls:
    header = table_pb2.CsvHeader(request_id=ids.request_id, name="file")
    return [table_pb2.ImportCsvRequest(header=header), table_pb2.ImportCsvRequest(data=b"sku\nA\n")]


def change_of(request_id: str, **selection: Any) -> Calls:
    to_state = factory_pb2.PRODUCT_STATE_SHIPPED
    return [lifecycle_pb2.ChangeProductsRequest(request_id=request_id, to_state=to_state, **selection)]


def export_of(ids: Ids, form: table_pb2.ExportFormat.ValueType) -> Calls:
    return [table_pb2.ExportProductsRequest(batch_id=ids.batch_id, format=form)]


def labels_of(ids: Ids, form: label_pb2.LabelFormat.ValueType) -> Calls:
    return [label_pb2.MakeLabelsRequest(batch_id=ids.batch_id, format=form)]


CASES: dict[str, list[Case]] = {
    "FactoryService/CreateBatch": [
        lambda ids: [
            factory_pb2.CreateBatchRequest(
                request_id=ids.request_id, name="b", product_count=2, template=ATTRIBUTES, return_products=True
            )
        ]
    ],
    "FactoryService/ImportProducts": [import_of],
    "FactoryService/GetBatch": [lambda ids: [factory_pb2.GetBatchRequest(batch_id=ids.batch_id)]],
    "FactoryService/ListBatches": [
        lambda ids: [factory_pb2.ListBatchesRequest(page_size=1, page_token=ids.page_token)],
    ],
    "FactoryService/WatchBatch": [lambda ids: [factory_pb2.WatchBatchRequest(batch_id=ids.pending_id)]],
    "FactoryService/CancelBatch": [
        lambda ids: [factory_pb2.CancelBatchRequest(request_id=ids.request_id, batch_id=ids.pending_id)]
    ],
    "FactoryService/GetProduct": [lambda ids: [factory_pb2.GetProductRequest(product_id=ids.product_id)]],
    "FactoryService/ListProducts": [lambda ids: [factory_pb2.ListProductsRequest(batch_id=ids.batch_id)]],
    "LifecycleService/CreateProduct": [
        lambda ids: [lifecycle_pb2.CreateProductRequest(request_id=ids.request_id, attributes=ATTRIBUTES)]
    ],
    "LifecycleService/ChangeProducts": [
        lambda ids: change_of(ids.request_id, ids=lifecycle_pb2.ProductIds(product_ids=[ids.product_id])),
        lambda ids: change_of(ids.request_id, batch_id=ids.batch_id),
        lambda ids: change_of(
            ids.request_id, serials=lifecycle_pb2.SerialRange(batch_id=ids.batch_id, first="7", last="7")
        ),
    ],
    "LifecycleService/ListProductEvents": [
        lambda ids: [lifecycle_pb2.ListProductEventsRequest(product_id=ids.product_id)]
    ],
    "LabelService/GetQrCode": [lambda ids: [label_pb2.GetQrCodeRequest(token=ids.token)]],
    "LabelService/MakeLabels": [
        lambda ids: labels_of(ids, label_pb2.LABEL_FORMAT_ZIP_SVG),
        lambda ids: labels_of(ids, label_pb2.LABEL_FORMAT_PDF),
    ],
    "TableService/ImportCsv": [csv_of],
    "TableService/ExportProducts": [
        lambda ids: export_of(ids, table_pb2.EXPORT_FORMAT_CSV),
        lambda ids: export_of(ids, table_pb2.EXPORT_FORMAT_JSON_LINES),
    ],
    "AccountService/CreateFactory": [
        lambda ids: [account_pb2.CreateFactoryRequest(request_id=ids.request_id, name="f")]
    ],
    "AccountService/CreateApiKey": [
        lambda ids: [account_pb2.CreateApiKeyRequest(request_id=ids.request_id, factory_id=ids.factory_id)]
    ],
    "AccountService/RevokeApiKey": [
        lambda ids: [account_pb2.RevokeApiKeyRequest(request_id=ids.request_id, key_id=ids.key_id)]
    ],
    "AccountService/SetQuota": [
        lambda ids: [account_pb2.SetQuotaRequest(request_id=ids.request_id, factory_id=ids.factory_id)]
    ],
    "AccountService/SetRiskWeights": [
        lambda ids: [account_pb2.SetRiskWeightsRequest(request_id=ids.request_id, factory_id=ids.factory_id)]
    ],
    "AccountService/GetFactory": [lambda ids: [account_pb2.GetFactoryRequest(factory_id=ids.factory_id)]],
    "AccountService/ListFactories": [lambda ids: [account_pb2.ListFactoriesRequest(page_size=1)]],
    "AccountService/UpdateFactory": [
        lambda ids: [
            account_pb2.UpdateFactoryRequest(
                request_id=ids.request_id,
                factory_id=ids.factory_id,
                update_mask=field_mask_pb2.FieldMask(paths=["priority"]),
                priority=1,
            )
        ]
    ],
    "AccountService/SuspendFactory": [
        lambda ids: [account_pb2.SuspendFactoryRequest(request_id=ids.request_id, factory_id=ids.factory_id)]
    ],
    "AccountService/ResumeFactory": [
        lambda ids: [account_pb2.ResumeFactoryRequest(request_id=ids.request_id, factory_id=ids.factory_id)]
    ],
    "AccountService/ListApiKeys": [lambda ids: [account_pb2.ListApiKeysRequest(factory_id=ids.factory_id)]],
    "AccountService/RotateApiKey": [
        lambda ids: [account_pb2.RotateApiKeyRequest(request_id=ids.request_id, key_id=ids.key_id)]
    ],
    "AccountService/GetUsage": [lambda ids: [account_pb2.GetUsageRequest()]],
    "WebhookService/CreateEndpoint": [
        lambda ids: [webhook_pb2.CreateEndpointRequest(request_id=ids.request_id, url=URL)]
    ],
    "WebhookService/ListEndpoints": [lambda ids: [webhook_pb2.ListEndpointsRequest()]],
    "WebhookService/RotateSecret": [
        lambda ids: [webhook_pb2.RotateSecretRequest(request_id=ids.request_id, endpoint_id=ids.endpoint_id)]
    ],
    "WebhookService/DisableEndpoint": [
        lambda ids: [webhook_pb2.DisableEndpointRequest(request_id=ids.request_id, endpoint_id=ids.endpoint_id)]
    ],
    "WebhookService/TestEndpoint": [
        lambda ids: [webhook_pb2.TestEndpointRequest(request_id=ids.request_id, endpoint_id=ids.endpoint_id)]
    ],
    "WebhookService/ListDeliveries": [lambda ids: [webhook_pb2.ListDeliveriesRequest(endpoint_id=ids.endpoint_id)]],
    "WebhookService/ReplayDelivery": [
        lambda ids: [webhook_pb2.ReplayDeliveryRequest(request_id=ids.request_id, delivery_id=ids.delivery_id)]
    ],
    "WebhookService/RaiseFraudSuspected": [
        lambda ids: [
            webhook_pb2.RaiseFraudSuspectedRequest(
                request_id=ids.request_id, product_id=ids.product_id, risk_score=90, verdict="LIKELY_COPY"
            )
        ]
    ],
}


def modules() -> list[Any]:
    """Every contract of the package, whatever is in it."""
    package = voketag.factory.v1
    names = [info.name for info in pkgutil.iter_modules(package.__path__) if info.name.endswith("_pb2")]
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]


METHODS: dict[str, MethodDescriptor] = {
    f"{service.name}/{method.name}": method
    for module in modules()
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
POLICIES = {method.rpartition(".")[2]: policy for method, policy in policies(modules()).items()}
OF_SERVICES = {method for method, policy in POLICIES.items() if SERVICE in policy.audiences}
NAMED = {"factory_id", "key_id", "batch_id", "product_id", "endpoint_id"}
OF_TENANTS = {
    (method, role)
    for method, policy in POLICIES.items()
    for role in policy.roles & FACTORY_ROLES
    if NAMED & set(METHODS[method].input_type.fields_by_name.keys())
}


async def ask(channel: grpc.aio.Channel, method: MethodDescriptor, frames: Calls, *metadata: tuple[str, str]) -> str:
    """The whole answer: every message, or code, text and details of the error. What it names is starred."""
    many_in, many_out = method.client_streaming, method.server_streaming
    shape = f"{'stream' if many_in else 'unary'}_{'stream' if many_out else 'unary'}"
    service = method.containing_service
    assert service is not None
    call = getattr(channel, shape)(
        f"/{service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )(iter(frames) if many_in else frames[0], timeout=20, metadata=metadata)
    try:
        answers = [answer async for answer in first(call, method)] if many_out else [await call]
    except grpc.aio.AioRpcError as error:
        details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
        status = text_format.MessageToString(status_pb2.Status.FromString(details))
        return NAMES.sub("*", f"{error.code()}\n{error.details()}\n{status}")
    return NAMES.sub("*", "\n".join(text_format.MessageToString(answer) for answer in answers))


async def first(call: Any, method: MethodDescriptor) -> AsyncIterator[Message]:
    """The answers of a stream; of one that goes on for as long as a batch is built, the first."""
    async for answer in call:
        yield answer
        if method.name == "WatchBatch":
            call.cancel()
            return


@dataclass(frozen=True)
class Tenants:
    """An owner with real ids, and a stranger."""

    door: Door
    owner: Customer
    stranger: Customer

    async def ids(self) -> Ids:
        """Real ids of the owner, none of them used before."""
        batch = await self.owner.order(3, template=ATTRIBUTES, return_products=True)
        pending = await self.owner.order(2_000)
        page = await self.owner.stub.ListBatches(factory_pb2.ListBatchesRequest(page_size=1), timeout=10)
        endpoint_id, delivery_id = await self.delivery()
        return Ids(
            factory_id=str(self.owner.factory_id),
            key_id=await self.spare_key(),
            batch_id=batch.batch.batch_id,
            pending_id=pending.batch.batch_id,
            product_id=batch.products[0].product_id,
            token=batch.products[0].token,
            endpoint_id=endpoint_id,
            delivery_id=delivery_id,
            page_token=page.next_page_token,
            request_id=str(uuid4()),
        )

    async def delivery(self) -> tuple[str, str]:
        """The ids of an endpoint of the owner and of a delivery to it, which came to nothing."""
        metadata = (("x-api-key", self.owner.key),)
        async with grpc.aio.insecure_channel(self.door.target) as channel:
            stub: Any = webhook_pb2_grpc.WebhookServiceStub(channel)
            creation = webhook_pb2.CreateEndpointRequest(request_id=str(uuid4()), url=URL)
            endpoint_id = (await stub.CreateEndpoint(creation, metadata=metadata)).endpoint.endpoint_id
            test = webhook_pb2.TestEndpointRequest(request_id=str(uuid4()), endpoint_id=endpoint_id)
            delivery_id = (await stub.TestEndpoint(test, metadata=metadata)).delivery.delivery_id
        return endpoint_id, delivery_id

    async def spare_key(self) -> str:
        """The id of another key of the owner."""
        async with self.door.channel() as channel:
            stub: Any = account_pb2_grpc.AccountServiceStub(channel)
            order = account_pb2.CreateApiKeyRequest(request_id=str(uuid4()), factory_id=str(self.owner.factory_id))
            issued = await stub.CreateApiKey(order, timeout=10)
        key_id: str = issued.api_key.key_id
        return key_id

    def nobodys(self) -> Ids:
        """Ids of the same shape that nobody has; the token's tag is good."""
        product_id = raw_uuid7()
        (token,) = Tokens(self.door.ground.keyring).fresh([product_id])
        page_token = base64.urlsafe_b64encode(product_id * 4).decode().rstrip("=")
        return Ids(
            factory_id=str(uuid4()),
            key_id=str(uuid4()),
            batch_id=str(uuid4()),
            pending_id=str(uuid4()),
            product_id=str(UUID(bytes=product_id)),
            token=token,
            endpoint_id=str(uuid4()),
            delivery_id=str(uuid4()),
            page_token=page_token,
            request_id=str(uuid4()),
        )


async def test_every_rpc_has_a_case() -> None:
    assert len(METHODS) >= 20
    assert set(METHODS) == set(CASES)


@pytest.mark.parametrize("name", sorted(METHODS))
async def test_anothers_ids_answer_like_nobodys(door: Door, name: str) -> None:
    method = METHODS[name]
    async with door.customer() as owner, door.customer() as stranger, grpc.aio.insecure_channel(door.target) as plain:
        tenants = Tenants(door, owner, stranger)
        for case in CASES[name]:
            theirs, nobodys = await tenants.ids(), tenants.nobodys()
            if name in OF_SERVICES:
                async with door.channel() as admin:
                    own = await ask(admin, method, case(theirs))
            else:
                own = await ask(plain, method, case(theirs), ("x-api-key", owner.key))
            assert "StatusCode" not in own, own
            key = ("x-api-key", stranger.key)
            of_nobody = await ask(plain, method, case(nobodys), key)
            of_others = await ask(plain, method, case(theirs), key)
            if name == "LabelService/GetQrCode":  # a picture of what it was given, in the database or not
                assert {own[:40], of_nobody[:40]} == {of_others[:40]}
            else:
                assert of_others == of_nobody


@pytest.mark.parametrize(("name", "role"), sorted(OF_TENANTS))
async def test_anothers_ids_answer_people_like_nobodys(door: Door, name: str, role: str) -> None:
    method = METHODS[name]
    async with door.customer() as owner, door.customer() as stranger, grpc.aio.insecure_channel(door.target) as plain:
        tenants = Tenants(door, owner, stranger)
        for case in CASES[name]:
            theirs = await tenants.ids()
            answers = []
            for ids, factory in ((tenants.nobodys(), stranger), (theirs, stranger), (theirs, owner)):
                token = access_token(role, factory=str(factory.factory_id))
                answers.append(await ask(plain, method, case(ids), ("authorization", f"Bearer {token}")))
            of_nobody, of_others, own = answers
            assert "StatusCode" not in own, own
            assert "StatusCode.NOT_FOUND" in of_nobody
            assert of_others == of_nobody


async def test_strangers_page_tokens_and_keys_open_nothing(door: Door, customer: Customer) -> None:
    for _ in range(3):
        await customer.order(1)
    async with door.customer() as stranger:
        mine = await stranger.order(1)
        listed = await stranger.stub.ListBatches(factory_pb2.ListBatchesRequest(), timeout=10)
        assert [batch.batch_id for batch in listed.batches] == [mine.batch.batch_id]
