"""The local Envoy on a configuration of its own."""

import json
from pathlib import Path

import pytest

from mesh.local.envoy import EnvoyConfigError, EnvoyServer, validate
from mesh.local.http import fetch
from mesh.local.ports import PortTakenError
from tests.servers import free_port

TYPES = "type.googleapis.com/envoy.extensions.filters"


def _config(path: Path, port: int, admin_port: int) -> Path:
    def address(number: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "hello"}}}
    manager = {
        "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{TYPES}.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"filters": [{"name": "http", "typed_config": manager}]}]
    listener = {"name": "edge", "address": address(port), "filter_chains": filters}
    path.write_text(
        json.dumps({"admin": {"address": address(admin_port)}, "static_resources": {"listeners": [listener]}})
    )
    return path


async def test_it_serves_what_its_configuration_says_over_a_crash(tmp_path: Path) -> None:
    port, admin_port = free_port(), free_port()
    config = _config(tmp_path / "envoy.json", port, admin_port)
    await validate(config)
    server = EnvoyServer(config, admin_port, log=tmp_path / "envoy.log", ports=(port,))
    try:
        await server.start()
        assert await fetch(f"http://127.0.0.1:{port}/") == b"hello"
        await server.kill()
        assert await fetch(f"http://127.0.0.1:{port}/") is None
        await server.start()
        assert await fetch(f"http://127.0.0.1:{port}/") == b"hello"
        with pytest.raises(PortTakenError, match=rf"pid {server.child.pid} \(.*envoy"):
            await EnvoyServer(config, free_port(), log=tmp_path / "other.log", ports=(port,)).start()
    finally:
        await server.stop()
    assert not server.running


async def test_a_bad_configuration_is_refused_in_envoys_words(tmp_path: Path) -> None:
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps({"static_resources": {"listenerz": []}}))
    with pytest.raises(EnvoyConfigError, match="listenerz"):
        await validate(config)
