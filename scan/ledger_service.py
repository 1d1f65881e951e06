"""The RPCs of voketag.scan.v1.LedgerService."""

from typing import Any
from uuid import UUID

from google.api.httpbody_pb2 import HttpBody
from grpc.aio import ServicerContext
from voketag.scan.v1 import ledger_pb2, ledger_pb2_grpc

from mesh.errors import NotLogged
from scan import convert
from scan.log import Log
from scan.verify import Verifier
from trust.logproof import LogProof
from trust.tilepath import PathMalformedError, TilePath
from trust.tiles import ENTRIES

Context = ServicerContext[Any, Any]
FOR_EVER = "public, max-age=31536000, immutable"
FOR_A_WHILE = "public, max-age=3600"
NOT_AT_ALL = "no-cache"


class LedgerService(ledger_pb2_grpc.LedgerServiceServicer):
    """Checkpoints, tiles and proofs."""

    def __init__(self, log: Log, verifier: Verifier) -> None:
        self._log = log
        self._verifier = verifier

    async def GetLogKey(self, request: ledger_pb2.GetLogKeyRequest, context: Context) -> ledger_pb2.GetLogKeyResponse:
        """Gives the public keys."""
        key = await self._log.key()
        return ledger_pb2.GetLogKeyResponse(origin=key.origin, keys=key.keys)

    async def GetCheckpoint(self, request: ledger_pb2.GetCheckpointRequest, context: Context) -> HttpBody:
        """Gives a signed note."""
        note = await self._log.checkpoint(request.size)
        await _cached(context, FOR_EVER if request.size else NOT_AT_ALL)
        return convert.body("text/plain; charset=utf-8", note)

    async def GetTile(self, request: ledger_pb2.GetTileRequest, context: Context) -> HttpBody:
        """Gives the hashes of a tile; one that is full stays with whoever read it."""
        try:
            path = TilePath.parse(f"tile/{request.name}")
        except PathMalformedError as error:
            raise NotLogged from error
        hashes = await self._log.tile(path)
        await _cached(context, FOR_EVER if path.width == ENTRIES else FOR_A_WHILE)
        return convert.body("application/octet-stream", hashes)

    async def GetInclusionProof(
        self, request: ledger_pb2.GetInclusionProofRequest, context: Context
    ) -> ledger_pb2.GetInclusionProofResponse:
        """Proves an entry by its number."""
        found = await self._log.inclusion(request.index, request.size)
        return ledger_pb2.GetInclusionProofResponse(proof=convert.inclusion(found))

    async def GetScanProof(
        self, request: ledger_pb2.GetScanProofRequest, context: Context
    ) -> ledger_pb2.GetScanProofResponse:
        """Gives the entry of a scan to who has its code and its id."""
        product_id = await self._verifier.product(request.token)
        entry, found = await self._log.scan(product_id, UUID(request.scan_id), request.size)
        await _cached(context, "no-store")
        text = LogProof(entry, found.index, tuple(found.path), found.note).to_bytes().decode()
        return ledger_pb2.GetScanProofResponse(entry=entry, proof=convert.inclusion(found), tlog_proof=text)

    async def GetConsistencyProof(
        self, request: ledger_pb2.GetConsistencyProofRequest, context: Context
    ) -> ledger_pb2.GetConsistencyProofResponse:
        """Proves that a tree contains an earlier one."""
        found = await self._log.consistency(request.from_size, request.to_size)
        return ledger_pb2.GetConsistencyProofResponse(from_size=found.old, to_size=found.new, path=found.path)


async def _cached(context: Context, how: str) -> None:
    await context.send_initial_metadata((("cache-control", how),))
