"""A CSV file of products, read as rows of an import."""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from voketag.factory.v1 import factory_pb2

COLUMNS = ("sku", "gtin", "serial", "name", "market", "expiry")


class CsvError(Exception):
    """The file cannot be read as a table of products; the text says why."""


class ProductsCsv:
    """UTF-8 with or without BOM, comma or semicolon, a header row. Columns other than the known become attributes."""

    def __init__(self, path: Path) -> None:
        """Raises CsvError, OSError."""
        self.path = path
        with self.path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
        self._delimiter = ";" if header.count(";") > header.count(",") else ","
        names = next(csv.reader([header], delimiter=self._delimiter), [])
        self.columns = [name.strip().lower() for name in names]
        if not set(self.columns) & set(COLUMNS):
            raise CsvError(f"{path}: the first line must name columns, such as {', '.join(COLUMNS)}")
        if len(set(self.columns)) < len(self.columns):
            raise CsvError(f"{path}: a column is named twice")

    def count(self) -> int:
        """Rows below the header."""
        return sum(1 for _ in self._records())

    def rows(self, first: int = 0) -> Iterator[factory_pb2.ImportRow]:
        """The rows from number `first` on. Raises CsvError naming the row that has too many cells."""
        for number, record in enumerate(islice(self._records(), first, None), first):
            if len(record) > len(self.columns):
                raise CsvError(f"{self.path}: row {number} has {len(record)} cells for {len(self.columns)} columns")
            yield self._row(record)

    def _row(self, record: list[str]) -> factory_pb2.ImportRow:
        cells = {name: cell.strip() for name, cell in zip(self.columns, record, strict=False) if cell.strip()}
        known = {name: cells.pop(name) for name in COLUMNS if name in cells}
        return factory_pb2.ImportRow(**known, attributes=cells)

    def _records(self) -> Iterator[list[str]]:
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file, delimiter=self._delimiter, strict=True)
                next(reader)
                yield from (record for record in reader if record)
        except (csv.Error, UnicodeDecodeError) as error:
            raise CsvError(f"{self.path}: {error}") from error
