"""The page of a monitor: its document, that of `explain --json`, as nodes."""

import math
from collections.abc import Iterator

import msgspec

from peekaping_producer.operations.explain.text import MAX_NAME_LENGTH
from peekaping_producer.operations.moments import parsed_ms
from peekaping_producer.operations.naming import how_often
from peekaping_producer.service.text import clock_time
from peekaping_producer.ui.rendering import ticks
from peekaping_producer.ui.rendering.monitor_cards import Document, database, maintenance, next_ms, schedule, task
from peekaping_producer.ui.rendering.nodes import (
    VERSION,
    Entry,
    Node,
    card,
    hint,
    link,
    log,
    sub,
    tag,
    user_text,
    verdict,
    visible,
)

_LEVELS = {"ok": ("good", "OK"), "off": ("off", "Off"), "note": ("warn", "Note"), "fail": ("bad", "Problem")}
_MATCHES = "Several monitors match"
_NO_EVENT = "None of the latest 1,000 events of the fleet names it."


class MonitorView(msgspec.Struct, frozen=True, kw_only=True):
    """What GET /api/views/monitors/ID returns."""

    version: int = VERSION
    now_ms: int | None = None
    """None if several monitors match."""
    code: str | None = None
    """Of the verdict."""
    sentence: str
    name: str = ""
    """Empty if it is not known."""
    held: bool = False
    """Whether there is a hold on this monitor."""
    body: list[Node]
    """What is below the header."""


def monitor_view(found: Document) -> MonitorView:
    """Return what the browser shows of a document of GET /api/monitors/ID."""
    if "candidates" in found:
        return MonitorView(sentence=f"{_MATCHES}.", body=[_candidates(found)])
    if len(found["name"] or "") > MAX_NAME_LENGTH:
        found = {**found, "name": f"{found['name'][:MAX_NAME_LENGTH]}…"}
    return MonitorView(
        now_ms=found["now_ms"],
        code=found["verdict"],
        sentence=visible(found["sentence"]),
        name=visible(found["name"] or ""),
        held=found["hold"] is not None,
        body=_body(found),
    )


def _candidates(found: Document) -> Node:
    items: list[Node] = [
        ["li", link(one["id"], one["name"]), None if one["interval_s"] is None else sub(_place(one))]
        for one in found["candidates"]
    ]
    error = found["errors"]["database"]
    away = hint("Only ids of the schedule were searched: ", user_text(error)) if error else None
    return card(_MATCHES, "", ["ul", *items], away)


def _place(one: Document) -> str:
    return f"{visible(one['id'])}, {how_often(one['interval_s'])}"


def _body(found: Document) -> list[Node]:
    now_ms, events = found["now_ms"], found["events"]
    level, word = _LEVELS[found["level"]]
    ends_ms = parsed_ms(found["ends_at"])
    return [
        _heading(found),
        verdict(level, word, found["sentence"], found["remedy"] or "", now_ms=now_ms, ends_ms=ends_ms),
        _ticks(found),
        ["div.columns even", schedule(found), task(found), database(found), maintenance(found)],
        _anomalies(found),
        card(
            "Events",
            "",
            log(map(_entry, events), now_ms) if events else hint(_NO_EVENT),
        ),
        hint("In a terminal: ", ["code", f"peekaping-producer explain {visible(found['id'])}"]),
    ]


def _heading(found: Document) -> Node:
    row, name = found["row"], found["name"]
    tags: list[Node] = []
    if row:
        state = tag("active", "good") if row["active"] else tag("paused", "warn")
        tags = [state, " ", tag(user_text(row["type"])), " ", tag(f"every {row['interval_s']} s")]
    title: Node = ["b", user_text(name or found["id"])]
    id_: Node = ["code.sub", visible(found["id"])] if name else None
    return ["p.crumb", ["a", {"href": "/"}, "Fleet"], " › ", title, " ", *tags, id_]


def _ticks(found: Document) -> Node:
    row, now_ms = found["row"], found["now_ms"]
    if not row or row["interval_s"] <= 0:
        return None
    axis = ticks.Axis(now_ms, 1000 * row["interval_s"])
    note = f"read at {clock_time(now_ms, now_ms)}"
    unknown = hint("The results of its checks cannot be read.") if found["heartbeats"] is None else None
    return card("Ticks", note, unknown, ticks.drawing(axis, list(_points(found, axis)), _period(found)), ticks.key())


def _points(found: Document, axis: ticks.Axis) -> Iterator[ticks.Point]:
    """Yield the results, the ticks without one, the check that runs, and the ticks to come."""
    results = []
    for beat in found["heartbeats"] or ():
        beat_ms, status = parsed_ms(beat["at"]), beat["status"]
        if beat_ms is not None:
            results.append(beat_ms)
            kind = status if status in {"up", "down"} else "other"
            yield ticks.Point(beat_ms, kind, f"{status}, {beat['ms']} ms")
    coming_ms = next_ms(found)
    yield from axis.missing(results, coming_ms[0] if coming_ms else None)
    running_ms = found["task"] and parsed_ms(found["task"]["active_since"])
    if running_ms is not None:
        yield ticks.Point(running_ms, "other", "running")
    yield from ticks.coming(coming_ms)


def _period(found: Document) -> tuple[float, float] | None:
    """Return when the active or the next period of maintenance begins and ends."""
    state = found["maintenance"] or {"now": False, "next": None}
    period = state["next"] or {"from": None, "to": None}
    begins_ms, ends_ms = parsed_ms(period["from"]), parsed_ms(period["to"])
    if begins_ms is None and not state["now"]:
        return None
    return 0 if begins_ms is None else begins_ms, math.inf if ends_ms is None else ends_ms


def _anomalies(found: Document) -> Node:
    reported = found["anomalies"]
    if not reported:
        return None
    items: list[Node] = [
        ["li", tag(user_text(one.get("kind", "?")), "warn"), " ", user_text(one.get("reason", ""))] for one in reported
    ]
    return card("Anomalies", "as replicas report", ["ul", *items])


def _entry(event: Document) -> Entry:
    return Entry(parsed_ms(event["at"]) or 0, event["kind"], event["message"], None, event["replica"])
