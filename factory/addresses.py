"""Which URLs webhooks may go to: public ones over TLS, so that nobody reaches our own network through us (CWE-918)."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from yarl import URL

FIRST_FREE_PORT = 1024

# Global unicast is 2000::/3 (RFC 4291); what embeds an IPv4 address or is for documents lies in it or beside it.
_GLOBAL_UNICAST = ip_network("2000::/3")
_REFUSED = tuple(
    ip_network(text)
    for text in (
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "2001::/23",  # IETF protocols, Teredo among them, RFC 2928
        "2002::/16",  # 6to4, RFC 3056
        "3fff::/20",  # documentation, RFC 9637
    )
)

AddressRule = Callable[[str], bool]
"""True for the text of an IP address that may be connected to."""


def any_address(address: str) -> bool:
    """True for every address: for local use."""
    return _parsed(address) is not None


def public_address(address: str) -> bool:
    """True for global unicast addresses that hide no other: an address in any special registry is none."""
    parsed = _parsed(address)
    if parsed is None or not parsed.is_global or parsed.is_multicast or parsed.is_reserved:
        return False
    if isinstance(parsed, IPv6Address) and (parsed not in _GLOBAL_UNICAST or parsed.scope_id is not None):
        return False
    return not any(parsed.version == network.version and parsed in network for network in _REFUSED)


def refusal(text: str, *, allow_private: bool) -> str | None:
    """Why a URL cannot be an endpoint; None when it can, as far as that shows before its name is looked up."""
    try:
        url = URL(text)
        port = url.port or 0
    except (ValueError, TypeError):
        return "it is not a URL"
    if any(ord(character) <= 0x20 or ord(character) == 0x7F for character in text):
        return "it has spaces or control characters"
    if url.scheme not in ({"https", "http"} if allow_private else {"https"}):
        return "its scheme is not https"
    if not url.host:
        return "it names no host"
    if url.user is not None or url.password is not None:
        return "it has a user name or a password"
    if url.fragment or "#" in text:
        return "it has a fragment"
    if not (allow_private or port == 443 or port >= FIRST_FREE_PORT) or port == 0:
        return "its port is neither 443 nor one from 1024 on"
    if _parsed(url.host) is not None and not (allow_private or public_address(url.host)):
        return "its address is not public"
    return None


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(address)
    except ValueError:
        return None
