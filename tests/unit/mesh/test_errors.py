"""Every reason of the contract has one error class, one row in the docs, and a whole google.rpc.Status."""

import re
import string
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2
from voketag.mesh.v1 import reason_pb2

from admin import errors as admin_errors
from mesh import errors
from mesh.error import FieldViolation, VokeTagError
from mesh.interceptors.errors import CODES, DOMAIN, to_status

ROOT = Path(__file__).resolve().parents[3]
MODULES = (errors.__name__, admin_errors.__name__)
CLASSES = {cls.reason: cls for cls in VokeTagError.__subclasses__() if cls.__module__ in MODULES}
EDGE_ONLY = {"REQUEST_REFUSED"}


def example(cls: type[VokeTagError]) -> VokeTagError:
    fields = {name for _, name, _, _ in string.Formatter().parse(cls.__doc__ or "") if name}
    metadata: dict[str, Any] = dict.fromkeys(fields, "x")
    return cls(**metadata)


def test_reasons_of_contract_and_classes_agree() -> None:
    names = {name.removeprefix("REASON_") for name in reason_pb2.Reason.DESCRIPTOR.values_by_name} - {"UNSPECIFIED"}
    assert names - EDGE_ONLY == set(CLASSES)


def test_docs_list_every_reason_with_its_code() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([A-Za-z_ ]+) \|", text, re.MULTILINE))
    expected = {reason: CODES[cls.code].name for reason, cls in CLASSES.items()}
    assert {reason: code for reason, code in rows.items() if reason not in EDGE_ONLY} == expected
    assert set(rows) >= EDGE_ONLY


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_status_has_exactly_one_error_info(cls: type[VokeTagError]) -> None:
    error = example(cls)
    status = to_status(error)
    infos = [d for d in status.details if d.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    assert len(infos) == 1
    info = error_details_pb2.ErrorInfo()
    infos[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == (cls.reason, DOMAIN, error.metadata)
    assert status.code == cls.code
    assert status.message == error.message
    assert "{" not in status.message


def test_details_follow_what_the_error_knows() -> None:
    violation = FieldViolation("name", "string.min_len", "must not be empty")
    status = to_status(errors.ValidationFailed(summary="s", violations=(violation,)))
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    assert (bad.field_violations[0].field, bad.field_violations[0].reason) == ("name", "string.min_len")
    retry = error_details_pb2.RetryInfo()
    assert to_status(errors.RateLimited(retry_after=1.5, seconds=2)).details[1].Unpack(retry)
    assert (retry.retry_delay.seconds, retry.retry_delay.nanos) == (1, 500_000_000)
    resource = error_details_pb2.ResourceInfo()
    assert to_status(errors.BatchNotFound(batch_id="b")).details[1].Unpack(resource)
    assert (resource.resource_type, resource.resource_name) == ("batch", "b")
