"""The house rules that ruff and import-linter cannot say: sizes, and what a file may know by its role."""

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("scan", "factory", "anchor", "admin")
FUNCTION_LINES, FILE_LINES, POSITIONAL, MAIN_LINES = 60, 400, 5, 80
KNOWS_GRPC = (
    "service.py",
    "verify_call.py",
    "account_convert.py",
    "account_service.py",
    "audit_convert.py",
    "audit_service.py",
    "auth_service.py",
    "dashboard_service.py",
    "dashboard_convert.py",
    "export_service.py",
    "fraud_assembly.py",
    "fraud_convert.py",
    "fraud_service.py",
    "job_service.py",
    "label_service.py",
    "ledger_service.py",
    "lifecycle_service.py",
    "ruling_service.py",
    "table_service.py",
    "user_service.py",
    "webhook_service.py",
    "convert.py",
    "export_convert.py",
    "file_assembly.py",
    "job_assembly.py",
    "weekly_service.py",
    "__main__.py",
    "assembly.py",
    "serving.py",
    "peers.py",
    "scan_peer.py",
)
KNOWS_SQL = ("store.py", "journal.py", "schema.py", "__main__.py", "config.py")  # the journal is the submitter's store


@cache
def sources() -> tuple[Path, ...]:
    listed = subprocess.run(
        ("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"),
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    paths = (ROOT / name for name in listed.stdout.splitlines() if not name.startswith("gen/"))
    return tuple(path for path in paths if path.exists())


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def of_services() -> list[Path]:
    return [path for path in sources() if path.relative_to(ROOT).parts[0] in SERVICES]


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_files_are_small() -> None:
    long = {str(p.relative_to(ROOT)): n for p in sources() if (n := len(p.read_text().splitlines())) > FILE_LINES}
    assert not long


def test_functions_fit_a_screen() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{function.name}": length
        for path in sources()
        for function in functions(path)
        if (length := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES
    }
    assert not long


def test_few_positional_parameters() -> None:
    many = [
        f"{path.relative_to(ROOT)}:{function.name}"
        for path in sources()
        for function in functions(path)
        if len([a for a in function.args.args if a.arg not in ("self", "cls")]) > POSITIONAL
        and "tests" not in path.parts
    ]
    assert not many


def test_each_test_file_has_a_name_of_its_own() -> None:
    """Pytest imports test files by their bare names."""
    found = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in found.items() if count > 1] == []


@pytest.mark.parametrize("service", SERVICES)
def test_package_says_who_it_is_and_holds_no_code(service: str) -> None:
    tree = ast.parse((ROOT / service / "__init__.py").read_text())
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


def test_main_wires_and_no_more() -> None:
    mains = [path for path in of_services() if path.name == "__main__.py"]
    assert mains
    assert not [
        name for name, path in zip(names(mains), mains, strict=True) if len(path.read_text().splitlines()) > MAIN_LINES
    ]


def test_domain_knows_no_grpc_and_no_stubs() -> None:
    domain = [path for path in of_services() if path.name not in KNOWS_GRPC and "fakes" not in path.parts]
    knowing = {
        name: found
        for name, path in zip(names(domain), domain, strict=True)
        if (found := [m for m in imports(path) if m.split(".")[0] in ("grpc", "voketag", "google")])
    }
    assert not knowing


def test_settings_are_loaded_in_main_alone() -> None:
    readers = [
        path
        for path in of_services()
        if path.name not in ("__main__.py", "config.py") and "mesh.config" in imports(path)
    ]
    loading = [name for name, path in zip(names(readers), readers, strict=True) if "load(" in path.read_text()]
    assert not loading


def test_sql_stays_in_stores() -> None:
    statement = re.compile(r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|CREATE|LISTEN|NOTIFY)\s", re.ASCII)
    speaking = [
        path
        for path in of_services()
        if path.name not in KNOWS_SQL
        and any(
            isinstance(node, ast.Constant) and isinstance(node.value, str) and statement.match(node.value)
            for node in ast.walk(ast.parse(path.read_text()))
        )
    ]
    assert not names(speaking)


def calls() -> dict[str, set[str]]:
    """Who calls whom, from the access options (named peers) and from the stubs that a service imports."""
    from voketag.admin.v1 import (
        audit_pb2,
        auth_pb2,
        dashboard_pb2,
        export_pb2,
        fraud_pb2,
        job_pb2,
        user_pb2,
        weekly_pb2,
    )
    from voketag.anchor.v1 import anchor_pb2
    from voketag.factory.v1 import account_pb2, factory_pb2, label_pb2, lifecycle_pb2, table_pb2, webhook_pb2
    from voketag.scan.v1 import ledger_pb2, ruling_pb2, scan_pb2

    from mesh.policy import policies

    graph: dict[str, set[str]] = {service: set() for service in SERVICES}
    factory = (factory_pb2, account_pb2, lifecycle_pb2, label_pb2, table_pb2, webhook_pb2)
    scan = (scan_pb2, ledger_pb2, ruling_pb2)
    admin = (audit_pb2, auth_pb2, dashboard_pb2, export_pb2, fraud_pb2, job_pb2, user_pb2, weekly_pb2)
    for method, policy in policies([*scan, *factory, anchor_pb2, *admin]).items():
        for peer in policy.peers:
            graph[peer].add(method.split(".")[1])
    for path in of_services():
        service = path.relative_to(ROOT).parts[0]
        for module in imports(path):
            parts = module.split(".")
            if parts[0] == "voketag" and parts[1] in SERVICES and parts[1] != service:
                graph[service].add(parts[1])
    return graph


def test_call_graph_has_no_cycle_and_is_the_one_drawn() -> None:
    graph = calls()
    TopologicalSorter(graph).prepare()
    assert graph == {
        "scan": {"anchor", "factory"},
        "factory": {"anchor"},
        "anchor": set(),
        "admin": {"factory", "anchor", "scan"},
    }
