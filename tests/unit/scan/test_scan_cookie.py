"""The cookie: random, kept to this site and out of scripts' reach, and understood by whoever names callers."""

import os

from scan.caller import device_name
from scan.cookie import Cookie


def test_what_is_given_is_what_callers_are_named_by() -> None:
    cookie = Cookie(secure=True, entropy=os.urandom)
    [(header, value)] = cookie.given({"cookie": "a=b"})
    pair, *attributes = value.split("; ")
    assert header == "set-cookie"
    assert attributes == ["Max-Age=31536000", "Path=/", "HttpOnly", "SameSite=Lax", "Secure"]
    assert device_name({"cookie": pair}, "") == f"install:{pair.partition('=')[2]}"
    assert not cookie.given({"cookie": f"a=b; {pair}"})
    assert cookie.given({}) != cookie.given({})


def test_without_https_the_cookie_is_not_kept_from_http() -> None:
    [(_, value)] = Cookie(secure=False, entropy=os.urandom).given({})
    assert value.endswith("; SameSite=Lax")
