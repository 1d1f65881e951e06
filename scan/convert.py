"""Between the contract's messages and scan's own terms."""

import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import cache, lru_cache
from uuid import UUID

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.timestamp_pb2 import Timestamp
from voketag.anchor.v1 import anchor_pb2
from voketag.scan.v1 import ledger_pb2, scan_pb2

from scan.card import DEFAULT_LIMITS, Card
from scan.cases import Case, CasePage
from scan.chunks import Chunk, Frame, Header, Judged, Limited, Result
from scan.counts import MICROSECONDS, History
from scan.factors import FactorName
from scan.log import Inclusion
from scan.proof import Proof
from scan.report import Photo, Report
from scan.risk import Assessment, Factor
from scan.verdict import Checks, Judgement, Outcome, Verdict
from scan.verify import Answer
from scan.watching import DayTotals, LiveScan, Seen, TopProduct
from trust.document import MAX_EVIDENCE
from trust.receipt import ChainPart, StampPart, TreePart

VERDICTS = {
    Verdict.GENUINE_CODE: scan_pb2.VERDICT_GENUINE_CODE,
    Verdict.SUSPICIOUS: scan_pb2.VERDICT_SUSPICIOUS,
    Verdict.LIKELY_COPY: scan_pb2.VERDICT_LIKELY_COPY,
    Verdict.BLOCKED: scan_pb2.VERDICT_BLOCKED,
    Verdict.UNKNOWN_CODE: scan_pb2.VERDICT_UNKNOWN_CODE,
}
OUTCOMES = {
    Outcome.PASSED: scan_pb2.CHECK_OUTCOME_PASSED,
    Outcome.FAILED: scan_pb2.CHECK_OUTCOME_FAILED,
    Outcome.NOT_CHECKED: scan_pb2.CHECK_OUTCOME_NOT_CHECKED,
}
FACTORS = {name: scan_pb2.RiskFactorName.Value(f"RISK_FACTOR_NAME_{name.name}") for name in FactorName}
MOST_SCANS = (1 << 32) - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOT_SEEN = History(0)


def verify_response(answer: Answer, *, explain: bool = False) -> bytes:
    """VerifyResponse in bytes: the verdict with everything that was found; `explain`: with all seven factors.

    Messages one after the other are one message (https://protobuf.dev/programming-guides/encoding/#last-one-wins), so
    that what many answers have in common is written once.
    """
    seen, own = answer.history or NOT_SEEN, scan_pb2.VerifyResponse()
    if seen.scans == 1:
        own.first_scan = True
    own.scan_count = min(seen.scans, MOST_SCANS)
    if seen.first:
        own.first_scanned_at.seconds, micros = divmod(seen.first, MICROSECONDS)
        own.first_scanned_at.nanos = micros * 1_000
        own.first_country_code = seen.first_country
    since = answer.checked_at - EPOCH
    own.checked_at.seconds = since.days * 86_400 + since.seconds
    own.checked_at.nanos = since.microseconds * 1_000
    if answer.recorded:
        own.recorded, own.scan_id = True, _uuid(answer.event_id)
    parts = [_verdict(answer.judgement), own.SerializeToString()]
    if answer.card is not None:
        parts.append(_product(answer.card))
    if answer.assessment is not None:
        parts.append(_risk(answer.assessment, explain=explain))
    return b"".join(parts)


def _uuid(raw: bytes) -> str:
    """The text of a UUID of 16 bytes; by way of `uuid.UUID` it takes four times as long."""
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@cache
def _verdict(judgement: Judgement) -> bytes:
    """What every answer with this judgement has."""
    verdict, found, degraded = judgement
    response = scan_pb2.VerifyResponse(verdict=VERDICTS[verdict], checks=checks(found), degraded=degraded)
    return response.SerializeToString()


@lru_cache(maxsize=DEFAULT_LIMITS.capacity)
def _product(card: Card) -> bytes:
    """What every answer with this card has; remembered for as many as cards are, unless that is set otherwise."""
    return scan_pb2.VerifyResponse(product=_product_card(card)).SerializeToString()


def _risk(assessment: Assessment, *, explain: bool) -> bytes:
    """What every answer with this assessment has; nearly all have one in which nothing was found."""
    factors = assessment.factors
    if explain or [factor for factor in factors if factor.score]:
        return scan_pb2.VerifyResponse(risk=risk(assessment, explain=explain)).SerializeToString()
    unchecked = tuple([factor.name for factor in factors if factor.score is None])
    return _no_risk(unchecked, assessment.risk_version, assessment.weights_version)


@lru_cache(maxsize=1_024)
def _no_risk(unchecked: tuple[FactorName, ...], version: int, weights_version: str) -> bytes:
    not_checked = [FACTORS[name] for name in unchecked]
    nothing = scan_pb2.Risk(not_checked=not_checked, version=version, weights_version=weights_version)
    return scan_pb2.VerifyResponse(risk=nothing).SerializeToString()


def risk(assessment: Assessment, *, explain: bool) -> scan_pb2.Risk:
    """The risk; without `explain` only the factors that found something, as few callers read the others."""
    return scan_pb2.Risk(
        total=assessment.total,
        factors=[_factor(factor) for factor in assessment.factors if explain or factor.score],
        not_checked=[FACTORS[factor.name] for factor in assessment.factors if factor.score is None],
        version=assessment.risk_version,
        weights_version=assessment.weights_version,
    )


def _factor(factor: Factor) -> scan_pb2.RiskFactor:
    return scan_pb2.RiskFactor(
        name=FACTORS[factor.name],
        score=factor.score,
        weight=factor.weight,
        code=factor.code,
        evidence={name: str(value) for name, value in factor.evidence},
    )


def lookup_response(answer: Answer) -> scan_pb2.LookupTagResponse:
    """What was found without a scan."""
    judgement, seen = answer.judgement, answer.history or NOT_SEEN
    return scan_pb2.LookupTagResponse(
        verdict=VERDICTS[judgement.verdict],
        checks=checks(judgement.checks),
        degraded=judgement.degraded,
        product=product_card(answer.card) if answer.card is not None else None,
        scan_count=min(seen.scans, MOST_SCANS),
        first_scanned_at=timestamp(seen.first_at) if seen.first_at is not None else None,
        first_country_code=seen.first_country,
        checked_at=timestamp(answer.checked_at),
        risk=risk(answer.assessment, explain=False) if answer.assessment is not None else None,
    )


async def frames(requests: AsyncIterator[scan_pb2.VerifyStreamRequest]) -> AsyncIterator[Frame]:
    """The frames of a stream of scans."""
    async for request in requests:
        if request.HasField("chunk"):
            yield Chunk(request.chunk.sequence, request.chunk.tokens)
        else:
            yield Header(request.header.with_products)


def stream_response(judged: Judged) -> scan_pb2.VerifyStreamResponse:
    """The results of one chunk."""
    return scan_pb2.VerifyStreamResponse(
        sequence=judged.sequence,
        results=[_token_result(result, judged.with_products) for result in judged.results],
        checked_at=timestamp(judged.checked_at),
    )


def _token_result(result: Result, with_product: bool) -> scan_pb2.TokenResult:
    if isinstance(result, Limited):
        wait = math.ceil(result.retry_after * 1000)
        return scan_pb2.TokenResult(status=scan_pb2.TOKEN_STATUS_RATE_LIMITED, retry_after_ms=wait)
    if result is None:
        return scan_pb2.TokenResult(status=scan_pb2.TOKEN_STATUS_MALFORMED)
    card, seen = result.card, result.history or NOT_SEEN
    return scan_pb2.TokenResult(
        status=scan_pb2.TOKEN_STATUS_SCANNED,
        verdict=VERDICTS[result.judgement.verdict],
        degraded=result.judgement.degraded,
        first_scan=seen.scans == 1,
        scan_count=min(seen.scans, MOST_SCANS),
        product_id=str(card.product_id) if card is not None else "",
        batch_id=str(card.batch_id) if card is not None else "",
        product=product_card(card) if with_product and card is not None else None,
    )


def report(request: scan_pb2.ReportFraudRequest, product_id: UUID | None) -> Report:
    """The report; a code of ours is kept as its product, anything else as it stands."""
    photo = Photo(request.photo.sha256, request.photo.media_type) if request.HasField("photo") else None
    return Report(
        kind=scan_pb2.FraudKind.Name(request.kind).removeprefix("FRAUD_KIND_"),
        text=request.text,
        product_id=product_id,
        code="" if product_id is not None else request.token,
        contact=request.contact,
        photo=photo,
        country_code=request.country_code,
    )


def list_reports_response(page: CasePage) -> scan_pb2.ListReportsResponse:
    """A page of cases."""
    cases = [report_case(case) for case in page.cases]
    return scan_pb2.ListReportsResponse(cases=cases, next_page_token=page.next_page_token)


def report_case(case: Case) -> scan_pb2.ReportCase:
    """A case for staff."""
    return scan_pb2.ReportCase(
        case_id=str(case.case_id),
        report_time=timestamp(case.reported_at),
        state=scan_pb2.ReportState.Value(f"REPORT_STATE_{case.state}"),
        kind=scan_pb2.FraudKind.Value(f"FRAUD_KIND_{case.kind}"),
        text=case.text,
        product_id=str(case.product_id or ""),
        code=case.code,
        country_code=case.country_code,
        report_count=case.reports,
        note=case.note,
        change_time=timestamp(case.changed_at) if case.changed_at is not None else None,
    )


def report_state(number: scan_pb2.ReportState.ValueType) -> str | None:
    """The name of a state; None when it was left out."""
    return scan_pb2.ReportState.Name(number).removeprefix("REPORT_STATE_") if number else None


def totals_response(totals: DayTotals) -> scan_pb2.GetTodayTotalsResponse:
    """The scans of a day."""
    verdicts = [
        scan_pb2.VerdictTotal(verdict=scan_pb2.Verdict.ValueType(verdict), scans=scans)
        for verdict, scans in totals.scans.items()
    ]
    return scan_pb2.GetTodayTotalsResponse(
        day=totals.day.isoformat(), scans=sum(totals.scans.values()), verdicts=verdicts
    )


def top_product(found: TopProduct) -> scan_pb2.TopProduct:
    """A product among those that were scanned most."""
    return scan_pb2.TopProduct(
        product_id=str(found.product_id),
        factory_id=str(found.factory_id),
        scan_count=found.scans,
        last_scan_time=timestamp(found.scanned_at),
    )


def watch_response(seen: Seen) -> scan_pb2.WatchScansResponse:
    """Scans for a watcher."""
    scans = [_live_scan(scan) for scan in seen.scans]
    return scan_pb2.WatchScansResponse(scans=scans, missed=seen.missed, position=seen.position)


def _live_scan(scan: LiveScan) -> scan_pb2.LiveScan:
    return scan_pb2.LiveScan(
        event_id=str(scan.event_id),
        product_id=str(scan.product_id),
        batch_id=str(scan.batch_id or ""),
        factory_id=str(scan.factory_id or ""),
        scan_time=timestamp(scan.at),
        country_code=scan.country,
        verdict=scan_pb2.Verdict.ValueType(scan.verdict),
        risk=scan.risk,
        leading_factor=scan_pb2.RiskFactorName.ValueType(scan.leading or 0),
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


def _product_card(card: Card) -> scan_pb2.ProductCard:
    return scan_pb2.ProductCard(
        product_id=str(card.product_id),
        batch_id=str(card.batch_id),
        factory_name=card.factory_name,
        attributes=card.attributes,
    )


product_card = lru_cache(maxsize=16_384)(_product_card)
"""The product behind a code. Not to be changed: it is built once for many answers."""


def proof(response: anchor_pb2.GetProofResponse) -> Proof | None:
    """The proof in the terms of a receipt, which names the chain only when the anchor is final."""
    if not response.HasField("proof"):
        return None
    tree, anchor = response.proof, response.anchor
    final = anchor.state == anchor_pb2.ANCHOR_STATE_FINAL
    return Proof(
        anchor=TreePart(tree.index, tree.size, tuple(tree.path), tree.anchor_root),
        chain=_place(anchor.location) if final else None,
        evidence=tuple(
            [_evidence(each) for each in response.evidence if each.location != anchor.location][:MAX_EVIDENCE]
        )
        if final
        else (),
    )


def _evidence(evidence: anchor_pb2.Evidence) -> ChainPart | StampPart:
    if evidence.HasField("location"):
        return _place(evidence.location)
    return StampPart(evidence.time_stamp.response)


def _place(place: anchor_pb2.ChainLocation) -> ChainPart:
    return ChainPart(place.chain_id, place.contract.lower(), place.transaction.lower(), place.block_number)


def inclusion(found: Inclusion) -> ledger_pb2.InclusionProof:
    """A proof as the contract shows it."""
    return ledger_pb2.InclusionProof(
        index=found.index, leaf_hash=found.leaf_hash, path=found.path, checkpoint=found.note.decode()
    )


def body(content_type: str, data: bytes) -> HttpBody:
    """An answer that is no message of the contract."""
    return HttpBody(content_type=content_type, data=data)
