"""The page as a browser gets it: in its reader's language, under its policy, and with a name for the browser."""

from collections.abc import Mapping
from dataclasses import dataclass

from scan.cookie import Cookie
from scan.language import Language, preferred
from scan.page import Page
from scan.verify import Answer


@dataclass(frozen=True, slots=True)
class Document:
    """HTML in UTF-8, and the headers that go with it."""

    headers: tuple[tuple[str, str], ...]
    html: bytes


class Documents:
    """Makes documents."""

    def __init__(self, page: Page, languages: Mapping[str, Language], cookie: Cookie) -> None:
        self._page = page
        self._languages = languages
        self._cookie = cookie

    def write(self, text: str, answer: Answer | None, metadata: Mapping[str, str]) -> Document:
        """The page of what was found under `text`, for a request with these headers; no answer: no code."""
        tag = preferred(metadata.get("accept-language", ""), tuple(self._languages))
        headers = (
            ("cache-control", "no-store"),
            ("content-language", tag),
            ("content-security-policy", self._page.policy),
            ("vary", "accept-language"),
            *(self._cookie.given(metadata) if answer else ()),
        )
        return Document(headers, self._page.write(text, answer, self._languages[tag]))
