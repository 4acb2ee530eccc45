"""The screen of `top`: what it shows of a fleet, for any size of terminal, and what the keys change."""

from typing import Any

import pytest
from msgspec.structs import replace

from peekaping_producer.brokers import Queue
from peekaping_producer.operations.fleet_events import FleetEvent, encode_event
from peekaping_producer.operations.heartbeat import (
    SLOTS,
    FailingDependency,
    Heartbeat,
    Lateness,
    Rings,
    Stages,
    StageTime,
)
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.replica_report import ReplicaReport, encode_report
from peekaping_producer.operations.top.keys import Controls
from peekaping_producer.operations.top.screen import line_of, screen
from peekaping_producer.operations.top.styled import Style, as_text, columns, cut, flowed
from peekaping_producer.operations.top.view import View
from peekaping_producer.schedule import Details, Stats, StoredEvent, StoredReport
from peekaping_producer.transports.asynq.server_info import ServerInfo

NOW_MS = 1_795_351_066_550
"""12:37:46.550 UTC."""
HOSTILE = "\x1b[2J\u202e<img src=x>\r\n\x9b31m"
WORKER = ServerInfo("worker", 7, 1024, ("healthcheck",), "active", 211)


def heartbeat(**changes: Any) -> Heartbeat:
    seconds = (*[0] * 50, *[200] * 9, 7)
    beat = Heartbeat(
        host="vm-a",
        version="0.2.0",
        started_ms=NOW_MS - 7_200_000,
        rings=Rings(NOW_MS // 1000, seconds, (*[0] * 58, 1, 0), seconds, (0,) * SLOTS),
        lateness=Lateness(0.05, 0.5, 1.0, 0.5),
        stages=Stages(StageTime(2.0, 2.0), StageTime(12.4, 12.0), StageTime(4.0, 4.0), StageTime(7.0, 7.0)),
        round_trip_ms=0.4,
        database_ms=2.1,
        finished_per_s=100.0,
        mean_check_s=2.5,
    )
    return replace(beat, **changes)


def view(*, width_s: int = 1, failure: str | None = None, replicas: dict[str, Heartbeat] | None = None) -> View:
    beats = {"vm-a-7-0c9b": heartbeat()} if replicas is None else replicas
    reports = tuple(
        StoredReport(node, NOW_MS - 400, encode_report(ReplicaReport(leads=True, lease_ttl_s=10.0, heartbeat=beat)))
        for node, beat in beats.items()
    )
    stats = Stats(NOW_MS, 84_000, 212, 0, 0, None, None, 0, "vm-a-7-0c9b/1f", 9000, reports=reports, clock_skew_s=0.0)
    queue = Queue({"pending": 3, "active": 211}, 2.0, False, 1, now_ms=NOW_MS, workers=(WORKER,))
    events = tuple(
        StoredEvent(f"{n}-0", encode_event(FleetEvent(NOW_MS - ago_ms, kind, message, "vm-a-7-0c9b", monitor_id)))
        for n, (ago_ms, kind, message, monitor_id) in enumerate(
            ((90_000, "leader.won", "vm-a-7-0c9b leads.", None), (5_000, "monitor.refused", HOSTILE, "3f0d5a9e"))
        )
    )
    due = (5, *[0] * 12, 14_090, *[20] * 47)
    look = Look(stats, queue, redis_failure=failure, redis_failing_since_ms=NOW_MS if failure else None)
    return View(look, Details(NOW_MS, due_counts=due, events=events), width_s)


def shown(seen: View, width: int = 140, height: int = 40, *, controls: Controls | None = None) -> list[str]:
    lines = screen(seen, controls or Controls(), width, height, unicode=True)
    return [as_text(line, width, color=False) for line in lines]


def test_the_fleet_on_a_wide_screen() -> None:
    lines = shown(view())
    assert lines[0].startswith("peekaping-producer  ")
    assert lines[0].endswith("12:37:46 UTC   vm-a leads")
    assert lines[1] == "Every check is on time."
    text = "\n".join(lines)
    assert "handed off each s" in text
    assert "due each s, most: 14,090 at 12:37:59, in 12.4 s" in text
    assert "-60 s" in text
    assert "+60 s" in text
    assert "scheduled 84,212   overdue 0   late p99 500 ms   handed off 200/s   pending 3, first for 2.0 s" in text
    assert "211 of 1,024 slots busy, about 50 needed" in text
    assert "1 event in the last minute" in text
    assert "14,090 monitors are due in one second" in text
    title = next(line for line in lines if line.startswith("REPLICA"))
    row = lines[lines.index(title) + 1]
    assert row.startswith("vm-a *  ")
    cells = "vm-a *  200  500 ms  400 ms  2  12  4  7  2.1 ms  0.4 ms  2 h  0.2.0  vm-a-7-0c9b"
    assert row.split() == cells.split()
    assert lines[-3].startswith("12:37:41  monitor.refused       3f0d5a9e: ")
    assert lines[-2] == "12:36:16  leader.won            vm-a-7-0c9b leads."
    assert lines[-1] == "q quit   p freeze   1/0 span of 1 or 10 min   / explain a monitor"


def test_bars_are_highest_for_the_fullest_slot_and_late_hand_offs_are_red() -> None:
    lines = screen(view(), Controls(), 140, 40, unicode=True)
    bars = next(line for line in lines if any("│" in text for text, _ in line))
    text = "".join(text for text, _ in bars)
    assert len(text) == 2 * SLOTS + 1
    assert text[SLOTS] == "│"
    assert text[SLOTS + 13] == "█"
    assert text[SLOTS - 1] == "▁"
    assert [part for part in bars if part[1] is Style.BAD] == [("▁", Style.BAD)]
    plain = screen(view(), Controls(), 140, 40, unicode=False)
    assert all(text.isascii() for line in plain for text, _ in line if HOSTILE[1:4] not in text)


@pytest.mark.parametrize("width", [1, 10, 20, 40, 79, 80, 132, 300])
@pytest.mark.parametrize("height", [1, 3, 12, 24, 60])
@pytest.mark.parametrize("failure", [None, HOSTILE * 20])
def test_every_size_of_terminal(width: int, height: int, failure: str | None) -> None:
    wide = {f"hôte-{n}-漢字": heartbeat(host=HOSTILE if n else "漢字" * 20, version=HOSTILE) for n in range(3)}
    failing = (FailingDependency("database", ("worker",), NOW_MS, HOSTILE),)
    wide["vm-c"] = heartbeat(failing=failing)
    lines = shown(view(failure=failure, replicas=wide), width, height)
    assert len(lines) <= height
    assert all(line.isprintable() for line in lines)
    assert max(map(columns, lines)) <= width


def test_the_most_important_columns_remain_in_a_narrow_terminal() -> None:
    title = next(line for line in shown(view(), 40) if line.startswith("REPLICA"))
    assert title.split("  ")[0] == "REPLICA"
    assert "LATE p99" in title
    assert "VERSION" not in title


def test_redis_is_away() -> None:
    lines = shown(view(failure="Connection refused."))
    assert lines[1] == "Redis has not answered since 12:37:46: the state of the other replicas is unknown."
    assert lines[2] == "Connection refused."
    assert "As of 12:37:46:" in lines
    never = View(Look(None, redis_failure="Connection refused."), Details(0), 1)
    assert shown(never)[1].startswith("Redis has not answered")


def test_a_replica_with_a_problem() -> None:
    failing = (FailingDependency("database", ("worker",), NOW_MS, "no answer"),)
    lines = screen(view(replicas={"vm-a": heartbeat(failing=failing)}), Controls(), 120, 40, unicode=True)
    assert [("  database fails: no answer", Style.WARN)] in lines
    text = "\n".join(shown(view(replicas={})))
    assert "no replica has reported within the last minute" in text


def test_ten_minutes() -> None:
    text = "\n".join(shown(view(width_s=10)))
    assert "handed off each 10 s" in text
    assert "-10 min" in text
    assert "due each 10 s, most: 14,090 from 12:39:50, in 2.1 min" in text
    assert "SPREAD_TICKS" not in text


def test_colors_only_where_they_are_wanted() -> None:
    line = [("late", Style.BAD), (" and ", Style.PLAIN), ("well", Style.GOOD)]
    assert as_text(line, 80, color=True) == "\033[31mlate\033[0m and \033[32mwell\033[0m"
    assert as_text(line, 11, color=True) == "\033[31mlate\033[0m and \033[32mwe\033[0m"
    assert as_text(line, 80, color=False) == "late and well"


def test_columns_of_wide_and_combining_characters() -> None:
    assert [columns(text) for text in ("abc", "漢字", "e\u0301")] == [3, 4, 1]
    assert [cut("漢字", width) for width in range(5)] == ["", "", "漢", "漢", "漢字"]
    assert len(flowed([("a" * 30, Style.PLAIN)] * 3, 70)) == 2


def pressed(*keys: str) -> Controls:
    controls = Controls()
    for key in "".join(keys):
        controls.press(key)
    return controls


def test_keys() -> None:
    assert pressed("q").has_quit
    assert not pressed("x?\x1b").has_quit
    assert (pressed("0").width_s, pressed("01").width_s) == (10, 1)
    assert pressed("p").is_frozen
    assert not pressed("pp").is_frozen
    assert pressed("p").prompt_line == "frozen; p continues"
    assert shown(view(), controls=pressed("p"))[-1] == "frozen; p continues"


def test_a_monitor_to_explain_is_typed() -> None:
    typing = pressed("/edge q1\x7f0")
    assert (typing.asked, typing.has_quit, typing.width_s) == ("", False, 1)
    assert typing.prompt_line == "Monitor (id, or part of its name; Esc cancels): edge q0_"
    assert pressed("/edge q1\x7f0\r").asked == "edge q0"
    canceled = pressed("/edge\x1b")
    assert (canceled.asked, canceled.prompt_line) == ("", "")
    assert len(pressed("/" + "x" * 1000).prompt_line) < 300
    controls = pressed("/x\r")
    controls.text = ["It is on time.", HOSTILE]
    lines = shown(view(), controls=controls)
    assert "It is on time." in lines
    assert all(line.isprintable() for line in lines)
    assert lines[-1] == "any key: back"
    controls.press("q")
    assert not controls.has_quit
    assert "q quit" in shown(view(), controls=controls)[-1]


def test_one_line_for_an_output_that_is_no_terminal() -> None:
    assert line_of(view()) == (
        "12:37:46  Every check is on time; 84,212 scheduled, 0 overdue; 200 handed off a second; late p99 500 ms; "
        "3 pending; 1 replica, vm-a leads"
    )
    assert line_of(view(failure="x")) == (
        "12:37:46  Redis has not answered since 12:37:46: the state of the other replicas is unknown"
    )


def test_monitors_in_claims_are_overdue_too() -> None:
    seen = view()
    assert seen.look.stats is not None
    stats = replace(seen.look.stats, leased=66, late=66, oldest_due_ms=NOW_MS - 683_000.0)
    late = View(Look(stats, None), seen.details, 1)
    assert "66 overdue" in line_of(late)
    assert "overdue 66" in "\n".join(shown(late))
