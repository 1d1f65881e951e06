import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.tilepath import PathMalformedError, TilePath


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("tile/0/x001/x234/067", TilePath(0, 1234067)),
        ("tile/0/000", TilePath(0, 0)),
        ("tile/2/000.p/1", TilePath(2, 0, 1)),
        ("tile/63/999.p/255", TilePath(63, 999, 255)),
        ("tile/1/x001/000", TilePath(1, 1000)),
        ("tile/entries/x123/x456/078.p/2", TilePath(None, 123456078, 2)),
    ],
)
def test_the_names_of_the_specification(text: str, path: TilePath) -> None:
    assert path.text() == text
    assert TilePath.parse(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tile/0/0",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/data/000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/\u0661\u0661\u0661",
        "tile/0/" + "x001/" * 7 + "000",
        "tile/8/0/000",
    ],
)
def test_what_names_no_tile(text: str) -> None:
    with pytest.raises(PathMalformedError):
        TilePath.parse(text)


@pytest.mark.parametrize(("level", "index", "width"), [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)])
def test_what_is_no_tile(level: int, index: int, width: int) -> None:
    with pytest.raises(PathMalformedError):
        TilePath(level, index, width)


@given(st.none() | st.integers(0, 63), st.integers(0, 10**21 - 1), st.integers(1, 256))
def test_a_name_comes_back(level: int | None, index: int, width: int) -> None:
    path = TilePath(level, index, width)
    assert TilePath.parse(path.text()) == path
