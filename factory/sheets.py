"""Sheets of labels: A4 pages of a grid in PDF, each code in vectors with its token beneath for people to read."""

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pydyf
import segno
from segno.utils import matrix_to_lines  # type: ignore[attr-defined] # its stub leaves it out

from factory.codes import QUIET_ZONE
from mesh.error import FieldViolation
from mesh.errors import ValidationFailed

PAGE_MM = (210.0, 297.0)
CODE_MM_LEAST = 10.0
POINTS_A_MM = 72 / 25.4
GROUP = 5
NARROW_MM = 30.0
GLYPH_WIDTH = 0.6
"""Of Courier, in ems."""
LEADING = 1.15
FONT_MM_MOST, FONT_OF_HEIGHT = 2.5, 1 / 20
_TOKEN_GROUPS = 10
_PART = 1 << 20


@dataclass(frozen=True, slots=True)
class Grid:
    """What was asked for, in mm; `code` None is as large as fits."""

    columns: int = 5
    rows: int = 8
    margin: float = 10.0
    code: float | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things go on a page, in mm: a cell, the code in it, and `groups` of five characters a line beneath."""

    columns: int
    rows: int
    margin: float
    cell: tuple[float, float]
    code: float
    font: float
    groups: int

    @property
    def labels(self) -> int:
        """Labels on a page."""
        return self.columns * self.rows


def lay_out(grid: Grid) -> Layout:
    """The layout of a grid. Raises ValidationFailed when the codes do not fit, or would be less than 10 mm."""
    width, height = (
        (edge - 2 * grid.margin) / count for edge, count in zip(PAGE_MM, (grid.columns, grid.rows), strict=True)
    )
    groups = 5 if width >= NARROW_MM else 2
    font = min(FONT_MM_MOST, height * FONT_OF_HEIGHT, 0.95 * width / (GLYPH_WIDTH * (groups * (GROUP + 1) - 1)))
    most = min(width, height - LEADING * font * (_TOKEN_GROUPS // groups + 0.5))
    code = most if grid.code is None else grid.code
    if not CODE_MM_LEAST <= code <= most:
        description = (
            f"a label of {width:.1f} x {height:.1f} mm has room for a code of {max(most, 0):.1f} mm, and at least 10"
        )
        violation = FieldViolation("grid.code_mm", "labels.fit", description)
        raise ValidationFailed(violations=(violation,), summary=f"{violation.field}: {description}")
    return Layout(grid.columns, grid.rows, grid.margin, (width, height), code, font, groups)


class Sheets:
    """A PDF being made, label by label; its pages are kept compressed, about 600 bytes a label."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._pdf = pydyf.PDF()
        self._font = pydyf.Dictionary({"Type": "/Font", "Subtype": "/Type1", "BaseFont": "/Courier"})
        self._pdf.add_object(self._font)
        self._marks: list[str] = []
        self._on_page = 0

    def add(self, token: str, code: segno.QRCode) -> None:
        """Puts the next label down, on a new page when this one is full."""
        if self._on_page == self._layout.labels:
            self._turn_page()
        self._marks += self._label(token, code)
        self._on_page += 1

    def close(self) -> Iterator[bytes]:
        """The file, in parts of 1 MiB."""
        if self._on_page:
            self._turn_page()
        file = io.BytesIO()
        self._pdf.write(file)
        file.seek(0)
        while part := file.read(_PART):
            yield part

    def _label(self, token: str, code: segno.QRCode) -> Iterator[str]:
        layout = self._layout
        row, column = divmod(self._on_page, layout.columns)
        width, height = layout.cell
        lines = [
            " ".join(token[start : start + GROUP] for start in range(first, first + layout.groups * GROUP, GROUP))
            for first in range(0, len(token), layout.groups * GROUP)
        ]
        text_height = LEADING * layout.font * len(lines)
        left = layout.margin + column * width
        top = PAGE_MM[1] - layout.margin - row * height - (height - layout.code - text_height) / 2
        module = layout.code / code.symbol_size(border=QUIET_ZONE)[0]
        quiet = QUIET_ZONE * module
        corner = left + (width - layout.code) / 2 + quiet, top - quiet
        yield f"q {module:.5f} 0 0 {-module:.5f} {corner[0]:.4f} {corner[1]:.4f} cm"
        for (start, y), (end, _) in matrix_to_lines(code.matrix, 0, 0):
            yield f"{start} {y} {end - start} 1 re"
        yield "f Q"
        for number, line in enumerate(lines, 1):
            x = left + (width - GLYPH_WIDTH * layout.font * len(line)) / 2
            y = top - layout.code - LEADING * layout.font * (number - 0.25)
            yield f"BT /F {layout.font:.4f} Tf {x:.4f} {y:.4f} Td ({line}) Tj ET"

    def _turn_page(self) -> None:
        scaled = f"{POINTS_A_MM:.6f} 0 0 {POINTS_A_MM:.6f} 0 0 cm\n"
        content = zlib.compress((scaled + "\n".join(self._marks)).encode())
        stream = pydyf.Stream([content], {"Filter": "/FlateDecode"})
        self._pdf.add_object(stream)
        page = {
            "Type": "/Page",
            "Parent": self._pdf.pages.reference,
            "MediaBox": pydyf.Array([0, 0, *(f"{edge * POINTS_A_MM:.3f}" for edge in PAGE_MM)]),
            "Resources": pydyf.Dictionary({"Font": pydyf.Dictionary({"F": self._font.reference})}),
            "Contents": stream.reference,
        }
        self._pdf.add_page(pydyf.Dictionary(page))
        self._marks.clear()
        self._on_page = 0
