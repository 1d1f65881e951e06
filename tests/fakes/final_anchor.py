"""The anchor service of the contract, without a chain: roots go in, and become final when the test says so."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from voketag.anchor.v1 import anchor_pb2, anchor_pb2_grpc

PLACE = anchor_pb2.ChainLocation(
    kind="evm",
    chain_id=31337,
    contract="0x5FbDB2315678afecb367f032d93F642f64180aa3",
    transaction="0x" + "ab" * 32,
    block_number=7,
)


class FinalAnchor(anchor_pb2_grpc.AnchorServiceServicer):
    """Keeps its roots while it is stopped and started again at the same port."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.submitted: dict[str, anchor_pb2.SubmitRootRequest] = {}
        self.requests: list[anchor_pb2.SubmitRootRequest] = []
        self.final: list[str] = []
        self.credentials: set[str] = set()
        self.port = 0
        self._changed = asyncio.Event()
        self._server: Any = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = grpc.aio.server()
        anchor_pb2_grpc.add_AnchorServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(0)

    def finalise(self, batch_id: str) -> None:
        self.final.append(batch_id)
        self._changed.set()

    def _anchor(self, batch_id: str) -> anchor_pb2.Anchor:
        request = self.submitted[batch_id]
        anchor = anchor_pb2.Anchor(
            batch_id=batch_id, root=request.root, size=request.size, state=anchor_pb2.ANCHOR_STATE_PENDING
        )
        if batch_id in self.final:
            anchor.state = anchor_pb2.ANCHOR_STATE_FINAL
            anchor.location.CopyFrom(PLACE)
        return anchor

    async def SubmitRoot(self, request: anchor_pb2.SubmitRootRequest, context: Any) -> anchor_pb2.SubmitRootResponse:
        self.requests.append(request)
        self.credentials.add(dict(context.invocation_metadata()).get("authorization", ""))
        first = self.submitted.setdefault(request.batch_id, request)
        if first.root != request.root:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "another root was submitted")
        if self.at_once and request.batch_id not in self.final:
            self.finalise(request.batch_id)
        return anchor_pb2.SubmitRootResponse(anchor=self._anchor(request.batch_id))

    async def WatchFinality(
        self, request: anchor_pb2.WatchFinalityRequest, context: Any
    ) -> AsyncIterator[anchor_pb2.WatchFinalityResponse]:
        position = request.after_position
        while True:
            self._changed.clear()
            if anchors := [self._anchor(batch_id) for batch_id in self.final[position:]]:
                position += len(anchors)
                yield anchor_pb2.WatchFinalityResponse(anchors=anchors, position=position)
            else:
                await self._changed.wait()
