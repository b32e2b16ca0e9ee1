"""The dashboard asks only for metrics that exist, and the page of metrics tells all of them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from streams.metrics import control, intake, sinks

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "dashboards" / "mandate.json"
PAGE = ROOT / "docs" / "metrics.md"

Metrics = dict[str, tuple[str, frozenset[str]]]
"""By the name that a scrape shows, without the suffixes of a histogram: type and labels."""
# Prometheus adds the first two, a histogram's buckets the third.
ALWAYS = {"job", "instance", "le"}
ROW = re.compile(r"^\| `(mandate_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
METRIC = re.compile(r"\b(?:mandate|process|python)_\w+")
LABELS = re.compile(r"\bby \(([^)]*)\)|\{([^}]*)\}")


def shown(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name


def exported() -> Metrics:
    """What the registries of all roles give."""
    found: Metrics = {}
    for registry in (control.REGISTRY, intake.REGISTRY, sinks.CRM, sinks.AUDIT):
        for family in registry.collect():
            found.setdefault(shown(family.name, family.type), (family.type, frozenset()))
    for module in (control, intake, sinks):
        for metric in vars(module).values():
            if isinstance(metric, MetricWrapperBase):
                name = shown(metric._name, metric._type)
                found[name] = (metric._type, frozenset(metric._labelnames))
    for name in ("journal_lag_records", "journal_lag_seconds", "policy_revision", "leads_cached"):
        found[f"mandate_{name}"] = ("gauge", frozenset({"partition"}))
    return found


def of_the_process() -> set[str]:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return {sample.name for family in registry.collect() for sample in family.samples}


def documented(page: str) -> Metrics:
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROW.findall(page)}


def samples(metrics: Metrics) -> dict[str, frozenset[str]]:
    """Names that a query may use, with their labels."""
    found = dict.fromkeys(of_the_process(), frozenset[str]())
    for name, (kind, labels) in metrics.items():
        names = [f"{name}_bucket", f"{name}_sum", f"{name}_count"] if kind == "histogram" else [name]
        found.update(dict.fromkeys(names, labels))
    return found


def expressions(dashboard: dict[str, Any]) -> Iterator[str]:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def faults(dashboard: dict[str, Any], metrics: Metrics) -> list[str]:
    """What is wrong with a dashboard: unknown metrics or labels, panels that lack something or lie on each other."""
    known, found = samples(metrics), []
    for expr in expressions(dashboard):
        names = METRIC.findall(expr)
        found += [f"no metric {name}" for name in names if name not in known]
        allowed = ALWAYS.union(*(known.get(name, frozenset()) for name in names))
        for grouped, selected in LABELS.findall(expr):
            used = re.findall(r"\w+", grouped) + re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\s*\"", selected)
            found += [f"no label {label} in {expr}" for label in used if label not in allowed]
        if not names or expr.count("(") != expr.count(")"):
            found.append(f"no query: {expr}")
    ids = [panel["id"] for panel in dashboard["panels"]]
    found += ["two panels have one id"] if len(set(ids)) != len(ids) else []
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        if cells & taken or place["x"] + place["w"] > 24:
            found.append(f"panel {panel['title']!r} has no place of its own")
        taken |= cells
        if panel["type"] != "row" and not (panel["title"] and panel["targets"] and panel["fieldConfig"]):
            found.append(f"panel {panel['id']} is not whole")
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def test_the_dashboard_asks_for_what_is_exported() -> None:
    assert faults(dashboard(), exported()) == []


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    found = dashboard()
    assert found["schemaVersion"] >= 39
    assert (found["uid"], found["title"]) == ("mandate", "Mandate")
    assert [variable["name"] for variable in found["templating"]["list"]] == ["datasource", "job", "instance"]
    variables = {match for expr in expressions(found) for match in re.findall(r"\$(\w+)", expr)}
    assert variables == {"job", "instance", "__rate_interval"}


def test_the_dashboard_shows_every_metric() -> None:
    asked = {re.sub(r"_(bucket|sum|count)$", "", name) for e in expressions(dashboard()) for name in METRIC.findall(e)}
    assert set(exported()) <= asked


def test_the_page_tells_each_metric_with_its_type_and_labels() -> None:
    assert documented(PAGE.read_text()) == exported()


@pytest.mark.parametrize(
    ("expr", "told"),
    [
        ("sum(rate(mandate_decision_total[1m]))", "no metric mandate_decision_total"),
        ("sum by (lead) (mandate_journal_lag_records)", "no label lead"),
        ('mandate_outputs_total{queue="x"}', "no label queue"),
        ("mandate_decision_age_seconds", "no metric mandate_decision_age_seconds"),
        ("sum(rate(mandate_outputs_total[1m])", "no query"),
    ],
)
def test_a_query_for_what_is_not_there_is_found(expr: str, told: str) -> None:
    bad = dashboard()
    next(panel for panel in bad["panels"] if panel["type"] != "row")["targets"][0]["expr"] = expr
    assert any(told in fault for fault in faults(bad, exported()))


def test_panels_that_lie_on_each_other_or_share_an_id_are_found() -> None:
    bad = dashboard()
    bad["panels"][2] = {**bad["panels"][2], "gridPos": bad["panels"][1]["gridPos"], "id": bad["panels"][1]["id"]}
    assert len(faults(bad, exported())) == 2


def test_a_page_that_lacks_a_metric_or_tells_a_wrong_label_is_found() -> None:
    page = PAGE.read_text()
    assert documented(page.replace("| `mandate_ticks_total` |", "|")) != exported()
    assert documented(page.replace("| counter | `kind` |", "| counter | `lead` |")) != exported()
