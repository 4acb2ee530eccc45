"""Writes dashboard.json from panels.yaml, both beside it: `python deploy/grafana/dashboard.py` (needs PyYAML)."""

import json
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24
"""Columns of a dashboard."""
_USUAL = {"kind": "timeseries", "unit": "short", "width": 8, "warn_at": None, "bad_at": None, "stacked": False}
_GOOD, _WARN, _BAD = "green", "yellow", "red"
_CODES = {"on_time": _GOOD, "held|catching_up|monitors_late|no_leader|not_synced": _WARN}
"""Colors of codes; all others are bad. Each code is also a name, so that no meaning depends on a color alone."""
_VARIABLES = [
    {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
    {
        "name": "job",
        "label": "Job",
        "type": "query",
        "datasource": _SOURCE,
        "query": "label_values(peekaping_producer_build_info, job)",
        "definition": "label_values(peekaping_producer_build_info, job)",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    },
]
_LEADER_CHANGES = {
    "name": "Changes of the leader",
    "datasource": _SOURCE,
    "enable": True,
    "iconColor": "blue",
    "expr": 'changes(peekaping_producer_is_leader{job=~"$job"}[2m]) > 0',
    "titleFormat": "Leader",
    "textFormat": "{{instance}} began or stopped leading",
    "step": "60s",
}


def dashboard(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the dashboard as Grafana imports it. `rows`: the content of panels.yaml."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        panels.append(_row(row["row"], top, len(panels) + 1))
        top, left, height = top + 1, 0, 0
        for panel in (_USUAL | given for given in row["panels"]):
            if left + panel["width"] > _WIDTH:
                top, left, height = top + height, 0, 0
            place = {"h": 4 if panel["kind"] == "stat" else 8, "w": panel["width"], "x": left, "y": top}
            panels.append(_panel(panel, place, len(panels) + 1))
            left, height = left + panel["width"], max(height, place["h"])
        top += height
    return {
        "title": "Peekaping producer",
        "uid": "peekaping-producer",
        "description": "Whether checks run on time, and if not, why. The panels of the producer's own page, over time.",
        "tags": ["peekaping"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": _VARIABLES},
        "annotations": {"list": [_LEADER_CHANGES]},
        "panels": panels,
    }


def _row(title: str, top: int, number: int) -> dict[str, Any]:
    place = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
    return {"type": "row", "id": number, "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(panel: dict[str, Any], place: dict[str, int], number: int) -> dict[str, Any]:
    is_now = panel["kind"] == "stat"
    targets = [
        {"refId": chr(ord("A") + n), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
        | {"instant": is_now, "range": not is_now}
        for n, (legend, expression) in enumerate(panel["queries"].items())
    ]
    return {
        "type": panel["kind"],
        "id": number,
        "title": panel["title"],
        "description": panel["description"],
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _colors_of_codes(panel)},
        "options": _options(panel),
    }


def _defaults(panel: dict[str, Any]) -> dict[str, Any]:
    limits = {_WARN: panel["warn_at"], _BAD: panel["bad_at"]}
    steps: list[dict[str, Any]] = [{"color": _GOOD, "value": None}]
    steps += [{"color": color, "value": limit} for color, limit in limits.items() if limit is not None]
    defaults: dict[str, Any] = {"thresholds": {"mode": "absolute", "steps": steps}}
    if panel["unit"] == "code":
        return defaults | {"color": {"mode": "fixed", "fixedColor": _BAD}}
    if panel["unit"] != "name":
        defaults["unit"] = panel["unit"]
    if panel["kind"] == "timeseries":
        defaults |= {} if "may_be_negative" in panel else {"min": 0}
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never", "lineWidth": 1}
        if panel["stacked"]:
            defaults["custom"] |= {"fillOpacity": 40, "stacking": {"mode": "normal", "group": "A"}}
    return defaults


def _colors_of_codes(panel: dict[str, Any]) -> list[dict[str, Any]]:
    colors = _CODES if panel["unit"] == "code" else {}
    return [
        {
            "matcher": {"id": "byRegexp", "options": f"/^({codes})$/"},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
        }
        for codes, color in colors.items()
    ]


def _options(panel: dict[str, Any]) -> dict[str, Any]:
    if panel["kind"] == "stat":
        text = "name" if panel["unit"] in {"code", "name"} else "value"
        last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"textMode": text, "colorMode": "background", "graphMode": "none", "reduceOptions": last}
    if panel["kind"] == "state-timeline":
        return {"showValue": "never", "mergeValues": True, "legend": {"displayMode": "list", "showLegend": False}}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def text() -> str:
    """Return the content of dashboard.json."""
    rows = yaml.safe_load((FOLDER / "panels.yaml").read_text())
    return json.dumps(dashboard(rows), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (FOLDER / "dashboard.json").write_text(text())
