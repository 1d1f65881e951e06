"""The examples of docs/encodings.md are what our code makes, and are vectors."""

import json
import re
from pathlib import Path
from uuid import UUID

from tests.unit.trust.vectors import load
from trust import canonical, merkle
from trust.checkpoint import Checkpoint
from trust.ledger import ENTRY_BYTES, Event, Opening, entry_bytes, entry_hash, genesis
from trust.receipt import Receipt, verify
from trust.rpc import BLOCK_OF
from trust.tilepath import TilePath
from trust.tiles import TileBuilder
from trust.token import Key, Keyring, KeyState, decode, issue

PAGE = (Path(__file__).parents[3] / "docs" / "encodings.md").read_text(encoding="utf-8")
EXAMPLES: dict[str, str] = dict(
    line.split(" = ", 1) for block in re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
)


def recomputed() -> dict[str, str]:
    kid, product_id = int(EXAMPLES["kid"]), UUID(EXAMPLES["product_id"])
    keyring = Keyring({kid: Key(bytes.fromhex(EXAMPLES["key"]), KeyState.SIGNING)})
    token = issue(keyring, product_id.bytes)
    encoded = canonical.attributes_bytes(json.loads(EXAMPLES["attributes"]))
    digest = canonical.attributes_digest(encoded)
    leaf, anchor = load("canonical")["product_leaves"][1], load("canonical")["anchor_leaves"][0]
    batch_id = bytes.fromhex(leaf["batch_id"])
    product_data = canonical.product_leaf(batch_id, leaf["index"], product_id.bytes, digest)
    anchor_data = canonical.anchor_leaf(
        canonical.SubjectKind.BATCH, batch_id, anchor["tree_size"], bytes.fromhex(anchor["root"])
    )
    leaves = [bytes.fromhex(text.strip("'")) for text in EXAMPLES["leaves"].split(" ")]
    hashes = [merkle.leaf_hash(data) for data in leaves]
    return ledger_lines() | {
        "key": bytes(range(32)).hex(),
        "kid": str(decode(token).kid),
        "product_id": str(product_id),
        "tag": decode(token).tag.hex(),
        "token": token,
        "attributes": encoded.decode(),
        "attributes_bytes": encoded.hex(),
        "attributes_digest": digest.hex(),
        "product_leaf_data": product_data.hex(),
        "product_leaf_hash": merkle.leaf_hash(product_data).hex(),
        "anchor_leaf_data": anchor_data.hex(),
        "anchor_leaf_hash": merkle.leaf_hash(anchor_data).hex(),
        "leaves": " ".join(data.hex() or "''" for data in leaves),
        "leaf_hash_2": hashes[2].hex(),
        "path_2_of_3": " ".join(sibling.hex() for sibling in merkle.inclusion_path(hashes, 2)),
        "root_of_3": merkle.root(hashes).hex(),
        "root_of_0": merkle.root([]).hex(),
        "receipt": Receipt.from_json(EXAMPLES["receipt"].encode()).to_json().decode(),
    }


def ledger_lines() -> dict[str, str]:
    vector = load("ledger")["entries"][0]["event"]
    fields = [bytes.fromhex(text.strip("'")) for text in EXAMPLES["fields"].split(" ")]
    opening = Opening(bytes.fromhex(EXAMPLES["blind"]), tuple(fields))
    event = Event(
        event_id=UUID(EXAMPLES["event_id"]).bytes,
        product_id=UUID(EXAMPLES["product_id"]).bytes,
        time_ms=vector["time_ms"],
        verdict=vector["verdict"],
        risk_total=vector["risk_total"],
        risk_version=vector["risk_version"],
        personal=opening.commitment(),
    )
    previous = genesis(EXAMPLES["origin"])
    size = int(EXAMPLES["checkpoint_size"])
    return {
        "origin": load("ledger")["genesis"][0]["origin"],
        "genesis": previous.hex(),
        "event_id": str(UUID(bytes=event.event_id)),
        "blind": bytes(range(16)).hex(),
        "fields": " ".join(field.hex() or "''" for field in opening.fields),
        "personal": event.personal.hex(),
        "entry": entry_bytes(previous, event).hex(),
        "entry_hash": entry_hash(previous, event).hex(),
        "checkpoint_size": str(size),
        "checkpoint_subject_id": str(Checkpoint(EXAMPLES["origin"], size, bytes(32)).subject_id()),
    }


def test_every_example_is_what_the_code_makes() -> None:
    assert recomputed() == EXAMPLES
    assert verify(Receipt.from_json(EXAMPLES["receipt"].encode())).valid


def test_every_example_is_a_vector() -> None:
    vectors = "".join(json.dumps(load(name)) for name in ("token", "canonical", "rfc9162", "ledger"))
    receipts = {vector["text"] for vector in load("receipt")["valid"]}
    assert EXAMPLES["receipt"] in receipts
    for name in set(EXAMPLES) - {"receipt", "leaves", "key", "attributes", "event_id", "fields"}:
        assert EXAMPLES[name] in vectors, name


def test_the_page_tells_the_constants() -> None:
    assert f"selector `{BLOCK_OF.hex()}`" in PAGE
    assert "tree of 65,793 leaves" in PAGE
    assert f"One scan in the scan ledger, {ENTRY_BYTES} bytes" in PAGE
    assert f"`{TilePath(0, 1234067, 8).text()}`" in PAGE
    builder = TileBuilder()
    full = builder.add(bytes(32 * 65_793))
    assert [sum(tile.level == level for tile in full) for level in range(3)] == [257, 1, 0]
    assert [(tile.level, len(tile.hashes)) for tile in builder.finish().tiles] == [(0, 32), (1, 32), (2, 32)]
