"""The page of a monitor: its document, that of `explain --json`, as nodes."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from peekaping_producer.operations.explain.maintenance import HOURS_AHEAD
from peekaping_producer.operations.moments import parsed_ms
from peekaping_producer.operations.naming import how_often
from peekaping_producer.service.text import clock_time
from peekaping_producer.ui.rendering import ticks
from peekaping_producer.ui.rendering.nodes import (
    VERSION,
    Event,
    Node,
    at,
    card,
    count,
    hint,
    link,
    log,
    pairs,
    sub,
    tag,
    user_text,
    verdict,
    visible,
)

Document: TypeAlias = Mapping[str, Any]
_LEVELS = {"ok": ("good", "OK"), "off": ("off", "Off"), "note": ("warn", "Note"), "fail": ("bad", "Problem")}
_MATCHES = "Several monitors match"


def monitor_view(found: Document) -> dict[str, Any]:
    """Return what the browser shows of a document of GET /api/monitors/ID."""
    if "candidates" in found:
        view = {"now_ms": None, "code": None, "sentence": f"{_MATCHES}.", "name": "", "held": False}
        return {"version": VERSION, **view, "body": _candidates(found)}
    return {
        "version": VERSION,
        "now_ms": found["now_ms"],
        "code": found["verdict"],
        "sentence": visible(found["sentence"]),
        "name": visible(found["name"] or ""),
        "held": found["hold"] is not None,
        "body": _body(found),
    }


def _candidates(found: Document) -> list[Node]:
    items: list[Node] = [
        ["li", link(one["id"], one["name"]), one["interval_s"] is not None and sub(_place(one))]
        for one in found["candidates"]
    ]
    error = found["errors"]["database"]
    away = hint("Only ids of the schedule were searched: ", user_text(error)) if error else None
    return [card(_MATCHES, "", ["ul", *items], away)]


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
        ["div.columns even", _schedule(found), _task(found), _database(found), _maintenance(found)],
        _anomalies(found),
        card("Events", "", log(map(_event, events), now_ms) if events else hint("None of the latest 1,000.")),
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
    return card("Ticks", note, ticks.drawing(axis, list(_points(found, axis)), _period(found)), ticks.key())


def _points(found: Document, axis: ticks.Axis) -> Iterator[ticks.Point]:
    """Yield the results, the ticks without one, the check that runs, and the ticks to come."""
    results = []
    for beat in found["heartbeats"]:
        beat_ms, status = parsed_ms(beat["at"]), beat["status"]
        if beat_ms is not None:
            results.append(beat_ms)
            kind = status if status in {"up", "down"} else "other"
            yield ticks.Point(beat_ms, kind, f"{status}, {beat['ms']} ms")
    coming_ms = _next_ms(found)
    yield from axis.missing(results, next(iter(coming_ms), None))
    running_ms = found["task"] and parsed_ms(found["task"]["active_since"])
    if running_ms is not None:
        yield ticks.Point(running_ms, "other", "running")
    yield from ticks.coming(coming_ms)


def _next_ms(found: Document) -> list[int]:
    state = found["schedule"]
    known = (parsed_ms(tick) for tick in (state["next"] if state else ()))
    return [tick_ms for tick_ms in known if tick_ms is not None]


def _period(found: Document) -> tuple[float, float] | None:
    """Return when the active or the next period of maintenance begins and ends."""
    maintenance = found["maintenance"] or {"now": False, "next": None}
    period = maintenance["next"] or {"from": None, "to": None}
    begins_ms, ends_ms = parsed_ms(period["from"]), parsed_ms(period["to"])
    if begins_ms is None and not maintenance["now"]:
        return None
    return 0 if begins_ms is None else begins_ms, math.inf if ends_ms is None else ends_ms


def _when(iso: str | None, found: Document) -> str | None:
    at_ms = parsed_ms(iso)
    return None if at_ms is None else at(at_ms, found["now_ms"])


def _text(value: str | None) -> Node:
    return user_text(value) if value else None


def _schedule(found: Document) -> Node:
    state, now_ms = found["schedule"], found["now_ms"]
    if state is None:
        return card("Schedule", "", hint(user_text(found["errors"]["redis"] or "Not known.")))
    hold = found["hold"] or found["hold_on_all"]
    words = {"due": "held" if hold else "due", "lease": "claimed"}
    held: Node = None
    if hold:
        what = "" if found["hold"] else "all monitors, "
        until = f"{what}until {at(hold['until_ms'], now_ms)} by "
        held = ["", until, user_text(hold["who"]), ": ", user_text(hold["why"])]
    return card(
        "Schedule",
        "",
        pairs(
            "pairs",
            [
                ("State", words[state["in"][0]] if state["in"] else "not in the schedule"),
                ("Due", _when(state["due_at"], found)),
                ("Claimed by", _text(state["holder"])),
                ("Claim ends", _when(state["lease_ends_at"], found)),
                ("Not handed off since", _when(state["intended_at"], found)),
                ("Held", held),
                ("Next ticks", ", ".join(clock_time(tick_ms, now_ms) for tick_ms in _next_ms(found))),
            ],
        ),
    )


def _task(found: Document) -> Node:
    task = found["task"]
    if task is None:
        return card("Task", "", hint("No check is pending or running."))
    is_replaced = task["at_next_tick"] == "replaced"
    return card(
        "Task",
        "",
        pairs(
            "pairs",
            [
                ("State", user_text(task["state"] or task["kind"])),
                ("Pending since", _when(task["pending_since"], found)),
                ("Place in the queue", task["position"] and count(task["position"])),
                ("Running since", _when(task["active_since"], found)),
                ("Worker", _text(task["worker"])),
                ("Lease of asynq ends", _when(task["asynq_lease_ends_at"], found)),
                ("Ticks not completed", task["uncompleted_ticks"]),
                ("At the next tick", "replaced by a new task" if is_replaced else "stays; no second task"),
            ],
        ),
    )


def _database(found: Document) -> Node:
    row, error = found["row"], found["errors"]["database"]
    if row is None:
        reason = "No row." if found["name"] is None else "The row, or a table that its task needs, cannot be read."
        return card("Database", "", hint(user_text(error or reason)))
    retries, proxy = row["max_retries"], row["proxy"]
    used: Node = "none"
    if proxy:
        note = "" if proxy["exists"] else " (does not exist)"
        used = ["", _text(proxy["protocol"]), " ", user_text(proxy["id"]), note]
    return card(
        "Database",
        "",
        pairs(
            "pairs",
            [
                ("Active", "yes" if row["active"] else "no: paused in Peekaping"),
                ("Interval, timeout", f"{row['interval_s']} s, {row['timeout_s']} s"),
                ("Retries", f"{retries}, {row['retry_interval_s']} s apart" if retries else "none"),
                ("Proxy", used),
            ],
        ),
    )


def _maintenance(found: Document) -> Node:
    maintenance = found["maintenance"]
    if maintenance is None:
        return card("Maintenance", "not known")
    period = f"none within {HOURS_AHEAD} h"
    if maintenance["next"]:
        begins, ends = (_when(maintenance["next"][end], found) for end in ("from", "to"))
        period = f"from {begins} " if begins else ""
        period += f"until {ends}" if ends else f"for {HOURS_AHEAD} h or longer"
    rows = [("Now", "yes" if maintenance["now"] else "no"), ("Period", period)]
    return card("Maintenance", "", pairs("pairs", rows))


def _anomalies(found: Document) -> Node:
    reported = found["anomalies"]
    if not reported:
        return None
    items: list[Node] = [
        ["li", tag(user_text(one.get("kind", "?")), "warn"), " ", user_text(one.get("reason", ""))] for one in reported
    ]
    return card("Anomalies", "as replicas report", ["ul", *items])


def _event(event: Document) -> Event:
    return Event(parsed_ms(event["at"]) or 0, event["kind"], event["message"], None, event["replica"])
