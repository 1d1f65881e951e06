"""Providers as they are configured: a wrong one stops the start with one message, which shows no secret."""

import json
from pathlib import Path
from typing import Any

import pytest

from admin.config import OidcSettings
from admin.oidc_providers import read_providers
from mesh.config import load

SECRET = "hunter2 hunter2"


@pytest.fixture(name="good")
def _good(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    return {
        "id": "work",
        "name": "Work",
        "issuer": "https://login.work.example/tenant",
        "client_id": "voketag",
        "client_secret_file": str(file),
        "redirect_uri": "https://voketag.work.example/callback",
        "email_domains": ["work.example"],
    }


def read(*entries: dict[str, Any], allow_loopback: bool = False) -> Any:
    return read_providers(json.dumps(entries), allow_loopback=allow_loopback)


def test_none_is_the_default_and_a_file_is_read(
    good: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(OidcSettings).providers == ()
    file = tmp_path / "providers.json"
    file.write_text(json.dumps([good]))
    monkeypatch.setenv("VOKETAG_OIDC_PROVIDERS_FILE", str(file))
    (provider,) = load(OidcSettings).providers
    assert (provider.id, provider.client_secret.get_secret_value()) == ("work", SECRET)
    assert SECRET not in repr(provider)


def test_domains_are_whole(good: dict[str, Any]) -> None:
    (provider,) = read(good)
    assert provider.speaks_for("ada@work.example")
    for email in ("ada@sub.work.example", "ada@work.example.evil", "@work.example", "work.example", "", "a@b"):
        assert not provider.speaks_for(email), email
    (provider,) = read({**good, "email_domains": []})
    assert not provider.speaks_for("ada@work.example")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"id": "Work"}, "0.id"),
        ({"id": "x" * 33}, "0.id"),
        ({"name": ""}, "0.name"),
        ({"issuer": "http://login.work.example"}, "0.issuer"),
        ({"issuer": "http://127.0.0.1:1"}, "0.issuer"),
        ({"issuer": "login.work.example"}, "0.issuer"),
        ({"issuer": "https://a:b@login.work.example"}, "0.issuer"),
        ({"issuer": "https://login.work.example?x=1"}, "0.issuer"),
        ({"issuer": "https://login.work.example#x"}, "0.issuer"),
        ({"issuer": "https://login.work.example:port"}, "0.issuer"),
        ({"issuer": "https://[::1"}, "0.issuer"),
        ({"issuer": "https://login work.example"}, "0.issuer"),
        ({"issuer": 7}, "0.issuer"),
        ({"redirect_uri": "http://voketag.work.example"}, "0.redirect_uri"),
        ({"client_id": ""}, "0.client_id"),
        ({"client_secret_file": "/nowhere/at/all"}, "0.client_secret_file"),
        ({"client_secret_file": "/dev/null"}, "0.client_secret_file"),
        ({"client_secret": SECRET}, "0.client_secret"),
        ({"email_domains": ["Work.example"]}, "0.email_domains"),
        ({"email_domains": ["@work.example"]}, "0.email_domains"),
        ({"email_domains": [""]}, "0.email_domains"),
        ({"scopes": ["openid"]}, "0.scopes"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_and_not_shown(good: dict[str, Any], changes: dict[str, Any], where: str) -> None:
    with pytest.raises(ValueError, match=where) as error:
        read(good | changes)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("name", ["id", "name", "issuer", "client_id", "client_secret_file", "redirect_uri"])
def test_what_is_missing_is_named(good: dict[str, Any], name: str) -> None:
    del good[name]
    with pytest.raises(ValueError, match=f"0.{name}: Field required"):
        read(good)


def test_nobody_stands_there_twice(good: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the same id"):
        read(good, good | {"issuer": "https://login.other.example"})
    with pytest.raises(ValueError, match="the same issuer"):
        read(good, good | {"id": "other"})


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "[::1]:8080", "localhost"])
def test_the_clear_is_for_this_machine_where_that_is_said(good: dict[str, Any], host: str) -> None:
    local = good | {"issuer": f"http://{host}", "redirect_uri": f"http://{host}/back"}
    assert read(local, allow_loopback=True)
    for elsewhere in ("http://10.0.0.1", "http://localhost.evil.example", "http://127.0.0.1.evil.example"):
        with pytest.raises(ValueError, match="issuer"):
            read(good | {"issuer": elsewhere}, allow_loopback=True)


@pytest.mark.parametrize("text", ["", "{}", "[", "null", "[7]", '[{"id": "work"}]'])
def test_a_start_with_wrong_ones_ends_with_one_message(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VOKETAG_OIDC_PROVIDERS", text)
    with pytest.raises(SystemExit) as stop:
        load(OidcSettings)
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("VOKETAG_OIDC_PROVIDERS") == 1
