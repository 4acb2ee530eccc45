"""The parts of `explain` that need no server: times, periods of maintenance, what workers report, and the text."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from msgspec.json import encode as encode_json

from peekaping_producer.brokers.monitor_state import MonitorState, TaskKind, TaskState
from peekaping_producer.monitors.maintenance import MaintenanceWindow, under_maintenance
from peekaping_producer.monitors.monitor import Monitor, MonitorDetails, Plan, Proxy, RecentHeartbeat
from peekaping_producer.operations.explain import maintenance as maintenance_module
from peekaping_producer.operations.explain.active_since import active_since_ms
from peekaping_producer.operations.explain.codes import LEVELS, Level, MonitorVerdict
from peekaping_producer.operations.explain.facts import Facts, Row, status_of
from peekaping_producer.operations.explain.maintenance import Maintenance, is_under_maintenance, next_maintenance
from peekaping_producer.operations.explain.text import lines_of
from peekaping_producer.operations.explain.verdict import verdict_of
from peekaping_producer.operations.moments import Moments
from peekaping_producer.operations.status import Status
from peekaping_producer.schedule import Stats, number_of
from peekaping_producer.transports.asynq import task_message, worker_info
from peekaping_producer.transports.asynq.protobuf import bytes_field, int_field, text_field
from peekaping_producer.transports.asynq.task_message import TaskMessage


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOW_MS = ms("2026-11-26T03:10:19")


def single(start: str, end: str, **columns: str) -> MaintenanceWindow:
    return MaintenanceWindow("w", True, "single", start_date_time=start, end_date_time=end, **columns)


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([], Maintenance(False, None, None)),
        ([MaintenanceWindow("w", True, "manual")], Maintenance(True, None, None)),
        ([MaintenanceWindow("w", False, "manual")], Maintenance(False, None, None)),
        (
            [single("2026-11-26T03:14", "2026-11-26T03:16")],
            Maintenance(False, ms("2026-11-26T03:14"), ms("2026-11-26T03:16")),
        ),
        (
            [single("2026-11-26T04:14", "2026-11-26T04:16", timezone="Europe/Oslo")],
            Maintenance(False, ms("2026-11-26T03:14"), ms("2026-11-26T03:16")),
        ),
        (
            [single("2026-11-26T04:14", "2026-11-26T04:16", timezone="SAME_AS_SERVER")],
            Maintenance(False, ms("2026-11-26T03:14"), ms("2026-11-26T03:16")),
        ),
        ([single("2026-11-25T03:14", "2026-11-26T03:16")], Maintenance(True, None, ms("2026-11-26T03:16"))),
        ([single("2026-11-29T03:14", "2026-11-29T03:16")], Maintenance(False, None, None)),
        (
            [single("2026-11-26T05:00", "2026-11-26T06:00"), single("2026-11-26T06:00", "2026-11-26T07:00")],
            Maintenance(False, ms("2026-11-26T05:00"), ms("2026-11-26T07:00")),
        ),
        ([single("no date", "no date")], Maintenance(False, None, None)),
    ],
)
def test_the_next_period_of_maintenance(windows: list[MaintenanceWindow], expected: Maintenance) -> None:
    assert next_maintenance(windows, NOW_MS, "Europe/Oslo") == expected


def test_the_next_period_agrees_with_the_function_that_builds_tasks() -> None:
    window = MaintenanceWindow(
        "w",
        True,
        "cron",
        start_date_time="2026-01-01T00:00",
        end_date_time="2027-01-01T00:00",
        cron="30 2 * * 5",
        timezone="America/New_York",
        duration=45,
    )
    found = next_maintenance([window], NOW_MS, "UTC")
    assert found.begins_ms is not None
    assert found.ends_ms is not None
    for at_ms, expected in ((found.begins_ms, True), (found.ends_ms, False)):
        assert under_maintenance([window], at_ms + 1, "UTC", lambda *_: None) is expected
        assert under_maintenance([window], at_ms - 1000, "UTC", lambda *_: None) is not expected
    assert found.ends_ms - found.begins_ms == 45 * 60_000


def test_times_are_absolute_and_relative() -> None:
    moments = Moments(NOW_MS)
    assert moments.at(NOW_MS + 41_000) == "03:11:00 (in 41.0 s)"
    assert moments.at(NOW_MS - 500) == "03:10:18 (500 ms ago)"
    assert moments.clock(NOW_MS - 86_400_000) == "2026-11-25 03:10:19"
    assert Moments(NOW_MS, ZoneInfo("Asia/Kathmandu")).clock(NOW_MS) == "08:55:19"
    assert moments.iso(NOW_MS + 4) == "2026-11-26T03:10:19.004Z"
    assert (moments.iso(None), moments.iso(2.0**53)) == (None, None)
    for absurd in (2.0**53, -(2.0**53), float("inf")):
        assert moments.clock(absurd) == "a time out of range"


def test_scores_are_numbers_within_bounds() -> None:
    texts = (b"1.5", b"inf", b"-inf", b"nan", b"", b"x", "7")
    assert [number_of(text) for text in texts] == [1.5, 2.0**53, -(2.0**53), None, None, None, 7.0]


def info(seconds: int, nanoseconds: int = 0) -> bytes:
    stamp = int_field(1, seconds) + int_field(2, nanoseconds)
    return (
        text_field(1, "host")
        + int_field(2, 7)
        + text_field(4, "id")
        + bytes_field(6, b"secret")
        + bytes_field(8, stamp)
    )


def test_when_a_worker_began_a_task() -> None:
    assert worker_info.started_ms(info(1_795_662_619, 204_000_000)) == 1_795_662_619_204
    for malformed in (b"", b"\xff", info(0), info(2**50), int_field(8, 3), bytes_field(8, b"\xff")):
        assert worker_info.started_ms(malformed) is None


def active(message: bytes = b"", worker: bytes = b"", state: str = "active") -> TaskState:
    return TaskState(TaskKind.RUNNING, state, None, None, None, 0, None, message, "h:1:x" if worker else "", worker)


def message(payload: bytes) -> bytes:
    return task_message.encode(TaskMessage(type="t", payload=payload, id="i", queue="q"))


def test_since_when_a_task_is_active() -> None:
    built = message(b'{"scheduled_at": "2026-11-26T03:10:19.204Z", "config": "x"}')
    assert active_since_ms(active(built)) is None, "a task may have waited for long after it was built"
    assert active_since_ms(active(built, info(1_795_662_000))) == 1_795_662_000_000
    assert active_since_ms(active(built, state="pending")) is None
    assert active_since_ms(None) is None
    assert active_since_ms(active(b"\xff\xff")) is None


def facts_of(**changes: object) -> Facts:
    monitor = Monitor("m1", "name", "http", 60, 30, 0, 20, 0, True, "{}")
    details = MonitorDetails(monitor, Proxy("p1", "socks5", "h", 1, False), dangling_proxy_id=None)
    beat = RecentHeartbeat(datetime(2026, 11, 26, 3, 9, tzinfo=UTC), 7, 12)
    row = Row(Plan("m1", 60), "name", details, heartbeats=(beat,))
    state = MonitorState(NOW_MS, NOW_MS + 41_000, None, None, False, False, NOW_MS + 41_000, None)
    stats = Stats(NOW_MS, 1, 0, 0, 0, None, None, 0, "n/t", 9000)
    fields: dict[str, object] = {"row": row, "state": state, "fleet": Status(stats, None)}
    return Facts("m1", NOW_MS, **{**fields, **changes})


def test_a_check_that_runs_for_longer_than_its_interval() -> None:
    facts = facts_of()
    assert facts.state
    state = msgspec.structs.replace(facts.state, task=active(worker=info(1_795_662_000)))
    found = verdict_of(facts_of(state=state, active_since_ms=NOW_MS - 100_000), Moments(NOW_MS))
    assert found.code == "task.overlap"
    assert found.sentence.endswith("(100.0 s ago), longer than its interval of 60.0 s.")
    found = verdict_of(facts_of(state=state), Moments(NOW_MS))
    assert (found.code, found.sentence) == ("task.running", "A worker runs its check.")


@pytest.mark.parametrize("level", list(Level))
def test_color_is_never_alone(level: Level) -> None:
    code = next(code for code, found in LEVELS.items() if found is level)
    plain = lines_of(facts_of(), MonitorVerdict(code, "A sentence."), Moments(NOW_MS), "UTC")
    colored = lines_of(facts_of(), MonitorVerdict(code, "A sentence."), Moments(NOW_MS), "UTC", color=True)
    assert plain[2] == f"{level.value:<4}  A sentence."
    assert all(line.isascii() and line.isprintable() for line in plain)
    assert level.value in colored[2]
    assert colored[2].startswith("\x1b[")
    assert colored[3:] == plain[3:]


def test_the_text_without_asynq_does_not_mention_a_task() -> None:
    lines = lines_of(facts_of(), MonitorVerdict("ok", "Yes."), Moments(NOW_MS), "UTC")
    assert not [line for line in lines if line.startswith("task")]
    assert "             proxy p1 (socks5) exists" in lines
    assert "heartbeats   03:09:00 7 12 ms" in lines


@pytest.mark.parametrize(("retries", "text"), [(1, "1 retry"), (2, "2 retries")])
def test_numbers_of_retries_agree(retries: int, text: str) -> None:
    monitor = Monitor("m1", "name", "http", 60, 30, retries, 20, 0, True, "{}")
    row = Row(Plan("m1", 60), "name", MonitorDetails(monitor, None))
    lines = lines_of(facts_of(row=row), MonitorVerdict("ok", "Yes."), Moments(NOW_MS), "UTC")
    assert f"database     active, every 60 s, timeout 30 s, http, {text}, each after 20 s" in lines


def test_the_status_of_a_heartbeat_is_a_word() -> None:
    at = datetime(2026, 11, 26, tzinfo=UTC)
    assert [status_of(RecentHeartbeat(at, number, 0)) for number in range(5)] == [
        "down",
        "up",
        "pending",
        "maintenance",
        "4",
    ]


@pytest.mark.parametrize(
    ("due_in_s", "spread", "ticks"),
    [
        (41, False, ["03:11:00", "03:12:00"]),
        (56, True, ["03:11:15", "03:12:15"]),
        (41, True, ["03:11:00", "03:11:15"]),  # ticks are spread since its last hand-off
        (56, False, ["03:11:15", "03:12:00"]),
        (7, True, ["03:11:15", "03:12:15"]),  # a due time that fits no tick
        (-5, True, ["03:11:15", "03:12:15"]),
        (None, False, ["03:11:00", "03:12:00"]),
    ],
)
def test_the_next_ticks_begin_with_the_due_time_and_follow_the_switch(
    due_in_s: int | None, spread: bool, ticks: list[str]
) -> None:
    """The phase of m1 is 15 of 60 s."""
    due_ms = None if due_in_s is None else NOW_MS + due_in_s * 1000.0
    state = MonitorState(NOW_MS, due_ms, None, None, False, False, None, None, spread=spread)
    assert [Moments(NOW_MS).clock(tick) for tick in facts_of(state=state).next_ticks()[:2]] == ticks


@pytest.mark.parametrize(
    ("until", "on_all", "due", "ticks"),
    [
        ("03:12:30", False, "03:13:00", ["03:13:00", "03:14:00"]),
        ("03:12:00", False, "03:12:00", ["03:12:00", "03:13:00"]),  # the tick at the end is not held
        ("03:10:40", False, "03:11:00", ["03:11:00", "03:12:00"]),
        ("03:10:00", False, "03:11:00", ["03:11:00", "03:12:00"]),  # it has ended
        ("03:12:30", True, "03:11:00", ["03:13:00", "03:14:00"]),
        ("03:12:00", True, None, ["03:12:00", "03:13:00"]),
    ],
)
def test_the_next_ticks_of_a_held_monitor_follow_the_hold(
    until: str, on_all: bool, due: str | None, ticks: list[str]
) -> None:
    hold = encode_json({"until_ms": ms(f"2026-11-26T{until}"), "who": "anna", "why": "disk"})
    due_ms = None if due is None else float(ms(f"2026-11-26T{due}"))
    state = MonitorState(NOW_MS, due_ms, None, None, False, False, None, None, hold=b"" if on_all else hold)
    stats = Stats(NOW_MS, 1, 0, 0, 0, None, None, 0, "n/t", 9000, hold=hold if on_all else None)
    facts = facts_of(state=state, fleet=Status(stats, None))
    assert [Moments(NOW_MS).clock(tick) for tick in facts.next_ticks()[:2]] == ticks


def test_the_next_period_is_found_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    maintenance_module._next_period.cache_clear()
    evaluated: list[int] = []

    def evaluate(windows: list[MaintenanceWindow], at_ms: int, zone: str) -> bool:
        evaluated.append(at_ms)
        return is_under_maintenance(windows, at_ms, zone)

    monkeypatch.setattr(maintenance_module, "is_under_maintenance", evaluate)
    windows = [single("2026-11-27T07:00", "2026-11-27T07:30", timezone="Asia/Tokyo")]
    first = next_maintenance(windows, NOW_MS, "UTC")
    at_first = len(evaluated)
    assert next_maintenance(list(windows), NOW_MS + 5000, "UTC") == first
    assert len(evaluated) == at_first + 1
    assert next_maintenance(windows, NOW_MS + 60_000, "UTC") == first
    assert len(evaluated) > at_first + 2, "in the next minute it is found again"
