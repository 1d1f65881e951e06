"""The page's cookie: a random name for a browser, by which its scans are known to be one device's."""

from collections.abc import Callable, Mapping

from scan.caller import INSTALL_ID

YEAR_SECONDS = 365 * 86_400


class Cookie:
    """Gives browsers their names: 128 random bits in hexadecimal, out of reach of scripts and other sites."""

    def __init__(self, *, secure: bool, entropy: Callable[[int], bytes]) -> None:
        self._attributes = f"; Max-Age={YEAR_SECONDS}; Path=/; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"
        self._entropy = entropy

    def given(self, metadata: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The header that names the browser; none for one that has a name. What is malformed is no name."""
        if INSTALL_ID.search(metadata.get("cookie", "")):
            return ()
        return (("set-cookie", f"vt_install={self._entropy(16).hex()}{self._attributes}"),)
