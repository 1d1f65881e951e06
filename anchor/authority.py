"""A time-stamp authority (RFC 3161) behind HTTP."""

from datetime import timedelta

from aiohttp import ClientError, ClientSession, ClientTimeout
from rfc3161_client import TimestampRequestBuilder
from rfc3161_client.base import HashAlgorithm

from anchor.evidence import TimeStamp
from anchor.target import TargetUnavailableError
from mesh.clock import Clock
from mesh.timestamps import Authorities
from trust.stamp import StampInvalidError

LONGEST = 16_384
"""Bytes of an answer; one with a chain of certificates has some 6,000."""
MEDIA_TYPE = "application/timestamp-query"


class AuthorityUnavailableError(TargetUnavailableError):
    """No answer came: ask again later."""


class StampRefusedError(TargetUnavailableError):
    """The authority refused, or its answer proves nothing: it is not kept, and asked for again later."""

    kind = "refused"


class Authority:
    """Asks at `url`; `trusted` says whose signatures count. Times may be off from our clock by `tolerance`."""

    def __init__(
        self,
        url: str,
        trusted: Authorities,
        clock: Clock,
        *,
        timeout_seconds: float,
        tolerance: timedelta = timedelta(minutes=5),
    ) -> None:
        self._url = url
        self._trusted = trusted
        self._clock = clock
        self._timeout = ClientTimeout(total=timeout_seconds)
        self._tolerance = tolerance

    async def stamp(self, root: bytes) -> TimeStamp:
        """A time stamp over the 32 bytes of a root, checked. Raises AuthorityUnavailableError, StampRefusedError."""
        request = TimestampRequestBuilder(data=root, hash_algorithm=HashAlgorithm.SHA256).build()
        answer = await self._ask(request.as_bytes())
        try:
            time = self._trusted.check(answer, root, nonce=request.nonce)
        except StampInvalidError as error:
            raise StampRefusedError(f"the authority's answer is not used: {error}") from None
        if abs(time - self._clock.now()) > self._tolerance:
            raise StampRefusedError(f"the authority's answer is not used: its time is {time.isoformat()}")
        return TimeStamp(answer, time)

    async def _ask(self, body: bytes) -> bytes:
        try:
            async with (
                ClientSession(timeout=self._timeout) as session,
                session.post(
                    self._url, data=body, headers={"content-type": MEDIA_TYPE}, allow_redirects=False
                ) as response,
            ):
                answer = await response.content.read(LONGEST)
                while len(answer) < LONGEST and (more := await response.content.read(LONGEST)):
                    answer += more
                status = response.status
        except (ClientError, TimeoutError, OSError) as error:
            raise AuthorityUnavailableError(f"the authority cannot be reached: {type(error).__name__}") from None
        if status != 200:
            raise AuthorityUnavailableError(f"the authority answered HTTP {status}")
        return answer
