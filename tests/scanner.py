"""A scanner of our images that is none of ours: rendering by resvg and PDFium, reading by ZXing."""

import io
from collections.abc import Iterator

import pypdfium2
import resvg_py
import zxingcpp
from PIL import Image

DOTS_A_POINT = 5
SAME_ROW_DOTS = 20


def read(image: Image.Image) -> list["zxingcpp.Barcode"]:
    """The codes in an image, row by row from the top, each row from the left."""
    found = zxingcpp.read_barcodes(image.convert("L"), formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    found = [code for code in found if code.text.startswith("http")]  # at times it reads a digit between the codes
    rows: list[list[zxingcpp.Barcode]] = []
    for code in sorted(found, key=lambda code: code.position.top_left.y):
        if not rows or code.position.top_left.y - rows[-1][0].position.top_left.y > SAME_ROW_DOTS:
            rows.append([])
        rows[-1].append(code)
    return [code for row in rows for code in sorted(row, key=lambda code: code.position.top_left.x)]


def only(image: Image.Image) -> "zxingcpp.Barcode":
    """The one code in an image."""
    codes = read(image)
    assert len(codes) == 1
    return codes[0]


def png(data: bytes) -> Image.Image:
    """A PNG."""
    return Image.open(io.BytesIO(data), formats=["PNG"])


def svg(data: bytes, *, zoom: int = 4) -> Image.Image:
    """An SVG, rendered on nothing."""
    return png(bytes(resvg_py.svg_to_bytes(svg_string=data.decode(), zoom=zoom)))


def pdf(data: bytes) -> Iterator[tuple[Image.Image, str]]:
    """The pages of a PDF, rendered at 360 dpi, and their text."""
    document = pypdfium2.PdfDocument(data)
    try:
        for page in document:
            yield page.render(scale=DOTS_A_POINT).to_pil(), page.get_textpage().get_text_range()
    finally:
        document.close()
