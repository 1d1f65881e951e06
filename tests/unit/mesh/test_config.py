"""Settings come from the environment or from files, and one message lists all that is wrong."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from mesh.config import Settings, load


class Example(Settings):
    port: int
    name: str = "n"
    password: SecretStr


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "PORT_FILE", "NAME", "NAME_FILE", "PASSWORD", "PASSWORD_FILE"):
        monkeypatch.delenv(f"VOKETAG_{name}", raising=False)


def test_from_environment_and_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    monkeypatch.setenv("VOKETAG_PORT", "7")
    monkeypatch.setenv("VOKETAG_PASSWORD_FILE", str(secret))
    settings = load(Example)
    assert (settings.port, settings.password.get_secret_value()) == (7, "s3cret")
    assert "s3cret" not in repr(settings)


def test_environment_wins_over_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("file")
    monkeypatch.setenv("VOKETAG_PORT", "7")
    monkeypatch.setenv("VOKETAG_PASSWORD_FILE", str(tmp_path / "f"))
    monkeypatch.setenv("VOKETAG_PASSWORD", "environment")
    assert load(Example).password.get_secret_value() == "environment"


def test_one_message_lists_everything(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VOKETAG_PORT", "hunter2")
    with pytest.raises(SystemExit) as stop:
        load(Example)
    message = capsys.readouterr().err
    assert stop.value.code == 2
    assert "VOKETAG_PORT" in message
    assert "VOKETAG_PASSWORD" in message
    assert "hunter2" not in message


def test_unreadable_file_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VOKETAG_PORT", "7")
    monkeypatch.setenv("VOKETAG_PASSWORD_FILE", "/nowhere/at/all")
    with pytest.raises(SystemExit):
        load(Example)
    assert "/nowhere/at/all" in capsys.readouterr().err


def test_settings_are_frozen() -> None:
    settings = Example(port=1, password=SecretStr("p"))
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 2
