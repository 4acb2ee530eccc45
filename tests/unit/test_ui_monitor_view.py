"""The page of a monitor as nodes: what is visible for each state of its document."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec import structs

from peekaping_producer.brokers.monitor_state import MonitorState, TaskKind, TaskState
from peekaping_producer.monitors.monitor import Monitor, MonitorDetails, Plan, Proxy, RecentHeartbeat
from peekaping_producer.operations.explain.facts import Facts, Row
from peekaping_producer.operations.explain.maintenance import next_maintenance
from peekaping_producer.operations.explain.silent import SilentMonitor, SilentMonitors
from peekaping_producer.operations.moments import Moments, parsed_ms
from peekaping_producer.operations.status import Status
from peekaping_producer.schedule import Stats
from peekaping_producer.ui.monitors import monitor_document
from peekaping_producer.ui.rendering.monitor import MonitorView, monitor_view
from peekaping_producer.ui.rendering.nodes import visible
from peekaping_producer.ui.rendering.silent import silent_view
from tests.browser.made_up import HOSTILE_NAME, explanation
from tests.kit.nodes import attributes, named, rows_of, text_of

NOW_MS = 1_795_662_619_204
"""03:10:19 on 2026-11-26."""
HOLD = {"until_ms": NOW_MS + 600_000, "who": "anna\u202e", "why": "<b>disk</b>\n"}


def iso(seconds: float) -> str | None:
    """The time so many seconds after now."""
    return Moments(NOW_MS).iso(NOW_MS + 1000 * seconds)


def body(**changes: Any) -> list[Any]:
    """What is shown of the monitor whose worker died. A dict changes fields of what is there."""
    document = explanation(NOW_MS)
    merged = {
        field: {**document[field], **value} if isinstance(value, dict) and isinstance(document[field], dict) else value
        for field, value in changes.items()
    }
    return ["", *monitor_view(document | merged).body]


def card(node: list[Any], title: str) -> list[Any]:
    """The card with this title."""
    (found,) = [found for found in named(node, "section.card") if found[1][1] == ["h2", title]]
    return found


def facts_of_a_real_monitor() -> Facts:
    """Facts in which nothing is missing."""
    details = MonitorDetails(
        Monitor("m1", "n", "http", 60, 30, 0, 20, 0, True, "{}"), Proxy("p", "socks5", "h", 1, False)
    )
    beat = RecentHeartbeat(datetime(2026, 11, 26, 3, 9, tzinfo=UTC), 1, 12)
    task = TaskState(TaskKind.STUCK, "active", None, None, None, 1, None, b"", "", b"")
    state = MonitorState(NOW_MS, NOW_MS + 41_000, None, None, False, False, None, task)
    stats = Stats(NOW_MS, 1, 0, 0, 0, None, None, 0, "n/t", 9000)
    row = Row(Plan("m1", 60), "n", details, heartbeats=(beat,))
    return Facts("m1", NOW_MS, row, state, Status(stats, None), next_maintenance((), NOW_MS, "UTC"))


def test_the_documents_of_these_tests_have_the_fields_of_real_ones() -> None:
    def fields(document: Mapping[str, Any]) -> set[str]:
        of_parts = {f"{name}.{field}" for name, part in document.items() if isinstance(part, dict) for field in part}
        return {*document, *of_parts}

    real, made_up = fields(monitor_document(facts_of_a_real_monitor())), fields(explanation(NOW_MS))
    assert made_up - real == set()
    assert real - made_up == {"task.estimated_wait_s"}, "which the page does not show"


def test_a_real_document_is_shown() -> None:
    view = monitor_view(monitor_document(facts_of_a_real_monitor()))
    assert (view.now_ms, view.code, view.name, view.held) == (NOW_MS, "task.failing", "n", False)
    assert rows_of(card(["", *view.body], "Schedule"))["Next ticks"] == "03:11:00, 03:12:00, 03:13:00, 03:14:00"
    msgspec.json.encode(view)


@pytest.mark.parametrize(
    ("level", "css", "word"),
    [("ok", "good", "OK"), ("off", "off", "Off"), ("note", "warn", "Note"), ("fail", "bad", "Problem")],
)
def test_the_verdict_comes_with_its_end_and_the_acts(level: str, css: str, word: str) -> None:
    changes = {"level": level, "sentence": "It is late.", "remedy": "Run `status <b>`.", "ends_at": iso(40.8)}
    (verdict,) = named(body(**changes), f"section.verdict {css}")
    assert text_of(verdict) == f"{word}until 03:11:00 (in 40.8 s)It is late.Run status <b>."
    assert named(verdict, "code") == [["code", "status <b>"]]
    assert named(verdict, "Slot") == [["Slot", "acts"]]
    assert "ends" not in text_of(named(body(**changes | {"ends_at": None}), f"section.verdict {css}")[0])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "Fleet › payments · 3-D Secure active http every 60 s3f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04"),
        ({"name": None}, "Fleet › 3f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04 active http every 60 s"),
        ({"name": "shop", "id": "m1", "row": {"active": False}}, "Fleet › shop paused http every 60 sm1"),
        ({"name": "a\u202eb", "id": "\u2066", "row": None}, "Fleet › a\\u202eb \\u2066"),
    ],
)
def test_the_heading_contains_the_name_and_the_state(changes: dict[str, Any], expected: str) -> None:
    (heading,) = named(body(**changes), "p.crumb")
    assert text_of(heading) == expected


SCHEDULES: list[tuple[dict[str, Any], dict[str, str]]] = [
    (
        {"schedule": {"in": ["due"], "due_at": iso(40.796), "next": [iso(40.796), iso(100.796)]}},
        {"State": "due", "Due": "03:11:00 (in 40.8 s)", "Next ticks": "03:11:00, 03:12:00"},
    ),
    (
        {"schedule": {"in": ["lease"], "due_at": None, "holder": "vm\u202e-b", "lease_ends_at": iso(9), "next": []}},
        {"State": "claimed", "Claimed by": "vm\\u202e-b", "Claim ends": "03:10:28 (in 9.0 s)"},
    ),
    (
        {"schedule": {"in": [], "due_at": None, "intended_at": iso(-90), "next": []}},
        {"State": "not in the schedule", "Not handed off since": "03:08:49 (90.0 s ago)"},
    ),
    (
        {"hold": HOLD, "schedule": {"due_at": iso(640.796), "next": [iso(640.796)]}},
        {
            "State": "held",
            "Due": "03:21:00 (in 10.7 min)",
            "Held": "until 03:20:19 (in 10.0 min) by anna\\u202e: <b>disk</b>\\u000a",
            "Next ticks after the hold": "03:21:00",
        },
    ),
    (
        {"hold_on_all": HOLD, "schedule": {"due_at": iso(-5), "next": []}},
        {
            "State": "held",
            "Due": "03:10:14 (5.0 s ago)",
            "Held": "all monitors, until 03:20:19 (in 10.0 min) by anna\\u202e: <b>disk</b>\\u000a",
        },
    ),
]


@pytest.mark.parametrize(("changes", "expected"), SCHEDULES)
def test_the_schedule(changes: dict[str, Any], expected: dict[str, str]) -> None:
    assert rows_of(card(body(**changes), "Schedule")) == expected


def test_only_the_hold_on_this_monitor_can_be_released_here() -> None:
    assert monitor_view(explanation(NOW_MS) | {"hold": HOLD}).held
    assert not monitor_view(explanation(NOW_MS) | {"hold_on_all": HOLD, "verdict": "held.all"}).held


TASKS: list[tuple[dict[str, Any], dict[str, str]]] = [
    (
        {"state": "pending", "pending_since": iso(-7), "position": 1234, "at_next_tick": "overlap"},
        {
            "State": "pending",
            "Pending since": "03:10:12 (7.0 s ago)",
            "Place in the queue": "1,234",
            "At the next tick": "stays; no second task",
        },
    ),
    (
        {"state": None, "kind": "wrong_type", "worker": "w\n1", "active_since": iso(-1), "uncompleted_ticks": 2},
        {
            "State": "wrong_type",
            "Running since": "03:10:18 (1.0 s ago)",
            "Worker": "w\\u000a1",
            "Ticks not completed": "2",
            "At the next tick": "replaced by a new task",
        },
    ),
    (
        {"state": "archived", "error": "dial tcp\u202e: refused", "last_failed_at": iso(-7), "retried": 3},
        {
            "State": "archived",
            "Last failed": "03:10:12 (7.0 s ago), after 3 retries",
            "Error": "dial tcp\\u202e: refused",
            "At the next tick": "replaced by a new task",
        },
    ),
]


@pytest.mark.parametrize(("changes", "expected"), TASKS)
def test_the_task(changes: dict[str, Any], expected: dict[str, str]) -> None:
    none = {"active_since": None, "asynq_lease_ends_at": None, "uncompleted_ticks": 0}
    assert rows_of(card(body(task={**none, **changes}), "Task")) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"Active": "yes", "Retries": "2, 20 s apart", "Proxy": "socks5 b1e0a3f2-5e4d-4c3b-9a2f-1e0d9c8b7a65"}),
        ({"active": False, "max_retries": 0}, {"Active": "no: paused in Peekaping", "Retries": "none"}),
        ({"proxy": {"id": "p\u202e", "protocol": None, "exists": False}}, {"Proxy": " p\\u202e (does not exist)"}),
        ({"proxy": None, "interval_s": 20, "timeout_s": 9}, {"Proxy": "none", "Interval, timeout": "20 s, 9 s"}),
    ],
)
def test_the_row(changes: dict[str, Any], expected: dict[str, str]) -> None:
    assert rows_of(card(body(row=changes), "Database")).items() >= expected.items()


@pytest.mark.parametrize(
    ("found", "period"),
    [
        ({"now": False, "next": None}, "none within 48 h"),
        ({"now": True, "next": None}, "none within 48 h"),
        ({"now": True, "next": {"from": None, "to": iso(90)}}, "until 03:11:49 (in 90.0 s)"),
        ({"now": False, "next": {"from": iso(90), "to": None}}, "from 03:11:49 (in 90.0 s) for 48 h or longer"),
    ],
)
def test_maintenance(found: dict[str, Any], period: str) -> None:
    now = "yes" if found["now"] else "no"
    assert rows_of(card(body(maintenance=found), "Maintenance")) == {"Now": now, "Period": period}


@pytest.mark.parametrize(
    ("changes", "title", "text"),
    [
        ({"schedule": None, "errors": {"redis": "No <b>route</b>."}}, "Schedule", "No <b>route</b>."),
        ({"schedule": None}, "Schedule", "Not known."),
        ({"task": None}, "Task", "No check is pending or running."),
        ({"row": None, "errors": {"database": "no answer"}}, "Database", "no answer"),
        ({"row": None, "name": None}, "Database", "No row."),
        ({"row": None}, "Database", "The row, or a table that its task needs, cannot be read."),
        ({"maintenance": None}, "Maintenance", "not known"),
        ({"events": []}, "Events", "None of the latest 1,000 events of the fleet names it."),
    ],
)
def test_what_is_not_known_or_absent(changes: dict[str, Any], title: str, text: str) -> None:
    assert text_of(card(body(**changes), title)) == f"{title}{text}"


def test_the_ticks_are_results_missing_ones_the_check_that_runs_and_those_to_come() -> None:
    """It is 03:10:19."""
    statuses = [(20, "up"), (80, "down"), (140, "maintenance"), (200, "7")]
    beats = [{"at": iso(-59.204 - ago), "status": status, "ms": 12} for ago, status in statuses]
    next_ = {"next": [iso(40.796), iso(100.796)]}
    (_, drawing) = named(body(heartbeats=beats, schedule=next_, task={"active_since": iso(-9)}), "svg")
    assert drawing[1]["aria-label"].split(", ") == [
        *("03:06:00 7", "12 ms", "03:07:00 maintenance", "12 ms", "03:08:00 down", "12 ms", "03:09:00 up", "12 ms"),
        *("03:10:00 tick without a stored result", "03:10:10 running", "03:11:00 to come", "03:12:00 to come"),
    ]
    kinds = [element[0].removeprefix("circle.") for element in drawing[2:] if element[0].startswith("circle.")]
    assert kinds == ["other", "other", "down", "up", "none", "other", "next", "next"]


@pytest.mark.parametrize(
    ("found", "place"),
    [
        ({"now": False, "next": {"from": iso(60), "to": iso(120)}}, {"x": "78.2%", "width": "4.7%"}),
        ({"now": False, "next": {"from": iso(60), "to": None}}, {"x": "78.2%", "width": "18.8%"}),
        ({"now": True, "next": {"from": None, "to": iso(60)}}, {"x": "3.0%", "width": "75.2%"}),
        ({"now": True, "next": None}, {"x": "3.0%", "width": "94.0%"}),
        ({"now": False, "next": None}, None),
        (None, None),
    ],
)
def test_maintenance_is_drawn(found: dict[str, Any] | None, place: dict[str, str] | None) -> None:
    drawn = [attributes(rect) for rect in named(body(maintenance=found), "rect.period")]
    assert [{"x": rect["x"], "width": rect["width"]} for rect in drawn] == ([place] if place else [])


def test_no_hidden_character_of_a_monitor_is_shown() -> None:
    """Within the nodes, only a link contains the id as it is, for its address."""
    texts = {field: f"{field}\u202e" for field in ("id", "name", "sentence", "remedy")}
    view = monitor_view(explanation(NOW_MS) | texts)
    assert (view.name, view.sentence) == ("name\\u202e", "sentence\\u202e")
    assert "\u202e" not in msgspec.json.encode(view).decode()
    assert f"explain {visible(texts['id'])}" in text_of(view.body[-1])


def test_without_a_row_or_an_interval_there_are_no_ticks() -> None:
    for row in (None, {"interval_s": 0}, {"interval_s": -5}):
        assert named(body(row=row), "svg")[1:] == [], "the verdict has one, too"


def test_anomalies_and_events_are_user_input() -> None:
    event = {"at": iso(-9), "kind": "task.lost\x1b", "message": "<b>\u202e", "replica": "vm\n"}
    shown = body(anomalies=[{"kind": "k\u202e", "reason": "<i>"}, {}], events=[event])
    assert text_of(card(shown, "Anomalies")) == "Anomaliesas replicas reportk\\u202e <i>? "
    assert text_of(card(shown, "Events")) == "Events03:10:10 task.lost\\u001b <b>\\u202e  vm\\u000a "
    assert named(body(), "section.card")[-1][1][1] == ["h2", "Events"], "no anomalies, no card"


def test_several_monitors_match() -> None:
    monitors = [
        {"id": "m1", "name": HOSTILE_NAME, "interval_s": 60},
        {"id": "m2", "name": "", "interval_s": 0},
        {"id": "m3\u202e", "name": None, "interval_s": None},
    ]
    document = {"version": 1, "verdict": None, "candidates": monitors, "errors": {"redis": None, "database": "away"}}
    view = monitor_view(document)
    assert view == MonitorView(sentence="Several monitors match.", body=view.body)
    items = [text_of(item) for item in named(["", *view.body], "li")]
    assert items[0].endswith("nnnm1, every 60 s")
    assert items[0].startswith("<img src=x onerror=\"document.title='hacked'\"> \\u202egnp.exe\\u2066 ")
    assert items[1:] == ["m2m2, does not run", "m3\\u202e"]
    assert text_of(view.body[0]).endswith("Only ids of the schedule were searched: away")


@pytest.mark.parametrize(
    ("silent", "listed", "more"), [(0, 0, None), (1, 1, None), (10, 10, None), (12, 12, 2), (1234, 100, 1224)]
)
def test_silent_monitors(silent: int, listed: int, more: int | None) -> None:
    now = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    beat = RecentHeartbeat(datetime(2026, 11, 24, 3, 9, tzinfo=UTC), 1, 12)
    monitors = [SilentMonitor(Plan(f"m{n}", 60), "", None if n else beat) for n in range(listed)]
    body = silent_view(SilentMonitors(now, 84_212, silent, tuple(monitors))).body
    assert text_of(body[0]) == f"No heartbeat in the last 3 intervals: {silent:,} of 84,212 active monitors."
    items = [text_of(item) for item in named(["", *body], "li")]
    assert len(items) == min(10, listed)
    assert items[:2] == ["m0every 60 s, latest 2026-11-24 03:09:00", "m1every 60 s, no heartbeat"][:listed]
    hints = [text_of(found) for found in named(["", *body], "p.hint")]
    assert hints == ([f"and {more:,} more: peekaping-producer explain --silent"] if more else [])
    assert text_of(body[-1]) == "Read at 03:10:19"


@pytest.mark.parametrize("at_ms", [0, 1, 999, NOW_MS, NOW_MS + 1, 253_402_300_799_999, -1])
def test_times_of_documents_are_read_as_they_were_written(at_ms: int) -> None:
    assert parsed_ms(Moments(NOW_MS).iso(at_ms)) == at_ms


def test_results_that_cannot_be_read_are_not_shown_as_none() -> None:
    facts = facts_of_a_real_monitor()
    assert facts.row
    unread = monitor_document(structs.replace(facts, row=structs.replace(facts.row, heartbeats=None)))
    away = monitor_document(structs.replace(facts, row=None, database_error="no answer"))
    assert (unread["heartbeats"], away["heartbeats"]) == (None, None)
    sentence = "The results of its checks cannot be read."
    assert sentence in text_of(card(["", *monitor_view(unread).body], "Ticks"))
    assert sentence not in text_of(["", *monitor_view(monitor_document(facts)).body])
    assert monitor_view(away).body, "without a row"


def test_a_name_of_many_characters_is_cut() -> None:
    view = monitor_view(explanation(NOW_MS) | {"name": "x" * 10_000_000})
    assert view.name == "x" * 150 + "…"
    assert len(msgspec.json.encode(view)) < 20_000
