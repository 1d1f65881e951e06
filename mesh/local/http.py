"""One request to a server on this machine, past any proxy that the environment names."""

import asyncio
import urllib.error
import urllib.request

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


async def fetch(url: str, body: bytes | None = None, *, within: float = 10.0) -> bytes | None:
    """The answer's body, or None when there is no connection or the status is not 2xx.

    Meant for a few requests a second at most: each takes a thread.
    """
    request = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310 - our own URLs
    return await asyncio.to_thread(_fetch, request, within)


def _fetch(request: urllib.request.Request, within: float) -> bytes | None:
    try:
        with _DIRECT.open(request, timeout=within) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return None
    except OSError:
        return None
