"""deploy/grafana/dashboard.json: made of panels.yaml, and of metrics and labels that exist."""

import json
import re
import runpy
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from peekaping_producer.metrics import PREFIX
from peekaping_producer.operations.verdict import Verdict, VerdictCode
from tests.kit.commands import ROOT
from tests.kit.promql import unknown_in
from tests.kit.requirements import need

FOLDER = ROOT / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


def plain(expression: str) -> str:
    """The expression without the dashboard's variables."""
    return expression.replace("$job", ".*").replace("$__rate_interval", "5m")


@pytest.mark.parametrize(
    ("expression", "unknown"),
    [
        (f"rate({PREFIX}_claimed_total[5m]) + {PREFIX}_claimed", {f"{PREFIX}_claimed"}),
        (f'sum by (le) ({PREFIX}_schedule_lag_seconds_bucket{{job=~"a"}})', set()),
        (f'{PREFIX}_verdict{{code="x", state="y"}}', {f"{PREFIX}_verdict{{state}}"}),
        (f"sum by (outcome, kind) ({PREFIX}_handed_off_total)", {"{kind}"}),
        ("process_cpu_seconds_total + process_gone", {"process_gone"}),
    ],
)
def test_what_no_replica_serves_is_found(expression: str, unknown: set[str]) -> None:
    assert unknown_in(expression) == unknown


def test_the_file_is_made_of_the_list() -> None:
    made = runpy.run_path(str(FOLDER / "dashboard.py"))["text"]()
    assert (FOLDER / "dashboard.json").read_text() == made, "run: python deploy/grafana/dashboard.py"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_is_described_and_uses_what_replicas_serve(panel: dict[str, Any]) -> None:
    assert re.fullmatch(r"[A-Z].*\.", panel["description"])
    assert panel["targets"]
    for target in panel["targets"]:
        assert unknown_in(target["expr"]) == set()
        assert 'job=~"$job"' in target["expr"], "the viewer chooses the installation"
        legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        shown = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"])))) - {"le"}
        assert legend == shown or (not shown and legend <= {"instance"})


def test_panels_do_not_overlap_and_have_names_of_their_own() -> None:
    cells = [
        {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        for at in (panel["gridPos"] for panel in DASHBOARD["panels"])
    ]
    assert all(0 <= x < 24 for panel in cells for x, _ in panel)
    assert not any(one & other for one, other in combinations(cells, 2))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)


def test_the_rows_are_those_of_the_page() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Verdict", "Around now", "Replicas", "Queue and workers"]


def test_the_colors_of_verdicts_are_their_levels() -> None:
    (panel,) = (panel for panel in PANELS if panel["title"] == "Verdict")
    assert panel["fieldConfig"]["defaults"]["color"]["fixedColor"] == "red"
    colors = {
        override["properties"][0]["value"]["fixedColor"]: set(override["matcher"]["options"].strip("/^$()").split("|"))
        for override in panel["fieldConfig"]["overrides"]
    }
    levels: dict[str, set[str]] = {"good": set(), "warn": set(), "bad": set()}
    for code in VerdictCode:
        levels[Verdict(code, "", "").level].add(code)
    assert colors == {"green": levels["good"], "yellow": levels["warn"]}


def test_prometheus_accepts_each_expression(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    need(promtool, "promtool (prometheus): run `make ci-servers`")
    annotations = [each["expr"] for each in DASHBOARD["annotations"]["list"]]
    rules = [{"record": f"panel:{n}", "expr": plain(each)} for n, each in enumerate(EXPRESSIONS + annotations)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([str(promtool), "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
    assert all(unknown_in(each) == set() for each in annotations)
