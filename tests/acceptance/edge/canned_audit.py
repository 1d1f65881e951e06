"""The audit log's methods of the canned server."""

from collections.abc import AsyncIterator

from voketag.admin.v1 import audit_pb2 as pb
from voketag.admin.v1 import audit_pb2_grpc

from tests.acceptance.edge.canned_hooks import NOW, Context, Hooks

ENTRY = pb.AuditEntry(number=1, service="admin", audit_id="1", time=NOW, actor_kind="user", detail="{}", result="OK")


class Audit(audit_pb2_grpc.AuditServiceServicer, Hooks):
    """Answers with one entry and remembers the metadata of each call."""

    async def ListEntries(self, request: pb.ListEntriesRequest, context: Context) -> pb.ListEntriesResponse:
        self.seen(context)
        return pb.ListEntriesResponse(entries=[ENTRY], next_page_token=request.filter.actor)

    async def GetEntry(self, request: pb.GetEntryRequest, context: Context) -> pb.GetEntryResponse:
        self.seen(context)
        return pb.GetEntryResponse(entry=ENTRY)

    async def ExportEntries(
        self, request: pb.ExportEntriesRequest, context: Context
    ) -> AsyncIterator[pb.ExportEntriesResponse]:
        self.seen(context)
        yield pb.ExportEntriesResponse(lines=b"{}\n")

    async def GetAuditCheckpoint(
        self, request: pb.GetAuditCheckpointRequest, context: Context
    ) -> pb.GetAuditCheckpointResponse:
        self.seen(context)
        return pb.GetAuditCheckpointResponse(checkpoint="log", origin="log", keys=["key"], anchor_id="1")

    async def GetAuditInclusionProof(
        self, request: pb.GetAuditInclusionProofRequest, context: Context
    ) -> pb.GetAuditInclusionProofResponse:
        self.seen(context)
        return pb.GetAuditInclusionProofResponse(number=1, entry=b"1", leaf_hash=b"1", path=[b"1"], checkpoint="log")

    async def GetAuditConsistencyProof(
        self, request: pb.GetAuditConsistencyProofRequest, context: Context
    ) -> pb.GetAuditConsistencyProofResponse:
        self.seen(context)
        return pb.GetAuditConsistencyProofResponse(from_size=1, to_size=2, path=[b"1"])
