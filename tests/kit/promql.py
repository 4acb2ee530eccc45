"""Which metrics and labels an expression of PromQL names, and which of them no replica serves."""

import re

from peekaping_producer.metrics import Metrics

SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds."""
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
_METRIC = re.compile(r"\b((?:peekaping_producer|process)_\w+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)")


def served() -> dict[str, set[str]]:
    """The labels of all series that a replica may serve, by metric."""
    registry = Metrics("1").registry
    labels = {
        name: set(getattr(collector, "_labelnames", ()))
        for collector, names in registry._collector_to_names.items()
        for name in names
    }
    found = {}
    for family in registry.collect():
        for suffix in _SUFFIXES.get(family.type, ()):
            bucket = {"le"} if suffix == "_bucket" else set()
            found[f"{family.name}{suffix}"] = labels.get(family.name, set()) | bucket
    return found


def metrics_in(expression: str) -> set[str]:
    return {name for name, _ in _METRIC.findall(expression)}


def unknown_in(expression: str) -> set[str]:
    """The metrics, and the labels as `metric{label}`, that no replica serves; a grouping as `{label}`."""
    known = served()
    unknown = metrics_in(expression) - known.keys()
    grouped: set[str] = set()
    for name, selector in _METRIC.findall(expression):
        labels = known.get(name, set()) | SCRAPED
        grouped |= labels
        unknown |= {f"{name}{{{label}}}" for label in _LABEL.findall(selector) if label not in labels}
    named = {label.strip() for text in _GROUPING.findall(expression) for label in text.split(",") if label.strip()}
    return unknown | {f"{{{label}}}" for label in named - grouped}
