"""The languages of the page: which one a reader wants, and its texts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

FALLBACK = "en"
FOLDER = Path(__file__).parent / "languages"


@dataclass(frozen=True, slots=True)
class Language:
    """One language: its BCP 47 tag, and its texts by key."""

    tag: str
    texts: dict[str, str]
    months: tuple[str, ...]

    def date(self, moment: datetime) -> str:
        """A moment in UTC as people write it."""
        month = self.months[moment.month - 1]
        return self.texts["date"].format(day=moment.day, month=month, year=moment.year, time=f"{moment:%H:%M}")


def read_languages(folder: Path = FOLDER) -> dict[str, Language]:
    """Every language by its tag, which is the name of its file."""
    languages = {}
    for path in sorted(folder.glob("*.json")):
        texts = json.loads(path.read_text(encoding="utf-8"))
        months = tuple(texts.pop("months"))
        languages[path.stem] = Language(path.stem, texts, months)
    return languages


def preferred(accept_language: str, offered: Sequence[str]) -> str:
    """The offered language that an Accept-Language field prefers (RFC 9110, 12.5.4), FALLBACK when it names none.

    A range matches by its whole tag, else by its language alone (RFC 4647, lookup): `pt-PT` finds `pt-BR`.
    """
    ranges = [_weighted(item) for item in accept_language.split(",")[:32]]
    for tag, weight in sorted(ranges, key=lambda item: -item[1]):
        if weight <= 0:
            break
        for matches in (_whole, _language):
            for language in offered:
                if matches(tag, language.lower()):
                    return language
    return FALLBACK


def _weighted(item: str) -> tuple[str, float]:
    tag, _, parameter = item.partition(";")
    name, _, value = parameter.strip().partition("=")
    if not parameter:
        return tag.strip().lower(), 1.0
    try:
        weight = float(value) if name.strip().lower() == "q" else 0.0
    except ValueError:
        weight = 0.0
    return tag.strip().lower(), weight


def _whole(wanted: str, language: str) -> bool:
    return wanted == language


def _language(wanted: str, language: str) -> bool:
    return wanted.partition("-")[0] == language.partition("-")[0]
