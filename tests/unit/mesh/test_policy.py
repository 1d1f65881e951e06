"""Every method of the contracts has a whole access rule, and a server without one does not start."""

from types import SimpleNamespace

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from voketag.admin.v1 import audit_pb2, auth_pb2, dashboard_pb2, export_pb2, fraud_pb2, job_pb2, user_pb2, weekly_pb2
from voketag.anchor.v1 import anchor_pb2
from voketag.factory.v1 import account_pb2, factory_pb2, label_pb2, lifecycle_pb2, table_pb2, webhook_pb2
from voketag.mesh.v1 import access_pb2, queue_pb2
from voketag.scan.v1 import scan_pb2

from mesh.policy import PolicyMissingError, policies


def contract(access: access_pb2.Access | None) -> SimpleNamespace:
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto3")
    file.message_type.add(name="M")
    method = file.service.add(name="S").method.add(name="Do", input_type=".t.M", output_type=".t.M")
    if access is not None:
        method.options.Extensions[access_pb2.access].CopyFrom(access)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return SimpleNamespace(DESCRIPTOR=pool.FindFileByName("t.proto"))


BROKEN = {
    "none": None,
    "empty": access_pb2.Access(),
    "no rate class": access_pb2.Access(audiences=[access_pb2.AUDIENCE_PUBLIC]),
    "unspecified": access_pb2.Access(
        audiences=[access_pb2.AUDIENCE_UNSPECIFIED], rate_class=access_pb2.RATE_CLASS_READ
    ),
    "service without peers": access_pb2.Access(
        audiences=[access_pb2.AUDIENCE_SERVICE], rate_class=access_pb2.RATE_CLASS_READ
    ),
    "people without roles": access_pb2.Access(
        audiences=[access_pb2.AUDIENCE_USER], rate_class=access_pb2.RATE_CLASS_READ
    ),
    "an unspecified role": access_pb2.Access(
        audiences=[access_pb2.AUDIENCE_USER],
        roles=[access_pb2.ROLE_ADMIN, access_pb2.ROLE_UNSPECIFIED],
        rate_class=access_pb2.RATE_CLASS_READ,
    ),
    "roles without people": access_pb2.Access(
        audiences=[access_pb2.AUDIENCE_FACTORY], roles=[access_pb2.ROLE_ADMIN], rate_class=access_pb2.RATE_CLASS_READ
    ),
    "peers without service": access_pb2.Access(
        audiences=[access_pb2.AUDIENCE_PUBLIC], peers=["scan"], rate_class=access_pb2.RATE_CLASS_READ
    ),
}


@pytest.mark.parametrize("access", BROKEN.values(), ids=BROKEN)
def test_broken_rule_is_refused(access: access_pb2.Access | None) -> None:
    with pytest.raises(PolicyMissingError, match="/t.S/Do"):
        policies([contract(access)])  # type: ignore[list-item]


def test_every_method_of_the_contracts_has_its_rule() -> None:
    factory = (factory_pb2, account_pb2, lifecycle_pb2, label_pb2, table_pb2, webhook_pb2)
    admin = (audit_pb2, auth_pb2, dashboard_pb2, export_pb2, fraud_pb2, job_pb2, user_pb2, weekly_pb2)
    rules = policies([scan_pb2, *factory, anchor_pb2, *admin, queue_pb2])
    assert rules["/voketag.factory.v1.FactoryService/ImportProducts"].request_streaming
    assert rules["/voketag.scan.v1.ScanService/Verify"].public
    assert rules["/voketag.anchor.v1.AnchorService/SubmitRoot"].peers == {"factory", "scan", "admin"}
    mutations = [
        m for m in rules.values() if m.rate_class == "WRITE" or m.method.split("/")[2].startswith(("Create", "Revoke"))
    ]
    assert all(rule.audited for rule in mutations)


AUDITED_READS = ("Export", "DownloadExport")


def test_unlike_mutations_every_request_id_is_a_uuid() -> None:
    factory = (factory_pb2, account_pb2, lifecycle_pb2, table_pb2, webhook_pb2)
    for module in (scan_pb2, *factory, anchor_pb2, user_pb2, export_pb2, fraud_pb2, weekly_pb2, job_pb2, queue_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                access = method.GetOptions().Extensions[access_pb2.access]
                fields = method.input_type.fields_by_name
                if access.audited and not method.client_streaming and method.name not in AUDITED_READS:
                    assert "request_id" in fields, method.full_name
