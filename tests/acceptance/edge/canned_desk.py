"""The fraud desk's methods of the canned server."""

from voketag.scan.v1 import ruling_pb2, ruling_pb2_grpc

from tests.acceptance.edge.canned_hooks import NOW, Context, Hooks


class Desk(ruling_pb2_grpc.RulingServiceServicer, Hooks):
    """Answers with one of everything and remembers the metadata of each call."""

    async def Rule(self, request: ruling_pb2.RuleRequest, context: Context) -> ruling_pb2.RuleResponse:
        self.seen(context)
        return ruling_pb2.RuleResponse(ruling=ruling_pb2.Ruling(ruling_id="1", block_product_id="1", ruling_time=NOW))
