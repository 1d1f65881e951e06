"""Pages as a PDF renderer shows them and an independent decoder reads them."""

import os

import pytest

from factory.codes import QUIET_ZONE, ErrorLevel, qr_code
from factory.sheets import PAGE_MM, Grid, Sheets, lay_out
from mesh.errors import ValidationFailed
from tests import scanner
from trust.token import Token, encode

PREFIX = "https://app.voketag.com/r/"
DOTS_A_MM = scanner.DOTS_A_POINT * 72 / 25.4


@pytest.mark.parametrize(
    ("grid", "level"),
    [
        (Grid(), ErrorLevel.M),
        (Grid(9, 12, margin=5), ErrorLevel.L),
        (Grid(1, 1, margin=50, code=100), ErrorLevel.H),
        (Grid(4, 10, margin=0, code=20.5), ErrorLevel.Q),
        (Grid(5, 8, code=10), ErrorLevel.M),
    ],
)
def test_pages_are_read_back_in_order(grid: Grid, level: ErrorLevel) -> None:
    layout = lay_out(grid)
    tokens = [encode(Token(1, os.urandom(16), os.urandom(14))) for _ in range(layout.labels + 1)]
    sheets = Sheets(layout)
    for token in tokens:
        sheets.add(token, qr_code(PREFIX, token, level))
    pages = list(scanner.pdf(b"".join(sheets.close())))
    assert len(pages) == 2
    read = [[code.text for code in scanner.read(image)] for image, _ in pages]
    assert read == [[PREFIX + token for token in tokens[:-1]], [PREFIX + tokens[-1]]]
    assert "".join("".join(text.split()) for _, text in pages) == "".join(tokens)
    first = scanner.read(pages[0][0])[0].position
    modules = qr_code(PREFIX, tokens[0], level).symbol_size(border=0)[0]
    symbol = layout.code * modules / (modules + 2 * QUIET_ZONE)
    assert (first.top_right.x - first.top_left.x) / DOTS_A_MM == pytest.approx(symbol, abs=0.4)
    assert first.top_left.x / DOTS_A_MM == pytest.approx(grid.margin + (layout.cell[0] - symbol) / 2, abs=0.4)
    assert pages[0][0].size == pytest.approx([edge * DOTS_A_MM for edge in PAGE_MM], abs=2)


@pytest.mark.parametrize(
    "grid",
    [Grid(code=38), Grid(20, 8), Grid(5, 30), Grid(1, 1, margin=50, code=111), Grid(code=9.9), Grid(20, 30, margin=50)],
)
def test_codes_that_do_not_fit_are_refused(grid: Grid) -> None:
    with pytest.raises(ValidationFailed) as error:
        lay_out(grid)
    assert [violation.field for violation in error.value.violations] == ["grid.code_mm"]
