"""Page tokens open for their own list and caller only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import PageTokenInvalid
from mesh.paging import PageTokens

TOKENS = PageTokens(b"k" * 32)


@given(st.text(), st.text())
def test_round_trip(cursor: str, scope: str) -> None:
    assert TOKENS.decode(TOKENS.encode(cursor, scope=scope), scope=scope) == cursor


@given(st.text(), st.text(), st.text())
def test_other_scope_is_refused(cursor: str, scope: str, other: str) -> None:
    if scope != other:
        with pytest.raises(PageTokenInvalid):
            TOKENS.decode(TOKENS.encode(cursor, scope=scope), scope=other)


@given(st.text(max_size=100))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(PageTokenInvalid):
        TOKENS.decode(text, scope="s")


def test_other_key_is_refused() -> None:
    with pytest.raises(PageTokenInvalid):
        PageTokens(b"l" * 32).decode(TOKENS.encode("c", scope="s"), scope="s")
