"""The anchor service of the contract, without a chain: what is put in comes out of GetProof, over real gRPC."""

from collections.abc import Mapping
from types import MappingProxyType

import grpc
from grpc.aio import ServicerContext
from voketag.anchor.v1 import anchor_pb2, anchor_pb2_grpc

from trust import canonical, merkle

CONTRACT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
TRANSACTION = "0x" + "ab" * 32


NOTHING: Mapping[str, bytes] = MappingProxyType({})


class FakeAnchor(anchor_pb2_grpc.AnchorServiceServicer):
    """Anchors each batch in a tree of its own, beside another root."""

    def __init__(self) -> None:
        self.asked = 0
        self.target = ""
        self._answers: dict[str, anchor_pb2.GetProofResponse] = {}
        self._server = grpc.aio.server()

    async def start(self) -> None:
        anchor_pb2_grpc.add_AnchorServiceServicer_to_server(self, self._server)
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(0)

    def put(
        self, batch_id: bytes, text: str, root: bytes, size: int, *, state: int, stamps: Mapping[str, bytes] = NOTHING
    ) -> None:
        anchor = anchor_pb2.Anchor(batch_id=text, root=root, size=size, state=state)  # type: ignore[arg-type]
        response = anchor_pb2.GetProofResponse(anchor=anchor)
        if state != anchor_pb2.ANCHOR_STATE_PENDING:
            own = merkle.leaf_hash(canonical.anchor_leaf(canonical.SubjectKind.BATCH, batch_id, size, root))
            leaves = [merkle.leaf_hash(b"another"), own]
            response.proof.CopyFrom(
                anchor_pb2.AnchorProof(
                    index=1, size=2, path=merkle.inclusion_path(leaves, 1), anchor_root=merkle.root(leaves)
                )
            )
        if state in {anchor_pb2.ANCHOR_STATE_MINED, anchor_pb2.ANCHOR_STATE_FINAL}:
            response.anchor.location.CopyFrom(
                anchor_pb2.ChainLocation(
                    kind="evm", chain_id=31337, contract=CONTRACT, transaction=TRANSACTION, block_number=7
                )
            )
            response.evidence.add(target="chain").location.CopyFrom(response.anchor.location)
            for target, stamp in stamps.items():
                response.evidence.add(target=target).time_stamp.response = stamp
        self._answers[text] = response

    async def GetProof(
        self,
        request: anchor_pb2.GetProofRequest,
        context: ServicerContext[anchor_pb2.GetProofRequest, anchor_pb2.GetProofResponse],
    ) -> anchor_pb2.GetProofResponse:
        self.asked += 1
        if request.batch_id not in self._answers:
            await context.abort(grpc.StatusCode.NOT_FOUND, "not submitted")
        return self._answers[request.batch_id]
