"""AuditService: who changed what, for admins and auditors."""

from collections.abc import AsyncIterator
from typing import Any

from voketag.admin.v1 import audit_pb2 as pb
from voketag.admin.v1 import audit_pb2_grpc

from admin import audit_convert as convert
from admin.audit import AuditLog
from mesh.identity import caller
from trust.checkpoint import Checkpoint


class AuditService(audit_pb2_grpc.AuditServiceServicer):
    """See proto/voketag/admin/v1/audit.proto."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def ListEntries(self, request: pb.ListEntriesRequest, context: Any) -> pb.ListEntriesResponse:
        """A page of entries."""
        found, more = await self._log.page(
            caller(), convert.wanted(request.filter), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListEntriesResponse(entries=map(convert.entry_message, found), next_page_token=more)

    async def GetEntry(self, request: pb.GetEntryRequest, context: Any) -> pb.GetEntryResponse:
        """Finds an entry."""
        return pb.GetEntryResponse(entry=convert.entry_message(await self._log.get(request.number)))

    async def ExportEntries(
        self, request: pb.ExportEntriesRequest, context: Any
    ) -> AsyncIterator[pb.ExportEntriesResponse]:
        """Entries as JSON Lines."""
        async for lines in self._log.export(convert.wanted(request.filter), request.first):
            yield pb.ExportEntriesResponse(lines=lines)

    async def GetAuditCheckpoint(
        self, request: pb.GetAuditCheckpointRequest, context: Any
    ) -> pb.GetAuditCheckpointResponse:
        """A signed checkpoint."""
        signed, (origin, keys) = await self._log.checkpoint(request.size), await self._log.keys()
        anchor_id = Checkpoint(origin, signed.size, bytes(32)).subject_id()
        return pb.GetAuditCheckpointResponse(
            checkpoint=signed.note.decode(), origin=origin, keys=keys, anchor_id=str(anchor_id)
        )

    async def GetAuditInclusionProof(
        self, request: pb.GetAuditInclusionProofRequest, context: Any
    ) -> pb.GetAuditInclusionProofResponse:
        """Proves an entry."""
        return convert.proof_message(await self._log.inclusion(request.number, request.size))

    async def GetAuditConsistencyProof(
        self, request: pb.GetAuditConsistencyProofRequest, context: Any
    ) -> pb.GetAuditConsistencyProofResponse:
        """Proves that a tree contains an earlier one."""
        size, path = await self._log.consistency(request.from_size, request.to_size)
        return pb.GetAuditConsistencyProofResponse(from_size=request.from_size, to_size=size, path=path)
