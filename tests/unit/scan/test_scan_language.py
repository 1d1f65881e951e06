"""Languages: the one a reader wants, and the same texts in each."""

from datetime import UTC, datetime
from string import Formatter

import pytest

from scan.language import preferred, read_languages

LANGUAGES = read_languages()
OFFERED = tuple(LANGUAGES)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("pt-BR", "pt-BR"),
        ("PT-br", "pt-BR"),
        ("pt", "pt-BR"),
        ("pt-PT,en;q=0.5", "pt-BR"),
        ("es-419", "es"),
        ("de, es;q=0.7, en;q=0.3", "es"),
        ("de-AT, fr", "en"),
        ("en;q=0.2, es;q=0.9", "es"),
        ("es;q=0, pt;q=0.1", "pt-BR"),
        ("es;q=nonsense, pt;q=0.1", "pt-BR"),
        ("es;level=1", "en"),
        ("*", "en"),
        ("es ; q=0.8 , pt-BR ; q=0.9", "pt-BR"),
        (",;,q=1,;;", "en"),
        ("x" * 100_000, "en"),
    ],
)
def test_preferred(header: str, language: str) -> None:
    assert preferred(header, OFFERED) == language


def test_three_languages() -> None:
    assert set(LANGUAGES) == {"en", "pt-BR", "es"}


@pytest.mark.parametrize("tag", sorted(LANGUAGES))
def test_every_language_says_everything(tag: str) -> None:
    language, english = LANGUAGES[tag], LANGUAGES["en"]
    assert language.texts.keys() == english.texts.keys()
    assert len(set(language.months)) == 12
    for key, text in language.texts.items():
        assert text.strip() == text != ""
        assert _places(text) == _places(english.texts[key]), key


@pytest.mark.parametrize("tag", sorted(set(LANGUAGES) - {"en"}))
def test_no_text_was_left_in_english(tag: str) -> None:
    same = {key for key, text in LANGUAGES[tag].texts.items() if text == LANGUAGES["en"].texts[key]}
    assert not same


def test_dates() -> None:
    moment = datetime(2026, 3, 5, 7, 4, tzinfo=UTC)
    assert LANGUAGES["en"].date(moment) == "5 March 2026, 07:04 UTC"
    assert LANGUAGES["pt-BR"].date(moment) == "5 de março de 2026, 07:04 UTC"
    assert LANGUAGES["es"].date(moment) == "5 de marzo de 2026, 07:04 UTC"


def _places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}
