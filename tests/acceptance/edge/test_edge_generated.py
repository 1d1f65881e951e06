"""The generated files of the edge follow from the contract, and Envoy accepts its configuration."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate as validate_openapi

from mesh.contract import DESCRIPTORS, methods
from mesh.edge.configuration import Address, EdgeSettings, render
from mesh.local.envoy import validate as validate_envoy
from tests.acceptance.edge.certificate import make_certificate

ROOT = Path(__file__).resolve().parents[3]
CLUSTER = ROOT / "deploy" / "k8s" / "base" / "edge" / "envoy.yaml"


@pytest.mark.parametrize("tool", ["openapi", "access", "edge"])
def test_generated_files_are_what_the_contract_gives(tool: str) -> None:
    subprocess.run([sys.executable, f"tools/{tool}.py", "--check"], cwd=ROOT, check=True)


def test_the_openapi_document_is_one() -> None:
    validate_openapi(yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text()))


async def test_envoy_accepts_the_local_configuration(tmp_path: Path) -> None:
    public, internal, admin, service = (Address("127.0.0.1", 1024 + number) for number in range(4))
    upstreams = dict.fromkeys(("scan", "factory", "anchor", "admin"), service)
    settings = EdgeSettings(public=public, internal=internal, admin=admin, upstreams=upstreams, trusted_hops=1)
    (tmp_path / "envoy.yaml").write_text(render(settings))
    await validate_envoy(tmp_path / "envoy.yaml")


async def test_envoy_accepts_the_cluster_s_configuration(tmp_path: Path) -> None:
    tls = make_certificate(tmp_path)
    text = CLUSTER.read_text()
    for mounted, here in (
        ("/etc/voketag/edge/descriptors.binpb", DESCRIPTORS),
        ("/etc/voketag/tls/tls.crt", tls.certificate),
        ("/etc/voketag/tls/tls.key", tls.key),
    ):
        assert mounted in text
        text = text.replace(mounted, str(here))
    (tmp_path / "envoy.yaml").write_text(text)
    await validate_envoy(tmp_path / "envoy.yaml")


def test_the_edge_routes_what_the_contract_lets_in_and_nothing_else() -> None:
    edge, internal = yaml.safe_load(CLUSTER.read_text())["static_resources"]["listeners"]

    def routed(listener: Any) -> set[str]:
        (filters,) = (chain["filters"] for chain in listener["filter_chains"])
        hosts = filters[0]["typed_config"]["route_config"]["virtual_hosts"]
        return {route["match"]["path"] for route in hosts[0]["routes"] if route["name"].startswith("voketag.")}

    assert routed(internal) == {method.policy.method for method in methods() if method.routed}
    assert routed(edge) == {method.policy.method for method in methods() if method.external}
    assert routed(internal) - routed(edge)
