"""Which values the known attributes of a product may have, and what is said of those that break a rule."""

import re
from collections.abc import Callable, Mapping, Set
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from mesh.error import FieldViolation
from mesh.errors import ValidationFailed
from trust.canonical import AttributesError, attributes_bytes

# ISO 3166-1 alpha-2, officially assigned.
_MARKETS = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT
BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH
ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT
HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS
LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI
NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG
SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG
UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
MARKETS = frozenset(_MARKETS.split())
ANY_MARKET: Set[str] = frozenset()
"""The markets of a factory that may issue for all."""
GTIN_LENGTHS = frozenset((8, 12, 13, 14))
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_ZERO_DIGITS_SUM = ord("0") * (3 * 7 + 7)


class Reason(StrEnum):
    """What is wrong with a value; the names are those of voketag.factory.v1.RowErrorReason."""

    GTIN = "GTIN"
    TOO_LONG = "TOO_LONG"
    MARKET = "MARKET"
    DATE = "DATE"
    KEY = "KEY"
    TEXT = "TEXT"
    EMPTY = "EMPTY"


class Rule(NamedTuple):
    """What a known attribute must be."""

    accepts: Callable[[str], bool]
    reason: Reason
    message: str


class Fault(NamedTuple):
    """An attribute that breaks a rule; `column` is at most 40 characters."""

    column: str
    reason: Reason
    message: str


class AttributeRefused(Exception):
    """An attribute breaks a rule."""

    def __init__(self, column: str, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(column[:40], reason, message)


@lru_cache(maxsize=4096)  # the units of one product come together
def is_gtin(text: str) -> bool:
    """True for a GTIN-8, -12, -13 or -14 with its check digit (GS1 General Specifications 7.9)."""
    if len(text) not in GTIN_LENGTHS or not (text.isascii() and text.isdigit()):
        return False
    digits = text.zfill(14).encode()
    return (3 * sum(digits[::2]) + sum(digits[1::2]) - _ZERO_DIGITS_SUM) % 10 == 0


@lru_cache(maxsize=4096)  # so do days
def is_date(text: str) -> bool:
    """True for YYYY-MM-DD, one of ISO 8601's forms, of a day that there is."""
    if len(text) != 10 or text[4] != "-" or text[7] != "-":
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _at_most(length: int) -> Rule:
    return Rule(lambda text: len(text) <= length, Reason.TOO_LONG, f"has more than {length} characters")


RULES: Mapping[str, Rule] = {
    "sku": _at_most(64),
    "gtin": Rule(is_gtin, Reason.GTIN, "is not a GTIN of 8, 12, 13 or 14 digits with a right check digit"),
    "serial": _at_most(64),
    "name": _at_most(300),
    "market": Rule(MARKETS.__contains__, Reason.MARKET, "is not an ISO 3166-1 alpha-2 code"),
    "expiry": Rule(is_date, Reason.DATE, "is not a date YYYY-MM-DD"),
}
"""The columns of an import, and the same names in a template."""


def encode(attributes: Mapping[str, str]) -> bytes:
    """Canonical bytes of attributes whose known values were checked. Raises AttributeRefused."""
    try:
        return attributes_bytes(attributes)
    except AttributesError as error:
        raise AttributeRefused(error.key, _reason(error), error.reason) from None


def _reason(error: AttributesError) -> Reason:
    if not error.key:
        return Reason.TOO_LONG
    return Reason.KEY if "key" in error.reason else Reason.TEXT


def check_name(name: str, field: str = "name") -> None:
    """Raises ValidationFailed for text with control characters, which PostgreSQL or a label could not take."""
    if _CONTROL.search(name):
        violation = FieldViolation(field, f"{field}.text", "must not have control characters")
        raise ValidationFailed(violations=(violation,), summary=f"{field}: must not have control characters")


def check_market(market: str, markets: Set[str]) -> None:
    """Raises AttributeRefused for what is a market, but none of these of a factory."""
    if market in MARKETS and market not in markets:
        raise AttributeRefused("market", Reason.MARKET, "is not a market of this factory")


def encode_template(template: Mapping[str, str], field: str = "template", *, markets: Set[str] = ANY_MARKET) -> bytes:
    """Canonical bytes of the attributes that every product of a batch gets. Raises ValidationFailed."""
    try:
        if markets and "market" in template:
            check_market(template["market"], markets)
        for column, rule in RULES.items():
            if column in template and not rule.accepts(template[column]):
                raise AttributeRefused(column, rule.reason, rule.message)
        return encode(template)
    except AttributeRefused as refused:
        fault = refused.fault
        violation = FieldViolation(field, f"{field}.{fault.reason.lower()}", f"{fault.column} {fault.message}")
        summary = f"{field}: {violation.description}"
        raise ValidationFailed(violations=(violation,), summary=summary) from None
