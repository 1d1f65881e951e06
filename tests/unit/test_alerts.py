"""The alerts for Prometheus: what they ask for is what the code tells, and docs/operations.md says the same."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY, CollectorRegistry

from anchor.metrics import Metrics as AnchorMetrics
from mesh import refusals
from scan import direct

ROOT = Path(__file__).parents[2]
PACKAGES = ("mesh", "scan", "factory", "anchor", "admin")
SUFFIXES = {"Counter": ("_total",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}
OF_THE_SCRAPE = {"instance", "pod", "namespace", "le"}
NOT_OURS = {"process_start_time_seconds"}
DIRECT_SCANS, REFUSED = (
    f"{metric.name}_total" for counter in (direct.SCANS, refusals.REFUSALS) for metric in counter.describe()
)
SECTIONS = ("What to watch", "Watching the anchor submitter")


def labels_of(call: ast.Call) -> set[str]:
    lists = [part for part in (*call.args, *(word.value for word in call.keywords)) if isinstance(part, ast.List)]
    return {str(ast.literal_eval(label)) for part in lists for label in part.elts}


def metrics() -> Iterator[tuple[str, set[str]]]:
    """Every series that our code makes, with its labels."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(func=ast.Name(id=kind), args=[ast.Constant(value=str(name)), *_]) if kind in SUFFIXES:
                        yield from ((name + suffix, labels_of(node)) for suffix in SUFFIXES[kind])


METRICS = dict(metrics())
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]


def named(text: str) -> set[str]:
    return set(re.findall(r"\bvoketag_\w+", text))


def test_there_are_metrics_and_each_alert_has_a_name() -> None:
    assert METRICS["voketag_call_seconds_bucket"] == {"method"}
    assert METRICS["voketag_jobs_total"] == {"job", "outcome"}
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 20


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    expression, summary = rule["expr"], rule["annotations"]["summary"]
    series = named(expression)
    assert series <= METRICS.keys()
    assert series or NOT_OURS & set(re.findall(r"\w+", expression))
    known = set().union(*(METRICS[name] for name in series)) | OF_THE_SCRAPE
    grouped = set(re.findall(r"\w+", " ".join(re.findall(r"\b(?:by|without) \(([^)]*)\)", expression))))
    matched = set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expression))
    told = set(re.findall(r"\$labels\.(\w+)", summary))
    assert grouped | matched | told <= known


def test_a_counter_that_is_alerted_on_by_a_label_is_there_from_the_start() -> None:
    of_anchor = CollectorRegistry()
    AnchorMetrics(of_anchor)
    asked = {found for rule in RULES for found in re.findall(r'(voketag_\w+_total)\{(\w+)="(\w+)"\}', rule["expr"])}
    assert {name for name, _, _ in asked} == {DIRECT_SCANS, REFUSED, "voketag_anchor_faults_total"}
    for name, label, value in asked:
        registry = of_anchor if name.startswith("voketag_anchor") else REGISTRY
        assert registry.get_sample_value(name, {label: value}) is not None


def test_operations_name_what_is_alerted_on_and_nothing_else() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    sections = [text.partition(f"## {name}\n")[2].partition("\n## ")[0] for name in SECTIONS]
    rows = re.findall(r"^\| `.*", "\n".join(sections), re.MULTILINE)
    told = {name for row in rows for name in named(row)}
    asked = {name for rule in RULES for name in named(rule["expr"])}
    assert told == {name.removesuffix("_bucket") for name in asked}
