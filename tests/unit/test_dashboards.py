"""Dashboards and alert rules name only metrics and attributes that the engine has, and every metric is on a panel."""

import json
import re
from pathlib import Path

import pytest
import yaml

from beluga_stream.adapters.otel.catalog import METRICS, Metric

OBSERVABILITY = Path(__file__).resolve().parents[2] / "deploy" / "observability"
PREFIX = "orchestration_"
_OF_PROMETHEUS = {"__name__", "le", "instance", "job", "service"}
"""Labels that are not the engine's: a metric's name, of buckets, and of the scraping (prometheus.yml)."""
_NAME = re.compile(rf"\b{PREFIX}[a-z_]+")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
_BY = re.compile(r"\bby\s*\(([^)]*)\)")
_TEMPLATE = re.compile(r"{{\s*(?:\$labels\.)?(\w+)\s*}}")


def series_of(metric: Metric) -> set[str]:
    """The names under which Prometheus has a metric."""
    name = PREFIX + metric.name
    return {f"{name}_{part}" for part in ("bucket", "sum", "count")} if metric.type == "histogram" else {name}


BY_SERIES = {name: metric for metric in METRICS for name in series_of(metric)}


def panels() -> list[tuple[str, str, str]]:
    """Title, expression and legend of every panel of every dashboard."""
    return [
        (panel["title"], target["expr"], target["legendFormat"])
        for path in sorted((OBSERVABILITY / "grafana" / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", ())
    ]


def rules() -> list[tuple[str, str, str]]:
    """Name, expression and annotations of every alert rule."""
    groups = yaml.safe_load((OBSERVABILITY / "rules.yml").read_text())["groups"]
    return [
        (rule["alert"], rule["expr"], " ".join(rule["annotations"].values()))
        for group in groups
        for rule in group["rules"]
    ]


def problems(expression: str, templates: str) -> list[str]:
    """What an expression asks for that nobody tells, and what its texts name that it does not give."""
    found = [f"no metric {name}" for name in _NAME.findall(expression) if name not in BY_SERIES]
    metrics = [BY_SERIES[name] for name in _NAME.findall(expression) if name in BY_SERIES]
    known = _OF_PROMETHEUS.union(*(metric.attributes for metric in metrics))
    kept = {label.strip() for labels in _BY.findall(expression) for label in labels.split(",")}
    used = kept | set(_MATCHER.findall(expression))
    found += [f"no attribute {label}" for label in used - known]
    given = kept or known
    return found + [f"its text names {label}" for label in set(_TEMPLATE.findall(templates)) - given - {"value"}]


@pytest.mark.parametrize(("title", "expression", "texts"), [*panels(), *rules()])
def test_what_is_asked_for_is_told(title: str, expression: str, texts: str) -> None:
    assert not problems(expression, texts.replace("$value", "value"))


def test_every_metric_is_on_a_panel() -> None:
    shown = {BY_SERIES[name].name for _, expression, _ in panels() for name in _NAME.findall(expression)}
    assert shown == {metric.name for metric in METRICS}


@pytest.mark.parametrize(
    ("unit", "expression"),
    [
        (panel["fieldConfig"]["defaults"]["unit"], target["expr"])
        for path in sorted((OBSERVABILITY / "grafana" / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", ())
    ],
)
def test_what_is_shown_has_the_unit_of_its_panel(unit: str, expression: str) -> None:
    """A share is a quotient, so much a second is a rate and none, and seconds are those of a metric in seconds."""
    is_rate, is_quotient = "rate(" in expression, " / " in expression
    match unit:
        case "percentunit":
            assert is_quotient
        case "ops":
            assert is_rate
            assert not is_quotient
        case "s":
            assert "histogram_quantile(" in expression
            assert "_seconds_bucket" in expression
        case _:
            assert unit == "short"
            assert is_rate == is_quotient


def test_every_alert_is_played() -> None:
    tests = yaml.safe_load((OBSERVABILITY / "rules_test.yml").read_text())["tests"]
    played = {each["alertname"] for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]}
    assert played == {name for name, _, _ in rules()}


def test_names_that_nobody_tells_are_seen() -> None:
    assert problems("sum by (graph_name) (orchestration_graph_runs_total)", "") == [
        "no metric orchestration_graph_runs_total",
        "no attribute graph_name",
    ]
    assert problems('orchestration_stuck_runs{why="worker"}', "") == ["no attribute why"]
    assert problems("sum by (reason) (orchestration_stuck_runs)", "{{group}}") == ["its text names group"]
    assert problems("orchestration_queue_wait_seconds", "") == ["no metric orchestration_queue_wait_seconds"]


def test_grafana_finds_its_datasources_by_the_ids_that_dashboards_name() -> None:
    provisioned = yaml.safe_load(
        (OBSERVABILITY / "grafana" / "provisioning" / "datasources" / "datasources.yml").read_text()
    )
    known = {source["uid"] for source in provisioned["datasources"]}
    for path in (OBSERVABILITY / "grafana" / "dashboards").glob("*.json"):
        asked = re.findall(r'"uid": "(beluga-[a-z]+)"', path.read_text())
        assert asked
        assert set(asked) <= known


def test_compose_mounts_what_is_there() -> None:
    services = yaml.safe_load((OBSERVABILITY.parents[1] / "docker-compose.yml").read_text())["services"]
    ours = {name: one for name, one in services.items() if "observability" in one.get("profiles", ())}
    assert set(ours) == {"prometheus", "jaeger", "grafana"}
    mounts = [
        mount.split(":")[0] for one in ours.values() for mount in one.get("volumes", ()) if mount.startswith("./")
    ]
    assert all((OBSERVABILITY.parents[1] / mount).exists() for mount in mounts)
    assert all(port.startswith("127.0.0.1:") for one in ours.values() for port in one["ports"])


def test_prometheus_looks_for_every_service_of_the_engine() -> None:
    services = yaml.safe_load((OBSERVABILITY.parents[1] / "docker-compose.yml").read_text())["services"]
    ours = {name for name, one in services.items() if "BELUGA_BROKER" in one.get("environment", {})}
    (scraped,) = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = scraped["dns_sd_configs"]
    assert set(found["names"]) == {*ours, "orchestrator"}
    assert {services[name]["environment"]["BELUGA_PROBE_ADDRESS"] for name in ours} == {f"0.0.0.0:{found['port']}"}
