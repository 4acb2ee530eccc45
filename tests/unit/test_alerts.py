"""deploy/prometheus/alerts.yaml: rules on metrics and codes that exist; promtool tests when each fires."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from peekaping_producer.metrics import PREFIX
from peekaping_producer.operations.conditions import LEVELS, Level
from peekaping_producer.operations.verdict import VerdictCode
from tests.kit.promql import metrics_in, unknown_in
from tests.kit.requirements import need
from tests.unit.test_docs import anchors

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "prometheus" / "alerts.yaml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(FILE.read_text())["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]


def codes(expression: str, metric: str = "condition") -> set[str]:
    """The codes of conditions, or of the verdict, in the expression."""
    texts = re.findall(rf'{PREFIX}_{metric}\{{\s*code(?:!|=)~?"([^"]*)"', expression)
    return {each for text in texts for each in text.split("|")}


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
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    for text in (rule["annotations"]["summary"], rule["annotations"]["description"]):
        assert text[0].isupper() or text[0] == "{"
        assert text.endswith(".")
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor in anchors(ROOT / page)
    assert metrics_in(rule["expr"])
    assert unknown_in(rule["expr"]) == set()
    assert codes(rule["expr"]) <= LEVELS.keys()
    assert codes(rule["expr"], "verdict") <= set(VerdictCode)
    assert rule["expr"].count("code") == len(re.findall(r"(condition|verdict)\{\s*code|by \(code\)", rule["expr"]))
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


HEALTHY: Mapping[str, str] = {
    f'{PREFIX}_build_info{{job="producer", instance="a", version="1"}}': "1x100",
    f"{PREFIX}_is_leader": "1x100",
    f"{PREFIX}_oldest_due_age_seconds": "0x100",
    f"{PREFIX}_oldest_pending_age_seconds": "0x100",
    f"{PREFIX}_sync_last_success_timestamp_seconds": "0+60x100",
    f"{PREFIX}_redis_clock_skew_seconds": "0.01x100",
    f'{PREFIX}_handed_off_total{{outcome="enqueued"}}': "0+600x100",
    f'{PREFIX}_verdict{{code="on_time"}}': "1x100",
    'process_start_time_seconds{job="producer", instance="a"}': "7x100",
}
"""The series of a minute each, for 100 minutes."""
RISING = "0+60x100"


def condition(code: str) -> dict[str, str]:
    return {f'{PREFIX}_condition{{code="{code}"}}': "1x100"}


def verdict(code: str) -> dict[str, str]:
    return {f'{PREFIX}_verdict{{code="on_time"}}': "0x100", f'{PREFIX}_verdict{{code="{code}"}}': "1x100"}


def without(metric: str) -> dict[str, str]:
    return {name: "_x100" for name in HEALTHY if name.startswith(f"{PREFIX}_{metric}")}


BAD, LATE = "VerdictIsBad", {f"{PREFIX}_oldest_due_age_seconds": "90x100"}
SCENARIOS: Mapping[str, tuple[dict[str, str], set[str]]] = {
    "healthy": ({}, set()),
    "catching up": (verdict("catching_up"), set()),
    "late": (LATE | verdict("late_database") | condition("schedule_late"), {"ChecksAreLate", "ScheduleIsLate", BAD}),
    "late and held": (LATE | verdict("held") | condition("schedule_late"), {"ChecksAreHeld"}),
    "missed ticks": ({f"{PREFIX}_missed_ticks_total": RISING}, {"TicksAreMissed"}),
    "tasks pending": ({f"{PREFIX}_oldest_pending_age_seconds": "61x100"}, {"TasksAreNotConsumed"}),
    "tasks not completed": (condition("tasks_not_completed"), {"TasksAreNotCompleted"}),
    "queue paused": (condition("queue_paused"), {"QueueIsPaused"}),
    "overlaps": ({f'{PREFIX}_handed_off_total{{outcome="overlap"}}': "0+300x100"}, {"WorkersDoNotKeepUp"}),
    "no worker": (verdict("no_worker"), {"NoWorker", BAD}),
    "workers stuck": (verdict("workers_stuck"), {"WorkersFinishNothing", BAD}),
    "workers full": (verdict("workers_full"), {"WorkersAreFull", BAD}),
    "too few slots": (
        {f"{PREFIX}_worker_slots": "10x100", f"{PREFIX}_worker_slots_needed": "12x100"},
        {"WorkersAreTooFew"},
    ),
    "enough slots": ({f"{PREFIX}_worker_slots": "12x100", f"{PREFIX}_worker_slots_needed": "12x100"}, set()),
    "workers that do not register": (
        {f"{PREFIX}_worker_slots": "0x100", f"{PREFIX}_worker_slots_needed": "12x100"},
        set(),
    ),
    "results": (verdict("results_not_stored"), {"ResultsAreNotStored", BAD}),
    "redis away": (condition("redis_unavailable"), {"RedisCannotBeUsed"}),
    "redis full": (condition("redis_refuses_writes"), {"RedisCannotBeUsed"}),
    "database away": (condition("database_unavailable"), {"DatabaseCannotBeUsed"}),
    "broker away": (condition("broker_unavailable"), {"BrokerCannotBeUsed"}),
    "database empty": (condition("database_empty"), {"DatabaseLooksEmpty"}),
    "removals refused": ({f"{PREFIX}_sync_removals_refused_total": RISING}, {"DatabaseLooksEmpty"}),
    "database degraded": (condition("database_degraded"), {"DatabaseIsDegraded"}),
    "lease too long": (condition("lease_too_long"), {"LeaseIsTooLong"}),
    "clocks": ({f"{PREFIX}_redis_clock_skew_seconds": "-40x100"}, {"ClocksDiffer"}),
    "no replica": (dict.fromkeys(HEALTHY, "_x100"), {"ProducerIsDown"}),
    "no leader": ({f"{PREFIX}_is_leader": "0x100"} | condition("no_leader"), {"NoLeader", "LeaderKeyIsWrong"}),
    "two leaders": ({f'{PREFIX}_is_leader{{instance="b"}}': "1x100"}, {"NoLeader"}),
    "leader key": (condition("leader_key_invalid"), {"LeaderKeyIsWrong"}),
    "sync late": (condition("sync_late"), {"SyncIsLate"}),
    "not synced": ({f"{PREFIX}_sync_last_success_timestamp_seconds": "1x100"}, {"ScheduleIsNotSynced"}),
    "producer fails": (condition("producer_failing"), {"ProducerFails"}),
    "leases": ({f"{PREFIX}_leases_reclaimed_total": RISING}, {"LeasesRunOut"}),
    "log lines": ({f"{PREFIX}_log_lines_dropped_total": RISING}, {"LogLinesAreLost"}),
    "restarts": ({'process_start_time_seconds{job="producer", instance="a"}': "7+300x100"}, {"ReplicaRestarts"}),
    "restarts of another program": ({'process_start_time_seconds{job="other", instance="a"}': "7+300x100"}, set()),
    "calls fail": ({f'{PREFIX}_store_errors_total{{where="worker"}}': RISING}, {"CallsFail"}),
    "a call fails now and then": ({f'{PREFIX}_store_errors_total{{where="sync"}}': "0+1x100"}, set()),
    "set aside": ({f"{PREFIX}_monitors_set_aside": "2x100"}, {"MonitorsAreSetAside"}),
    "unschedulable": ({f"{PREFIX}_monitors_unschedulable": "3x100"}, {"MonitorsCannotBeScheduled"}),
}
"""What changes, and the alerts that fire then, without their prefix."""


def test_each_rule_fires_when_it_should(tmp_path: Path) -> None:
    """As promtool evaluates the rules after 45 minutes; all alerts that fire are compared."""
    promtool = shutil.which("promtool")
    need(promtool, "promtool (prometheus): run `make ci-servers`")
    fired = {f"Peekaping{name}" for _, alerts in SCENARIOS.values() for name in alerts}
    assert fired == {rule["alert"] for rule in RULES}, "each rule has a scenario"
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in {**HEALTHY, **changes}.items()],
            "promql_expr_test": [
                {
                    "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": "45m",
                    "exp_samples": [
                        {"labels": f'{{alertname="Peekaping{alert}"}}', "value": 1} for alert in sorted(alerts)
                    ],
                }
            ],
        }
        for name, (changes, alerts) in SCENARIOS.items()
    ]
    document = {"rule_files": [str(FILE)], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(document))
    done = subprocess.run(
        [str(promtool), "test", "rules", str(tmp_path / "tests.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def examples() -> list[str]:
    """The examples of YAML in the section on monitoring."""
    section = (ROOT / "docs" / "deployment.md").read_text().partition("\n## Monitoring\n")[2].partition("\n## ")[0]
    return re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)


def test_the_pod_monitor_of_the_docs_selects_the_pods_of_the_manifest() -> None:
    spec = yaml.safe_load(examples()[1])["spec"]
    pod = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "deployment.yaml").read_text())["spec"]["template"]
    assert spec["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    ports = {port["name"] for container in pod["spec"]["containers"] for port in container.get("ports", ())}
    assert {endpoint["port"] for endpoint in spec["podMetricsEndpoints"]} <= ports


def test_prometheus_accepts_the_example_of_the_docs(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    need(promtool, "promtool (prometheus): run `make ci-servers`")
    (tmp_path / "prometheus.yml").write_text(examples()[0])
    shutil.copy(FILE, tmp_path)
    done = subprocess.run(
        [str(promtool), "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rules found" in done.stdout
