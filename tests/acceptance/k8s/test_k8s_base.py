"""Base and components for Kubernetes: valid, restricted, and in step with settings and call graph of the code."""

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from admin.config import AdminSettings
from admin.config import WorkerSettings as AdminWorkerSettings
from anchor.config import ServeSettings, StampSettings, SubmitSettings
from anchor.target import AUTHORITY, Policy
from factory.config import FactorySettings, WorkerSettings
from mesh.config import LogSettings, OwnerSettings, Settings
from mesh.contract import methods
from mesh.policy import PUBLIC
from scan.config import JournalSettings, ScanSettings

ROOT = Path(__file__).resolve().parents[3]
BASE = ROOT / "deploy" / "k8s" / "base"
TARGETS = ROOT / "deploy" / "k8s" / "overlays" / "targets"
NAME = "app.kubernetes.io/name"
SETTINGS: dict[str, tuple[type[Settings], ...]] = {
    "scan": (ScanSettings,),
    "scan-journal": (JournalSettings,),
    "factory": (FactorySettings,),
    "factory-worker": (WorkerSettings,),
    "anchor": (ServeSettings,),
    "anchor-submitter": (SubmitSettings,),
    "anchor-submitter-second": (SubmitSettings,),
    "anchor-stamper": (StampSettings,),
    "admin": (AdminSettings,),
    "admin-worker": (AdminWorkerSettings,),
    "migrate-scan": (OwnerSettings, LogSettings),
    "migrate-factory": (OwnerSettings, LogSettings),
    "migrate-anchor": (OwnerSettings, LogSettings),
    "migrate-admin": (OwnerSettings, LogSettings),
    "edge": (),
}
SUBMITTERS = ("anchor-submitter", "anchor-submitter-second", "anchor-stamper")
Object = dict[str, Any]


@cache
def build(folder: Path) -> tuple[Object, ...]:
    kubectl = Path(sys.executable).parent / "kubectl"
    built = subprocess.run([kubectl, "kustomize", folder], check=True, capture_output=True, text=True)
    return tuple(yaml.safe_load_all(built.stdout))


def objects() -> tuple[Object, ...]:
    """All that there is: the base, a second chain and a time-stamp authority."""
    return build(TARGETS)


def of_kind(*kinds: str) -> list[Object]:
    return [item for item in objects() if item["kind"] in kinds]


def called(item: Object) -> str:
    return f"{item['kind']}/{item['metadata']['name']}"


def workloads() -> list[Object]:
    return of_kind("Deployment", "Job")


def pod(workload: Object) -> Object:
    found: Object = workload["spec"]["template"]["spec"]
    return found


def container(workload: Object) -> Object:
    only: Object
    (only,) = pod(workload)["containers"]
    return only


def environment(workload: Object) -> dict[str, Object]:
    return {item["name"]: item for item in container(workload).get("env", [])}


@pytest.mark.parametrize("item", [*objects(), *build(BASE)], ids=called)
def test_every_object_is_what_kubernetes_knows(item: Object) -> None:
    kubernetes_validate.validate(item, "1.37", strict=True)


def test_validation_finds_an_unknown_field_and_an_unknown_kind() -> None:
    service = of_kind("Service")[0]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service | {"nope": 1}, "1.37", strict=True)
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        kubernetes_validate.validate(service | {"kind": "Nope"}, "1.37", strict=True)


def test_everything_is_there() -> None:
    names = {item["metadata"]["name"] for item in workloads()}
    assert names == set(SETTINGS)
    assert {item["metadata"]["namespace"] for item in objects() if item["kind"] != "Namespace"} == {"voketag"}
    (namespace,) = of_kind("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert not of_kind("Secret")


@pytest.mark.parametrize("workload", workloads(), ids=called)
def test_every_pod_meets_the_restricted_profile(workload: Object) -> None:
    spec, only = pod(workload), container(workload)
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {next(key for key in volume if key != "name") for volume in spec.get("volumes", [])} <= {
        "configMap",
        "secret",
    }
    assert not any("hostPort" in port for port in only.get("ports", []))


@pytest.mark.parametrize("workload", workloads(), ids=called)
def test_every_container_says_what_it_needs(workload: Object) -> None:
    resources = container(workload)["resources"]
    assert set(resources["requests"]) == {"cpu", "memory"}
    assert "memory" in resources["limits"]


@pytest.mark.parametrize("workload", of_kind("Deployment"), ids=called)
def test_every_server_is_probed_and_given_time_to_end(workload: Object) -> None:
    only = container(workload)
    assert {"startupProbe", "livenessProbe"} <= set(only)
    env = environment(workload)
    if "VOKETAG_LISTEN_PORT" in env:
        port = int(env["VOKETAG_LISTEN_PORT"]["value"])
        assert only["readinessProbe"]["grpc"] == {"port": port}
        assert only["livenessProbe"]["grpc"] == {"port": port, "service": "live"}
        drain, grace = (float(env[f"VOKETAG_{name}_SECONDS"]["value"]) for name in ("DRAIN", "GRACE"))
        assert pod(workload)["terminationGracePeriodSeconds"] > drain + grace


@pytest.mark.parametrize("workload", workloads(), ids=called)
def test_every_variable_is_a_setting_and_every_needed_setting_is_given(workload: Object) -> None:
    fields = {name: field for cls in SETTINGS[workload["metadata"]["name"]] for name, field in cls.model_fields.items()}
    given = {name.removeprefix("VOKETAG_").lower() for name in environment(workload) if name.startswith("VOKETAG_")}
    known = {name if name in fields else name.removesuffix("_file") for name in given}
    assert known <= set(fields), known - set(fields)
    assert {name for name, field in fields.items() if field.is_required()} <= known
    assert {name for name in environment(workload) if not name.startswith("VOKETAG_")} <= {"POSTGRES"}


@pytest.mark.parametrize("workload", workloads(), ids=called)
def test_every_file_named_is_in_a_mounted_secret_or_map(workload: Object) -> None:
    mounts = {mount["mountPath"] for mount in container(workload).get("volumeMounts", [])}
    files = [item["value"] for item in environment(workload).values() if item.get("value", "").startswith("/")]
    assert {name for name in environment(workload) if name.endswith("_FILE")} <= {
        name for name, item in environment(workload).items() if item.get("value") in files
    }
    assert all(str(Path(path).parent) in mounts for path in files)
    volumes = {volume["name"] for volume in pod(workload).get("volumes", [])}
    assert {mount["name"] for mount in container(workload).get("volumeMounts", [])} == volumes


def test_no_secret_is_in_an_environment_variable() -> None:
    for workload in workloads():
        for cls in SETTINGS[workload["metadata"]["name"]]:
            secret = [name for name, field in cls.model_fields.items() if "SecretStr" in str(field.annotation)]
            assert not {f"VOKETAG_{name.upper()}" for name in secret} & set(environment(workload))


def test_the_documented_secrets_and_maps_are_the_ones_mounted() -> None:
    mounted = {
        (kind, source["secretName" if kind == "Secret" else "name"])
        for workload in workloads()
        for volume in pod(workload).get("volumes", [])
        for kind, source in (("Secret", volume.get("secret")), ("ConfigMap", volume.get("configMap")))
        if source
    }
    generated = {("ConfigMap", item["metadata"]["name"]) for item in of_kind("ConfigMap")}
    rows = re.findall(r"^\| (Secret|ConfigMap) \| `([\w-]+)`", (BASE.parent / "README.md").read_text(), re.MULTILINE)
    assert mounted - generated == set(rows)


def test_every_selector_finds_pods() -> None:
    labels = [workload["spec"]["template"]["metadata"]["labels"] for workload in workloads()]
    selectors = [
        *((called(item), item["spec"]["selector"]) for item in of_kind("Service")),
        *(
            (called(item), item["spec"]["selector"]["matchLabels"])
            for item in of_kind("PodDisruptionBudget", "Deployment")
        ),
        *((called(item), item["spec"]["podSelector"].get("matchLabels", {})) for item in of_kind("NetworkPolicy")),
    ]
    for name, selector in selectors:
        assert any(selector.items() <= found.items() for found in labels), name
    deployments = {item["metadata"]["name"] for item in of_kind("Deployment")}
    assert {item["spec"]["scaleTargetRef"]["name"] for item in of_kind("HorizontalPodAutoscaler")} <= deployments


def test_every_service_port_is_a_container_s() -> None:
    by_name = {item["metadata"]["name"]: item for item in of_kind("Deployment")}
    for service in of_kind("Service"):
        ports = {port["name"] for port in container(by_name[service["spec"]["selector"][NAME]])["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_the_edge_s_upstreams_are_headless_services() -> None:
    (settings,) = (item for item in of_kind("ConfigMap") if "envoy.yaml" in item.get("data", {}))
    clusters = yaml.safe_load(settings["data"]["envoy.yaml"])["static_resources"]["clusters"]
    headless = {item["metadata"]["name"] for item in of_kind("Service") if item["spec"].get("clusterIP") == "None"}
    assert {cluster["name"] for cluster in clusters if cluster["type"] == "STRICT_DNS"} == headless


def allowed(direction: str, peers: str) -> Iterator[tuple[str, str]]:
    """Pairs of (pod of the policy, its peer) that policies allow on the port of gRPC."""
    for policy in of_kind("NetworkPolicy"):
        for rule in policy["spec"].get(direction, []):
            if {"port": 50051} in rule["ports"]:
                for peer in rule[peers]:
                    yield policy["spec"]["podSelector"]["matchLabels"][NAME], peer["podSelector"]["matchLabels"][NAME]


def test_network_policies_follow_the_call_graph_of_the_contract() -> None:
    outward = set(allowed("egress", "to"))
    assert outward == {(peer, mine) for mine, peer in allowed("ingress", "from")}
    inside = {
        (caller.removesuffix("-worker").removesuffix("-journal"), callee)
        for caller, callee in outward
        if caller != "edge"
    }
    running = {item["metadata"]["name"] for item in of_kind("Deployment")}
    by_contract = {
        (peer, method.owner)
        for method in methods()
        if method.routed
        for peer in method.policy.peers & running
        if peer != method.owner
    }
    open_to_all = {method.owner for method in methods() if PUBLIC in method.policy.audiences}
    assert by_contract <= inside
    assert {callee for caller, callee in inside - by_contract} <= open_to_all
    assert not {(callee, caller) for caller, callee in inside} & inside
    assert {callee for caller, callee in outward if caller == "edge"} == {m.owner for m in methods() if m.routed}


def test_pods_reach_nothing_that_no_policy_names() -> None:
    (default,) = (item for item in of_kind("NetworkPolicy") if not item["spec"]["podSelector"])
    assert default["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in default["spec"]
    named = {item["spec"]["podSelector"]["matchLabels"][NAME] for item in of_kind("NetworkPolicy") if item != default}
    assert named == {item["spec"]["template"]["metadata"]["labels"][NAME] for item in workloads()}


def test_the_base_is_what_is_left_without_the_further_targets() -> None:
    added = {"anchor-submitter-second", "anchor-stamper"}
    names = {called(item) for item in objects() if item["kind"] != "ConfigMap"}
    assert {called(item) for item in build(BASE) if item["kind"] != "ConfigMap"} == {
        name for name in names if name.partition("/")[2] not in added
    }
    images = {item["metadata"]["name"]: container(item)["image"] for item in workloads()}
    assert {image for name, image in images.items() if name != "edge"} == {images["anchor"]}


def targets() -> dict[str, Object]:
    return {item["metadata"]["name"]: item for item in of_kind("Deployment") if item["metadata"]["name"] in SUBMITTERS}


@pytest.mark.parametrize("workload", targets().values(), ids=called)
def test_a_target_s_process_is_replaced_and_never_doubled(workload: Object) -> None:
    assert (workload["spec"]["replicas"], workload["spec"]["strategy"]["type"]) == (1, "Recreate")


def cluster(items: tuple[Object, ...]) -> Object:
    (values,) = (item["data"] for item in items if item["kind"] == "ConfigMap" and "postgres" in item["data"])
    found: Object = values
    return found


def test_each_target_of_the_policy_has_its_process_and_all_know_one_policy() -> None:
    values, names = cluster(objects()), []
    for name, workload in targets().items():
        env = environment(workload)
        assert env["VOKETAG_POLICY"]["valueFrom"]["configMapKeyRef"]["key"] == "anchor-policy"
        chosen = env.get("VOKETAG_TARGET", {}).get("valueFrom", {}).get("configMapKeyRef", {}).get("key")
        target = values[chosen] if chosen else SETTINGS[name][0].model_fields["target"].default
        assert bool(AUTHORITY.fullmatch(target)) is (name == "anchor-stamper")
        names.append(target)
    assert sorted(names) == sorted(Policy.parse(values["anchor-policy"]).targets)
    assert Policy.parse(cluster(build(BASE))["anchor-policy"]) == Policy()
