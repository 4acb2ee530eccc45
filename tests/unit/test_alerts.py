"""deploy/prometheus/alerts.yaml: rules that Prometheus loads, on metrics and conditions that exist."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from peekaping_producer.metrics import PREFIX, Metrics
from peekaping_producer.operations.conditions import LEVELS, Level

ROOT = Path(__file__).parents[2]
GROUPS: list[dict[str, Any]] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
NAME = re.compile(rf"{PREFIX}_\w+")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def served() -> set[str]:
    """The names of all series that a replica may serve."""
    families = Metrics("1").registry.collect()
    return {f"{family.name}{suffix}" for family in families for suffix in SUFFIXES.get(family.type, ())}


def unknown_metrics(expression: str) -> set[str]:
    return set(NAME.findall(expression)) - served()


def codes(expression: str) -> set[str]:
    """The condition codes in the expression."""
    return {each for text in re.findall(r'code=~?"([^"]*)"', expression) for each in text.split("|")}


def test_a_metric_that_no_replica_serves_is_found() -> None:
    assert unknown_metrics(f"{PREFIX}_claimed_total + {PREFIX}_claimed + {PREFIX}_gone") == {
        f"{PREFIX}_claimed",
        f"{PREFIX}_gone",
    }
    assert unknown_metrics(f"{PREFIX}_schedule_lag_seconds_bucket") == set()


def test_the_file_has_the_shape_of_a_rules_file() -> None:
    assert len({group["name"] for group in GROUPS}) == len(GROUPS) > 1
    assert all(group.keys() == {"name", "rules"} for group in GROUPS)
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_has_severity_and_remedy_and_uses_existing_metrics(rule: dict[str, Any]) -> None:
    assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert re.fullmatch(r"[A-Z][A-Za-z]+", rule["alert"])
    assert re.fullmatch(r"[1-9]\d*[smh]", rule.get("for", "1m"))
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "remedy"}
    assert all(text[0].isupper() or text[0] == "{" for text in rule["annotations"].values())
    assert all(text.endswith(".") for text in rule["annotations"].values())
    assert NAME.search(rule["expr"])
    assert unknown_metrics(rule["expr"]) == set()
    assert codes(rule["expr"]) <= LEVELS.keys()
    for opening, closing in ("()", "[]", "{}"):
        assert rule["expr"].count(opening) == rule["expr"].count(closing)


def test_every_condition_above_note_has_an_alert() -> None:
    bad = {code for code, level in LEVELS.items() if level is not Level.NOTE} - {"draining"}
    by_metric = {"clock_skew": "redis_clock_skew_seconds", "queue_not_consumed": "oldest_pending_age_seconds"}
    asked = {code for rule in RULES for code in codes(rule["expr"])}
    asked |= {code for code, metric in by_metric.items() for rule in RULES if f"{PREFIX}_{metric}" in rule["expr"]}
    assert bad <= asked


def test_the_docs_name_the_file_and_repeat_no_rule() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text()
    assert "deploy/prometheus/alerts.yaml" in operations
    assert "- alert:" not in operations
