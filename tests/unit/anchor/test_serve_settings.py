"""Which nodes the server reads from."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from anchor.config import ServeSettings

FIELDS = {
    "LISTEN_PORT": "50051",
    "DATABASE_URL": "postgresql://voketag_anchor@localhost/voketag",
    "DATABASE_PASSWORD": "secret",
    "SERVICE_NAME": "anchor",
    "SERVICE_KEY": "key",
    "JWKS": "{}",
    "USER_JWKS": "{}",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FIELDS.items():
        monkeypatch.setenv(f"VOKETAG_{name}", value)


def read(monkeypatch: pytest.MonkeyPatch, **settings: str) -> dict[str, str]:
    for name, value in settings.items():
        monkeypatch.setenv(f"VOKETAG_{name}", value)
    return ServeSettings().read_urls  # type: ignore[call-arg]


def test_none_one_and_several(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert read(monkeypatch) == {}
    assert read(monkeypatch, CHAIN_READ_URL="http://a") == {"chain": "http://a"}
    others = json.dumps({"polygon": "http://b", "gnosis": "http://c"})
    known = {"chain": "http://a", "polygon": "http://b", "gnosis": "http://c"}
    assert read(monkeypatch, CHAIN_READ_URLS=others) == known
    monkeypatch.delenv("VOKETAG_CHAIN_READ_URLS")
    (tmp_path / "urls").write_text(others)
    assert read(monkeypatch, CHAIN_READ_URLS_FILE=str(tmp_path / "urls")) == known


@pytest.mark.parametrize(
    "text", ["", "http://b", "[]", '{"Polygon": "http://b"}', '{"tsa": "http://b"}', '{"polygon": 1}']
)
def test_what_names_no_nodes(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(monkeypatch, CHAIN_READ_URL="http://a", CHAIN_READ_URLS=text)
    [error] = caught.value.errors()
    assert error["loc"] == ("chain_read_urls",)
    assert "http://b" not in error["msg"]


def test_urls_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOKETAG_CHAIN_READ_URLS", '{"polygon": "http://b/secret"}')
    assert "b/secret" not in repr(ServeSettings())  # type: ignore[call-arg]
