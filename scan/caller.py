"""Who scans, as far as we care: a device and an address prefix under the day's salt, and a place."""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from mesh.identity import address_prefix
from scan.geography import Geography
from scan.salts import Salts
from scan.sessions import Place

INSTALL_ID = re.compile(r"(?:^|;\s*)vt_install=([0-9a-f]{32})(?:;|$)")
STABLE_HEADERS = ("user-agent", "accept-language", "sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform")


class Caller(NamedTuple):
    """A device, None when it has no name that lasts the day, and an address prefix: 16 bytes each; and a place."""

    device: bytes | None
    source: bytes
    place: Place | None


class Callers:
    """Names callers. Neither an address nor what a device says of itself goes any further."""

    def __init__(self, salts: Salts, geography: Geography) -> None:
        self._salts = salts
        self._geography = geography

    def name(self, address: str, metadata: Mapping[str, str]) -> Caller:
        """The caller at an IP address, '' when it is not known, with the metadata of its call."""
        names, lasting = self._salts.names()
        prefix, place = address_prefix(address), self._geography.place(address, metadata)
        if not lasting:
            return Caller(None, names.of_source(prefix), place)
        return Caller(*names.of_caller(device_name(metadata, prefix), prefix), place)

    def crowd(self, address: str, metadata: Mapping[str, str]) -> Caller:
        """A caller that scans for many, as a warehouse does: its scans are scans, and no sessions of a device."""
        names, _ = self._salts.names()
        return Caller(None, names.of_source(address_prefix(address)), self._geography.place(address, metadata))


def device_name(metadata: Mapping[str, str], prefix: str) -> str:
    """What tells this device from others: the page's first-party cookie, else a fingerprint of stable headers.

    The fingerprint is SHA-256 and the same for all phones of one kind, so it names a device within its address prefix:
    else everybody with a common phone would be one busy caller.
    """
    cookie = metadata.get("cookie")
    if cookie is not None and (found := INSTALL_ID.search(cookie)):
        return f"install:{found[1]}"
    return f"fingerprint:{prefix}:{_fingerprint(*map(metadata.get, STABLE_HEADERS))}"


@lru_cache(maxsize=4_096)
def _fingerprint(*headers: str | None) -> str:
    return hashlib.sha256("\n".join([text or "" for text in headers]).encode()).hexdigest()
