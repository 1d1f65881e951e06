"""Verify between the bytes of its messages, so that all of a scan's work is done within its turn."""

from functools import partial

from voketag.scan.v1 import scan_pb2

from mesh.identity import metadata_of
from mesh.interceptors.validation import read
from scan import convert
from scan.caller import Callers
from scan.counters import Counters
from scan.service import Context, ScanService, address_of
from scan.turns import Held, Turns
from scan.verify import Scan, Verifier

METHOD = "/voketag.scan.v1.ScanService/Verify"


class VerifyCall:
    """Answers a call of Verify; one that cannot be answered within its turn goes on by itself."""

    def __init__(self, service: ScanService, verifier: Verifier, counters: Counters, callers: Callers) -> None:
        self._service = service
        self._verifier = verifier
        self._counters = counters
        self._callers = callers
        self._turns = Turns(counters, self._tell)

    async def __call__(self, request: bytes, context: Context) -> bytes:
        """VerifyResponse for VerifyRequest. Raises ValidationFailed and what ScanService.Verify raises."""
        match await self._turns.take(partial(self._begin, request, context)):
            case bytes(response):
                return response
            case Held(scan, told):
                answer = await self._verifier.end(scan, await self._counters.allowed(scan.sighting.caller, told))
                return convert.verify_response(answer, explain=scan.explain)
        answered = await self._service.Verify(scan_pb2.VerifyRequest.FromString(request), context)
        return answered.SerializeToString()

    def _begin(self, request: bytes, context: Context) -> Scan | None:
        asked, metadata = read(scan_pb2.VerifyRequest, request), metadata_of(context)
        caller = self._callers.name(address_of(metadata, context), metadata)
        return self._verifier.begin(asked.token, caller, typed=asked.typed, explain=asked.explain)

    def _tell(self, scan: Scan, told: bytes) -> bytes:
        return convert.verify_response(self._verifier.judged(scan, told), explain=scan.explain)
