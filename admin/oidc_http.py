"""How we speak to providers: JSON over HTTP, in five seconds, 64 KiB at most, no redirects, cookies or proxies."""

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar
from yarl import URL

SECONDS = 5.0
LONGEST = 65_536
HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "VokeTag-OIDC/1"}


class ProviderAwayError(Exception):
    """The provider did not answer, or with something that cannot be used; the message says what."""


async def get(url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The JSON object there. Raises ProviderAwayError."""
    status, found = await _ask("GET", url, headers=headers)
    if status != 200:
        raise ProviderAwayError(f"it answered HTTP {status}")
    return found


async def post(url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    """Status and JSON object of the answer to a form. Raises ProviderAwayError."""
    return await _ask("POST", url, form, headers)


async def _ask(
    method: str, url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """One connection a call: a provider is asked rarely."""
    try:
        async with (
            ClientSession(
                timeout=ClientTimeout(total=SECONDS),
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                headers=HEADERS,
            ) as session,
            session.request(
                method, URL(url, encoded=True), data=form, headers=headers, allow_redirects=False
            ) as response,
        ):
            status, body = response.status, await _body(response)
    except (ClientError, OSError, TimeoutError, ValueError) as error:
        raise ProviderAwayError(f"it cannot be reached: {type(error).__name__}") from None
    if 300 <= status < 400 or status >= 500:
        raise ProviderAwayError(f"it answered HTTP {status}")
    try:
        found = orjson.loads(body)  # json's parser recurses as deep as the text, beyond the stack under a raised limit
    except ValueError:
        raise ProviderAwayError(f"it answered HTTP {status} and no JSON") from None
    if not isinstance(found, dict):
        raise ProviderAwayError("its answer is no JSON object")
    return status, found


async def _body(response: ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_chunked(4096):
        body += piece
        if len(body) > LONGEST:
            response.close()
            raise ProviderAwayError("its answer is too long")
    return bytes(body)
