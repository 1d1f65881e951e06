"""RulingService: what staff rule of products, for admin."""

from typing import Any
from uuid import UUID

from voketag.scan.v1 import ruling_pb2 as pb
from voketag.scan.v1 import ruling_pb2_grpc

from mesh.idempotency import RequestKey
from scan.convert import timestamp
from scan.rulings import BATCH, BLOCK, CLEAR, KEY, PRODUCT, REVOKE, Ruling, Rulings, Wanted

SUBJECTS = {
    "block_product_id": (BLOCK, PRODUCT),
    "block_batch_id": (BLOCK, BATCH),
    "revoke_kid": (REVOKE, KEY),
    "clear_product_id": (CLEAR, PRODUCT),
}
FIELDS = {meant: field for field, meant in SUBJECTS.items()}


class RulingService(ruling_pb2_grpc.RulingServiceServicer):
    """See proto/voketag/scan/v1/ruling.proto."""

    def __init__(self, rulings: Rulings) -> None:
        self._rulings = rulings

    async def Rule(self, request: pb.RuleRequest, context: Any) -> pb.RuleResponse:
        """Makes a ruling, or takes one back."""
        key = RequestKey.of("/voketag.scan.v1.RulingService/Rule", request.request_id, request)
        return pb.RuleResponse(ruling=_message(await self._rulings.rule(key, _wanted(request))))


def _wanted(request: pb.RuleRequest) -> Wanted:
    field = request.WhichOneof("subject")
    assert field is not None
    kind, of = SUBJECTS[field]
    value = getattr(request, field)
    name = str(value) if of == KEY else str(UUID(value))
    return Wanted(kind, f"{of}/{name}", request.lift, request.note, UUID(request.ruled_by))


def _message(ruling: Ruling) -> pb.Ruling:
    of, _, name = ruling.subject.partition("/")
    message = pb.Ruling(
        ruling_id=str(ruling.ruling_id),
        lifts=ruling.lifts,
        note=ruling.note,
        ruled_by=str(ruling.ruled_by),
        ruling_time=timestamp(ruling.ruled_at),
    )
    setattr(message, FIELDS[ruling.kind, of], int(name) if of == KEY else name)
    return message
