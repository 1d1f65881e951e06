"""Codes of authenticators against the vectors of RFC 6238, appendix B."""

import pytest

from admin.second_factors import recovery_hash, totp

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_codes_are_those_of_the_rfc(seconds: int, code: str) -> None:
    assert totp(SECRET, seconds // 30, 8) == code
    assert totp(SECRET, seconds // 30) == code[2:]


def test_recovery_codes_may_be_typed_as_they_come() -> None:
    assert recovery_hash("abcd-efgh 2345-6777") == recovery_hash("ABCDEFGH23456777")
