"""Times what trust/ does against a bare hash, interleaved in one process: only the ratios mean much.

Run from the repository: python bench/trust.py
"""

import gc
import hmac
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import process_time_ns

sys.path.insert(0, str(Path(__file__).parents[1]))

from trust import canonical, merkle
from trust.receipt import ProductPart, Receipt, TreePart, verify
from trust.tiles import TileBuilder
from trust.token import Key, Keyring, KeyState, TokenMinter, check, decode

ROUNDS = 15
KEY, PRODUCT, BATCH, DIGEST = os.urandom(32), os.urandom(16), os.urandom(16), os.urandom(32)
ATTRIBUTES = {"sku": "SH-0042", "name": "Blue shirt, size M", "gtin": "07891234567895"}
ACCENTED = {**ATTRIBUTES, "name": "Café açaí 500 g"}


@dataclass(frozen=True, slots=True)
class Case:
    """A run of `count` operations, to be compared with as many runs of a reference."""

    name: str
    reference: str
    count: int
    run: Callable[[int], object]


def repeat(operation: Callable[[], object]) -> Callable[[int], object]:
    def run(count: int) -> None:
        for _ in range(count):
            operation()

    return run


def references() -> dict[str, Callable[[int], object]]:
    message, node = os.urandom(33), os.urandom(65)
    return {
        "hmac.digest": repeat(lambda: hmac.digest(KEY, message, "sha256")),
        "sha256": repeat(lambda: sha256(node).digest()),
    }


def token_cases() -> list[Case]:
    keyring = Keyring({1: Key(KEY, KeyState.SIGNING)})
    minter = TokenMinter(keyring)
    token = minter.mint(PRODUCT)
    forged = ("0" if token[2] != "0" else "1").join((token[:2], token[3:]))
    ids = [os.urandom(16) for _ in range(5000)]
    return [
        Case("token check", "hmac.digest", 5000, repeat(lambda: check(keyring, token))),
        Case("token check, forged", "hmac.digest", 5000, repeat(lambda: check(keyring, forged))),
        Case("token decode", "hmac.digest", 5000, repeat(lambda: decode(token))),
        Case("mint", "hmac.digest", 5000, repeat(lambda: minter.mint(PRODUCT))),
        Case("mint_many", "hmac.digest", 5000, lambda count: list(minter.mint_many(ids[:count]))),
    ]


def tree_cases() -> list[Case]:
    joined = os.urandom(32 * 50_000)
    leaves = [joined[start : start + 32] for start in range(0, len(joined), 32)]

    def tiles(count: int) -> None:
        builder = TileBuilder()
        for start in range(0, 32 * count, 32_000):
            builder.add(joined[start : start + 32_000])
        builder.finish()

    return [
        Case("attributes, ASCII", "sha256", 5000, repeat(lambda: canonical.attributes_bytes(ATTRIBUTES))),
        Case("attributes, accents", "sha256", 5000, repeat(lambda: canonical.attributes_bytes(ACCENTED))),
        Case(
            "product leaf",
            "sha256",
            5000,
            repeat(lambda: merkle.leaf_hash(canonical.product_leaf(BATCH, 5, PRODUCT, DIGEST))),
        ),
        Case("tree root, a leaf", "sha256", 50_000, lambda count: merkle.root(leaves[:count])),
        Case("tiles and root, a leaf", "sha256", 50_000, tiles),
    ]


def receipt_cases() -> list[Case]:
    receipt = deep_receipt()
    text = receipt.to_json()
    return [
        Case("receipt verify, 1M x 1M", "sha256", 200, repeat(lambda: verify(receipt))),
        Case("receipt read", "sha256", 200, repeat(lambda: Receipt.from_json(text))),
        Case("receipt write", "sha256", 200, repeat(receipt.to_json)),
    ]


def deep_receipt() -> Receipt:
    """Make a receipt for a product in a batch of 2^20 in an anchor tree of 2^20."""
    digest = canonical.attributes_digest(canonical.attributes_bytes(ATTRIBUTES))
    batch = left_edge(canonical.product_leaf(BATCH, 0, PRODUCT, digest))
    anchor = left_edge(canonical.anchor_leaf(canonical.SubjectKind.BATCH, BATCH, batch.size, batch.root))
    return Receipt(ProductPart(PRODUCT, ATTRIBUTES), BATCH, batch, anchor)


def left_edge(data: bytes) -> TreePart:
    node, path = merkle.leaf_hash(data), tuple(os.urandom(32) for _ in range(20))
    for sibling in path:
        node = merkle.node_hash(node, sibling)
    return TreePart(0, 1 << 20, path, node)


def cpu_us(run: Callable[[int], object], count: int) -> float:
    started = process_time_ns()
    run(count)
    return (process_time_ns() - started) / count / 1000


def measure(case: Case, reference: Callable[[int], object]) -> tuple[float, float]:
    """Give the medians over interleaved rounds of CPU microseconds an operation, and of its ratio."""
    times, ratios = [], []
    for _ in range(ROUNDS):
        base = cpu_us(reference, 5000)
        times.append(cpu_us(case.run, case.count))
        ratios.append(times[-1] / base)
    return statistics.median(times), statistics.median(ratios)


def main() -> None:
    gc.disable()
    bare = references()
    print(f"{'':26}{'CPU µs':>10}   ratio to")
    for case in [*token_cases(), *tree_cases(), *receipt_cases()]:
        microseconds, ratio = measure(case, bare[case.reference])
        print(f"{case.name:26}{microseconds:10.2f}{ratio:8.2f}  {case.reference}")


if __name__ == "__main__":
    main()
