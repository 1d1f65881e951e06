"""The rows of an import: which are refused and why, and the canonical attributes of the others. Pure."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple, Protocol

from factory.attributes import ANY_MARKET, RULES, AttributeRefused, Fault, Reason, check_market, encode

CHUNK_ROWS = 1_000
"""Rows in a chunk at most."""

_VALUES = attrgetter(*RULES)
_CHECKS = tuple((column, rule.accepts) for column, rule in RULES.items())


class Row(Protocol):
    """A product as the factory describes it; empty text is no value."""

    @property
    def sku(self) -> str: ...  # noqa: D102
    @property
    def gtin(self) -> str: ...  # noqa: D102
    @property
    def serial(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def market(self) -> str: ...  # noqa: D102
    @property
    def expiry(self) -> str: ...  # noqa: D102
    @property
    def attributes(self) -> Mapping[str, str]:
        """Anything else."""
        ...


class RowError(NamedTuple):
    """Why a row, counted from 0 over the import, was refused."""

    row: int
    column: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Checked:
    """Attributes of the good rows in order, None for those of the template alone; and the refused rows."""

    attributes: list[bytes | None]
    errors: list[RowError]


def check_rows(
    rows: Sequence[Row], first_row: int, template: Mapping[str, str], markets: Set[str] = ANY_MARKET
) -> Checked:
    """Reads rows numbered from `first_row`; a refused one names the first rule it breaks.

    `markets` are those of the factory, empty for any; the template was checked against them.
    """
    attributes: list[bytes | None] = []
    errors: list[RowError] = []
    for number, row in enumerate(rows, first_row):
        try:
            if markets and row.market:
                check_market(row.market, markets)
            attributes.append(_encoded(row, template))
        except AttributeRefused as refused:
            errors.append(_row_error(number, refused.fault))
    return Checked(attributes, errors)


def _encoded(row: Row, template: Mapping[str, str]) -> bytes | None:
    own: dict[str, str] = {}
    for (column, accepts), value in zip(_CHECKS, _VALUES(row), strict=True):
        if value:
            if not accepts(value):
                raise AttributeRefused(column, RULES[column].reason, RULES[column].message)
            own[column] = value
    if extra := row.attributes:
        if clash := RULES.keys() & extra.keys():
            raise AttributeRefused(min(clash), Reason.KEY, "is a column of its own")
        own.update(extra)
    if own:
        return encode({**template, **own} if template else own)
    if not template:
        raise AttributeRefused("", Reason.EMPTY, "no attribute at all")
    return None


def _row_error(number: int, fault: Fault) -> RowError:
    return RowError(number, *fault)
