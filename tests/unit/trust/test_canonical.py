import json
import unicodedata
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trust.vectors import load, named
from trust.canonical import (
    AttributesError,
    SubjectKind,
    anchor_leaf,
    attributes_bytes,
    attributes_digest,
    product_leaf,
)
from trust.merkle import leaf_hash

VECTORS = load("canonical")
REFUSED = named(VECTORS["refused"])

keys = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)
values = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40).map(
    lambda text: unicodedata.normalize("NFC", text)
)


@pytest.mark.parametrize("vector", VECTORS["attributes"], ids=range(len(VECTORS["attributes"])))
def test_published_attributes(vector: dict[str, Any]) -> None:
    encoded = attributes_bytes(vector["attributes"])
    assert encoded.hex() == vector["bytes"]
    assert attributes_digest(encoded).hex() == vector["digest"]


@pytest.mark.parametrize("name", REFUSED)
def test_attributes_without_canonical_bytes_are_refused(name: str) -> None:
    attributes = REFUSED[name]["attributes"]
    with pytest.raises(AttributesError) as caught:
        attributes_bytes(attributes)
    one_key_at_fault = len(attributes) == 1 and "bytes" not in name
    assert caught.value.key == (next(iter(attributes)) or '""' if one_key_at_fault else "")
    assert repr(caught.value.key[:40]) in str(caught.value) or not one_key_at_fault


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(AttributesError, match=r"U\+D800"):
        attributes_bytes({"a": "x\ud800"})


@given(st.dictionaries(keys, values, max_size=8))
def test_bytes_are_the_sorted_json_of_the_map(attributes: dict[str, str]) -> None:
    encoded = attributes_bytes(attributes)
    assert encoded == json.dumps(attributes, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert json.loads(encoded) == attributes
    assert attributes_digest(encoded) == sha256(encoded).digest()


@given(st.dictionaries(keys, values, min_size=2, max_size=8))
def test_order_of_the_map_does_not_matter(attributes: dict[str, str]) -> None:
    assert attributes_bytes(attributes) == attributes_bytes(dict(reversed(attributes.items())))


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=5), st.none(), st.integers()), max_size=3))
def test_any_map_is_refused_or_comes_back_from_its_bytes(attributes: dict[str, Any]) -> None:
    try:
        encoded = attributes_bytes(attributes)
    except AttributesError:
        return
    assert json.loads(encoded) == attributes


@pytest.mark.parametrize("vector", VECTORS["product_leaves"], ids=lambda vector: vector["index"])
def test_published_product_leaves(vector: dict[str, Any]) -> None:
    batch_id, product_id, digest = (bytes.fromhex(vector[name]) for name in ("batch_id", "product_id", "digest"))
    data = product_leaf(batch_id, vector["index"], product_id, digest)
    assert len(data) == 76
    assert data.hex() == vector["data"]
    assert leaf_hash(data).hex() == vector["leaf"]


@pytest.mark.parametrize("vector", VECTORS["anchor_leaves"], ids=lambda vector: vector["kind"])
def test_published_anchor_leaves(vector: dict[str, Any]) -> None:
    subject_id, root = bytes.fromhex(vector["subject_id"]), bytes.fromhex(vector["root"])
    data = anchor_leaf(SubjectKind(vector["kind"]), subject_id, vector["tree_size"], root)
    assert len(data) == 61
    assert data.hex() == vector["data"]
    assert leaf_hash(data).hex() == vector["leaf"]


@pytest.mark.parametrize(
    ("batch_id", "index", "product_id", "digest"),
    [
        (bytes(15), 0, bytes(17), bytes(32)),
        (bytes(16), 0, bytes(17), bytes(31)),
        (bytes(16), 0, bytes(16), bytes(31)),
        (bytes(16), -1, bytes(16), bytes(32)),
        (bytes(16), 1 << 64, bytes(16), bytes(32)),
    ],
)
def test_product_leaf_refuses_parts_of_another_size(
    batch_id: bytes, index: int, product_id: bytes, digest: bytes
) -> None:
    with pytest.raises(ValueError, match=r"bytes|64 bits"):
        product_leaf(batch_id, index, product_id, digest)


@pytest.mark.parametrize(
    ("subject_id", "size", "root"),
    [(bytes(15), 0, bytes(33)), (bytes(16), 0, bytes(31)), (bytes(16), -1, bytes(32)), (bytes(16), 1 << 64, bytes(32))],
)
def test_anchor_leaf_refuses_parts_of_another_size(subject_id: bytes, size: int, root: bytes) -> None:
    with pytest.raises(ValueError, match=r"bytes|64 bits"):
        anchor_leaf(SubjectKind.BATCH, subject_id, size, root)
