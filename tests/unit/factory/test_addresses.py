"""Which URLs and addresses webhooks may go to."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.addresses import any_address, public_address, refusal

PRIVATE = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.254 127.0.0.1 127.255.255.254 169.254.0.1 169.254.169.254 172.16.0.1
172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.1
203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8
::ffff:7f00:1 ::ffff:0:127.0.0.1 64:ff9b::8.8.8.8 64:ff9b::127.0.0.1 64:ff9b:1::10.0.0.1 100::1 2001::1
2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:a00:1::1 2002:808:808::1
3fff::1 5f00::1 fc00::1 fd12:3456::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1 ff0e::1 4000::1
"""
PUBLIC = """
1.1.1.1 8.8.8.8 93.184.216.34 172.15.255.255 172.32.0.1 100.128.0.1 2606:4700::1111 2a00:1450:4001::1
"""


def words(text: str) -> list[str]:
    return text.split()


@pytest.mark.parametrize("address", words(PRIVATE))
def test_special_addresses_are_refused(address: str) -> None:
    assert not public_address(address)


@pytest.mark.parametrize("address", words(PUBLIC))
def test_public_addresses_are_not(address: str) -> None:
    assert public_address(address)


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "1.1.1.1 "])
def test_what_is_no_address_is_refused(text: str) -> None:
    assert not public_address(text)
    assert not any_address(text)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_no_address_gets_through_inside_another(inner: IPv4Address) -> None:
    for prefix in ("::ffff:", "::", "64:ff9b::", "64:ff9b:1::"):
        assert not public_address(f"{prefix}{inner}")
    assert not public_address(str(IPv6Address((0x2002 << 112) | (int(inner) << 80) | 1)))


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://example.com/hook", "scheme"),
        ("ftp://example.com", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://example.com:443/_x", "scheme"),
        ("example.com/hook", "scheme"),
        ("//example.com/hook", "scheme"),
        ("", "scheme"),
        ("https://", "host"),
        ("https:///hook", "host"),
        ("https://user@example.com/", "user"),
        ("https://user:password@example.com/", "user"),
        ("https://:password@example.com/", "user"),
        ("https://1.1.1.1@127.0.0.1/", "user"),
        ("https://example.com/#here", "fragment"),
        ("https://example.com/#", "fragment"),
        ("https://example.com:22/", "port"),
        ("https://example.com:80/", "port"),
        ("https://example.com:0/", "port"),
        ("https://example.com:1023/", "port"),
        ("https://example.com:65536/", "URL"),
        ("https://example.com:-1/", "URL"),
        ("https://example.com:x/", "URL"),
        ("https://[::1/", "URL"),
        ("https://127.0.0.1/", "address"),
        ("https://[::1]/", "address"),
        ("https://[::ffff:10.0.0.1]/", "address"),
        ("https://169.254.169.254/latest/meta-data/", "address"),
        ("https://10.0.0.1:8443/", "address"),
        ("https://\uff11\uff12\uff17.0.0.1/", "address"),
        ("https://exa mple.com/", "spaces"),
        ("https://example.com/\r\nx: y", "spaces"),
        ("https://example.com/\x00", "spaces"),
    ],
)
def test_urls_that_are_refused(url: str, word: str) -> None:
    why = refusal(url, allow_private=False)
    assert why is not None
    assert word in why


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/hook?tenant=1",
        "https://example.com:8443/hook",
        "https://example.com:65535/hook",
        "https://m\xfcnchen.example/haken",
        "https://1.1.1.1/hook",
        "https://[2606:4700::1111]/hook",
        "HTTPS://EXAMPLE.COM/HOOK",
    ],
)
def test_urls_that_are_not(url: str) -> None:
    assert refusal(url, allow_private=False) is None


def test_local_use_allows_http_any_port_and_any_address() -> None:
    for url in ("http://127.0.0.1:80/", "http://localhost:9000/hook", "https://[::1]:22/", "https://10.0.0.1/"):
        assert refusal(url, allow_private=True) is None
        assert refusal(url.replace("https", "http"), allow_private=False) is not None
    for url in ("ftp://127.0.0.1/", "http://user@127.0.0.1/", "http://127.0.0.1:0/"):
        assert refusal(url, allow_private=True) is not None
