"""The local Valkey: password, append-only file, crashes."""

from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from mesh.local.ports import PortTakenError
from mesh.local.valkey import ValkeyServer
from tests.servers import free_port, start_valkey


@pytest.mark.parametrize("durable", [True, False])
async def test_acknowledged_writes_survive_a_stop_and_a_crash(tmp_path: Path, durable: bool) -> None:
    server = await start_valkey(tmp_path, durable=durable)
    try:
        async with Redis.from_url(server.url) as client:
            await client.set("first", "1")
        await server.stop()
        await server.start()
        async with Redis.from_url(server.url) as client:
            await client.set("second", "2")
            policy = await client.config_get("appendfsync")
        assert policy == {"appendfsync": "always" if durable else "everysec"}
        await server.kill()
        await server.start()
        async with Redis.from_url(server.url, decode_responses=True) as client:
            assert await client.mget("first", "second") == ["1", "2"]
    finally:
        await server.stop()
    assert not server.running


async def test_the_password_is_asked_for_and_kept_off_the_command_line(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path, free_port(), 'a "quoted" \\ one', log=tmp_path / "log")
    async with server:
        assert b"quoted" not in _command_line(server.child.pid)
        assert (tmp_path / "valkey.conf").stat().st_mode & 0o777 == 0o600
        async with Redis(port=server.port) as stranger:
            with pytest.raises(AuthenticationError):
                await stranger.ping()


def _command_line(pid: int | None) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_a_taken_port_names_its_holder(tmp_path: Path) -> None:
    server = await start_valkey(tmp_path)
    try:
        with pytest.raises(PortTakenError, match=rf"pid {server.child.pid} \("):
            await ValkeyServer(tmp_path / "other", server.port, "x", log=tmp_path / "log").start()
    finally:
        await server.stop()
