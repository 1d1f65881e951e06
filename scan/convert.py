"""Between the contract's messages and scan's own terms."""

from datetime import UTC, datetime
from functools import cache

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.timestamp_pb2 import Timestamp
from voketag.anchor.v1 import anchor_pb2
from voketag.scan.v1 import scan_pb2

from scan.card import Card
from scan.counters import History
from scan.proof import Proof
from scan.verdict import Checks, Outcome, Verdict
from scan.verify import Answer
from trust.receipt import ChainPart, TreePart

VERDICTS = {
    Verdict.GENUINE_CODE: scan_pb2.VERDICT_GENUINE_CODE,
    Verdict.BLOCKED: scan_pb2.VERDICT_BLOCKED,
    Verdict.UNKNOWN_CODE: scan_pb2.VERDICT_UNKNOWN_CODE,
}
OUTCOMES = {
    Outcome.PASSED: scan_pb2.CHECK_OUTCOME_PASSED,
    Outcome.FAILED: scan_pb2.CHECK_OUTCOME_FAILED,
    Outcome.NOT_CHECKED: scan_pb2.CHECK_OUTCOME_NOT_CHECKED,
}
MOST_SCANS = (1 << 32) - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOT_SEEN = History(0, None)


def verify_response(answer: Answer) -> scan_pb2.VerifyResponse:
    """The verdict with everything that was found."""
    judgement, history = answer.judgement, answer.history
    seen = history or NOT_SEEN
    return scan_pb2.VerifyResponse(
        verdict=VERDICTS[judgement.verdict],
        checks=checks(judgement.checks),
        degraded=judgement.degraded,
        product=product_card(answer.card) if answer.card is not None else None,
        first_scan=seen.count == 1,
        scan_count=min(seen.count, MOST_SCANS),
        first_scanned_at=timestamp(seen.first_at) if seen.first_at is not None else None,
        checked_at=timestamp(answer.checked_at),
    )


def timestamp(at: datetime) -> Timestamp:
    """To the microsecond; `FromDatetime` does the same in four times the time."""
    since = at - EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


@cache
def checks(found: Checks) -> list[scan_pb2.Check]:
    """The checks in the order in which they were made; there are few combinations, and each is built once."""
    return [
        scan_pb2.Check(name=scan_pb2.CHECK_NAME_TAG, outcome=OUTCOMES[found.tag]),
        scan_pb2.Check(name=scan_pb2.CHECK_NAME_PRODUCT, outcome=OUTCOMES[found.product]),
        scan_pb2.Check(name=scan_pb2.CHECK_NAME_SCAN_HISTORY, outcome=OUTCOMES[found.scan_history]),
        scan_pb2.Check(name=scan_pb2.CHECK_NAME_ANCHOR, outcome=OUTCOMES[found.anchor]),
    ]


def product_card(card: Card) -> scan_pb2.ProductCard:
    """The product behind a code."""
    return scan_pb2.ProductCard(
        product_id=str(card.product_id),
        batch_id=str(card.batch_id),
        factory_name=card.factory_name,
        attributes=card.attributes,
    )


def proof(response: anchor_pb2.GetProofResponse) -> Proof | None:
    """The proof in the terms of a receipt, which names the chain only when the anchor is final."""
    if not response.HasField("proof"):
        return None
    tree, anchor = response.proof, response.anchor
    place = anchor.location
    final = anchor.state == anchor_pb2.ANCHOR_STATE_FINAL
    return Proof(
        anchor=TreePart(tree.index, tree.size, tuple(tree.path), tree.anchor_root),
        chain=ChainPart(place.chain_id, place.contract.lower(), place.transaction.lower(), place.block_number)
        if final
        else None,
    )


def body(content_type: str, data: bytes) -> HttpBody:
    """An answer that is no message of the contract."""
    return HttpBody(content_type=content_type, data=data)
