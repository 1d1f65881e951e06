"""tests/vectors/logproof.json: trust.logproof and web/logproof.mjs accept and refuse the same proofs."""

import base64
import json
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.nodejs import node
from tests.unit.trust.vectors import load, named
from trust.ledger import NOT_SCORED, read_entry
from trust.logproof import LogProof, verify
from trust.note import Verifier

VECTORS = load("logproof")
VALID = named(VECTORS["valid"])
MUTATIONS = named(VECTORS["mutations"])
KEYS = [Verifier.from_text(key) for key in VECTORS["keys"]]
ORIGIN = KEYS[0].name
DRIVER = Path(__file__).with_name("logproofs.mjs")
RANDOM_MUTATIONS = 2_000


def in_javascript(texts: list[bytes]) -> list[dict[str, Any]]:
    asked = {"texts": [base64.b64encode(text).decode() for text in texts], "keys": VECTORS["keys"]}
    run = subprocess.run(
        [node(), "--no-warnings", str(DRIVER)],
        check=True,
        input=json.dumps(asked).encode(),
        stdout=subprocess.PIPE,
        timeout=120,
    )
    findings: list[dict[str, Any]] = json.loads(run.stdout)
    return findings


def in_python(text: bytes) -> dict[str, Any]:
    """What trust says, in the driver's terms; of a refused one only that it is."""
    try:
        proof = LogProof.parse(text)
        checkpoint = verify(proof, KEYS, ORIGIN)
        _, event = read_entry(proof.entry)
    except ValueError:
        return {"refused": True}
    return {
        "origin": checkpoint.origin,
        "index": proof.index,
        "size": checkpoint.size,
        "eventId": event.event_id.hex(),
        "productId": event.product_id.hex(),
        "timeMs": event.time_ms,
        "verdict": event.verdict,
        "riskTotal": None if event.risk_total == NOT_SCORED else event.risk_total,
        "riskVersion": event.risk_version,
    }


def comparable(finding: dict[str, Any]) -> dict[str, Any]:
    return {"refused": True} if "refused" in finding else finding


def test_published_proofs_hold_and_say_what_the_vectors_say() -> None:
    texts = {name: case["text"].encode() for name, case in VALID.items()}
    for (name, text), found in zip(texts.items(), in_javascript(list(texts.values())), strict=True):
        case = VALID[name]
        assert LogProof.parse(text).to_bytes() == text
        assert found == in_python(text), name
        assert (found["index"], found["size"], found["origin"]) == (case["index"], case["size"], ORIGIN), name
        said = [found[key] for key in ("eventId", "productId", "timeMs", "verdict", "riskTotal", "riskVersion")]
        kept = [case[key] for key in ("event_id", "product_id", "time_ms", "verdict", "risk_total", "risk_version")]
        assert said == kept, name


def test_every_published_mutation_is_refused_by_both() -> None:
    assert len(MUTATIONS) >= 200
    texts = {name: case["text"].encode() for name, case in MUTATIONS.items()}
    found = dict(zip(texts, in_javascript(list(texts.values())), strict=True))
    assert [name for name in texts if "refused" not in found[name]] == []
    assert [name for name, text in texts.items() if in_python(text) != {"refused": True}] == []


@pytest.mark.parametrize("seed", [1, 2])
def test_changed_bytes_are_judged_alike(seed: int) -> None:
    random = Random(seed)
    texts = [case["text"].encode() for case in VALID.values()]
    changed = []
    for _ in range(RANDOM_MUTATIONS):
        text = bytearray(random.choice(texts))
        place = random.randrange(len(text))
        match random.randrange(3):
            case 0:
                text[place] ^= 1 << random.randrange(8)
            case 1:
                del text[place]
            case _:
                text.insert(place, random.choice(b"\n +=/.-0Az\t\r\x00\x85\xc2\xe2\x80\x94\xef\xbb\xbf"))
        changed.append(bytes(text))
    for original, found in zip(changed, in_javascript(changed), strict=True):
        assert comparable(found) == in_python(original), original
