"""The page of the fleet as nodes: what is visible in each state."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from peekaping_producer.operations.heartbeat import SLOTS, Stages, StageTime
from peekaping_producer.schedule import StoredReport
from peekaping_producer.ui.building import build_frame
from peekaping_producer.ui.fitting import MAX_BYTES, fit
from peekaping_producer.ui.frame import Failure, Frame, FrameHold, Leader, OverdueMonitor, Quiet, Series, encode_json
from peekaping_producer.ui.rendering.around import Chart
from peekaping_producer.ui.rendering.nodes import spark
from peekaping_producer.ui.rendering.stream import render
from tests.browser.made_up import bare, calm, locked, night
from tests.kit.nodes import named, rows_of, text_of
from tests.kit.ui import hostile, look_of, report, seen_of

NOW_MS = 1_795_662_619_204
"""03:10:19 on 2026-11-26."""
CALM = calm(NOW_MS)
NIGHT = night(NOW_MS)
FAILURE = Failure(NOW_MS - 5000, "no answer <b>")
TASKS = CALM.queue
assert TASKS


def body(frame: Frame) -> list[Any]:
    return ["", *render(frame).body]


def text(frame: Frame, title: str = "") -> str:
    """What is visible; with a title, only in the card of this title."""
    cards = [found for found in named(body(frame), "section.card") if found[1][1] == ["h2", title]]
    return " ".join(" ".join(text_of(node) for node in cards or [body(frame)]).split())


def with_replica(**changes: Any) -> Frame:
    return replace(CALM, replicas=[replace(CALM.replicas[1], **changes)])


@pytest.mark.parametrize(
    ("frame", "title", "shown"),
    [
        (CALM, "", "OKEvery check is on time.84,212 monitors scheduled;"),
        (NIGHT, "", "Problemsince 03:05:47 (4.5 min ago)Late since 03:05:47, because the database is slow."),
        (replace(CALM, verdict=replace(CALM.verdict, ends_ms=NOW_MS + 60_000)), "", "OKuntil 03:11:19 (in 60.0 s)"),
        (
            replace(CALM, redis_failure=FAILURE, read_ms=NOW_MS - 9000),
            "",
            "All figures are from 03:10:10, because Redis does not answer, since 03:10:14: no answer <b>",
        ),
        (
            replace(CALM, redis_failure=FAILURE, read_ms=None),
            "",
            "No figure is known yet, because Redis does not answer, since 03:10:14: no answer <b>",
        ),
        (
            replace(CALM, details_failure=Failure(None, "x")),
            "",
            "Due times, overdue monitors and events are old, because Redis does not answer: x",
        ),
        (
            replace(CALM, database_failure=FAILURE),
            "",
            "Names are missing, because the database does not answer, since 03:10:14",
        ),
        (CALM, "Around now", "Around now14,090 monitors become due in the same second."),
        (NIGHT, "Longest overdue", "Longest overduethe first 5 of 31,870"),
        (NIGHT, "Longest overdue", "payments · 3-D Secure every 60 s 03:05:47 4.5 min vm-b"),
        (NIGHT, "Longest overdue", r"\u202egnp.exe\u2066"),
        (NIGHT, "Longest overdue", "4f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04 03:07:07 3.2 min not claimed"),
        (locked(NOW_MS), "Longest overdue", "m0 03:10:03 in a claim for 16.0 s vm-a"),
        (bare(NOW_MS), "Longest overdue", "1f0d5a9e 03:10:19 in a claim for 0.0 ms not reported yet"),
        (
            replace(locked(NOW_MS), longest_overdue=[]),
            "Longest overdue",
            "66 monitors are in claims and not handed off.",
        ),
        (
            replace(locked(NOW_MS), longest_overdue=[], leased=1),
            "Longest overdue",
            "1 monitor is in a claim and not handed off.",
        ),
        (CALM, "Replicas", "vm-b leads0.1.0, up 2 d 428/s 480 ms 25 ms 2.1 ms 0.4 ms 400 ms vm-a 0.1.0, up 2 d 406/s"),
        (NIGHT, "Replicas", "vm-c silent0.1.0, up 2 d 20/s 4.5 min 9.4 s 2.1 ms 0.4 ms 12.4 s"),
        (NIGHT, "Replicas", "18/s 4.4 min 9.4 s no answer 0.4 ms"),
        (NIGHT, "Replicas", "vm-b: database fails since 03:10:11: no answer within 10 s"),
        (replace(CALM, replicas_omitted=4), "Replicas", "Replicasand 4 more"),
        (bare(NOW_MS), "Replicas", "vm-a-1-7c0e9b12 – – no answer – 0.0 ms"),
        (with_replica(handed_off_1s=[1]), "Replicas", "up 2 d 480 ms"),
        (CALM, "What changed", "03:08:02 lease.reclaimed 38 monitors of a silent replica are due again. vm-b"),
        (CALM, "What changed", "leader.elected vm-b leads."),
        (replace(CALM, events_failure="Redis refuses it."), "What changed", "the latest eventsRedis refuses it."),
        (CALM, "Queue and workers", "read 1.3 s ago"),
        (CALM, "Queue and workers", "worker-7d9f-2kq:1 118 of 512 5 d"),
        (replace(CALM, queue=None), "Queue and workers", "Queue and workersnot known"),
        (replace(CALM, queue=replace(TASKS, slots=219)), "Queue and workers", "1 more slot needed."),
        (replace(CALM, queue=replace(TASKS, paused=True)), "Queue and workers", "The queue is paused."),
        (replace(CALM, queue=replace(TASKS, results_workers=0)), "Queue and workers", "No worker stores results."),
        (
            replace(CALM, queue=replace(TASKS, workers=[])),
            "Queue and workers",
            "No worker is registered for the queue.",
        ),
        (replace(CALM, queue=replace(TASKS, workers_omitted=2)), "Queue and workers", "and 2 more"),
    ],
)
def test_what_is_visible(frame: Frame, title: str, shown: str) -> None:
    assert shown in text(frame, title)


@pytest.mark.parametrize(
    ("frame", "name", "value"),
    [
        (CALM, "Leader", "vm-bvm-b-1-6f1c22d0"),
        (replace(CALM, leader=Leader("vm-b", "vm-b", None)), "Leader", "vm-b"),
        (replace(CALM, leader=None), "Leader", "noneno replica leads"),
        (CALM, "Replicas", "3 of 3all report"),
        (NIGHT, "Replicas", "2 of 31 silent"),
        (bare(NOW_MS), "Replicas", "0 of 0none reports"),
        (NIGHT, "In the schedule", "84,2121,500 claimed"),
        (CALM, "Overdue", "0none"),
        (NIGHT, "Overdue", "31,87037.8 %, longest 4.5 min"),
        (NIGHT, "Late, p99", "4.4 minin the last minute"),
        (bare(NOW_MS), "Late, p99", "–in the last minute"),
        (CALM, "Waiting for a worker", "0211 of 1,024 slots busy"),
        (replace(CALM, queue=None), "Waiting for a worker", "?not known"),
        (replace(CALM, queue=replace(TASKS, slots=0)), "Waiting for a worker", "0no worker is registered"),
        (CALM, "oldest waits", "none"),
        (replace(CALM, queue=replace(TASKS, oldest_s=75.0)), "oldest waits", "75.0 s"),
        (CALM, "finished", "482.0/s"),
        (replace(CALM, queue=replace(TASKS, finished_per_s=None)), "finished", "–/s"),
        (CALM, "archived", "3failed; not run again"),
        (CALM, "Set aside after a failed attempt", "3"),
        (CALM, "proxy_missing", "1"),
    ],
)
def test_figures(frame: Frame, name: str, value: str) -> None:
    assert rows_of(body(frame))[name] == value


def marked(frame: Frame) -> dict[str, str]:
    """The classes of figures, by name."""
    rows = [row for part in named(body(frame), "Pairs") for row in part[2]]
    return {name: css for name, _, *more in rows for css in more}


def test_what_is_wrong_is_marked() -> None:
    assert marked(replace(CALM, quiet=Quiet(0, 0, {}))) == {}
    assert marked(CALM) == dict.fromkeys(["Set aside after a failed attempt", "proxy_missing"], "warn")
    assert {name for name, css in marked(NIGHT).items() if css == "bad"} == {"Replicas", "Overdue", "Late, p99"}
    alone = replace(CALM, leader=None, queue=replace(TASKS, results_workers=0))
    assert {name for name, css in marked(alone).items() if css == "bad"} == {"Leader", "results waiting"}


def test_where_the_time_of_a_batch_goes() -> None:
    stages = Stages(StageTime(2.13, 2.0), StageTime(9412.0, None), StageTime(None, 4.5), StageTime(7.2, 6.9))
    (batch, *_) = named(body(with_replica(stages=stages, slow_stages=["read"])), "Stack")
    parts = [("claim", 2.1), ("slow", 9412.0), ("hand_off", 7.2)]
    words = "claim 2.1 ms, usually 2.0 ms; read 9.4 s; hand off 7.2 ms, usually 6.9 ms"
    assert batch == ["Stack", parts, 9421.3, words]


def test_a_small_line_is_as_high_as_its_counts() -> None:
    assert spark([0, 2, 70, 36]) == ["Spark", "01zi", 70]
    assert spark([0, 1]) == ["Spark", "07", 1], "few hand-offs look like few"


@pytest.mark.parametrize(
    ("frame", "label"),
    [
        (
            replace(CALM, seconds=Series(NOW_MS // 1000, [2] * 60, [1] * 60, [0, 7, *[0] * 58], [None, 3.04, None])),
            "Last 1 min: 120 handed off, 60 of them late. Next 1 min: 7 due, at most 7, at 03:10:21. "
            "Longest wait for a hand-off: 3.0 s.",
        ),
        (
            locked(NOW_MS),
            "Last 1 min: 0 handed off, 0 of them late. "
            "Next 1 min: 66 monitors are in claims: due again once handed off. Longest wait for a hand-off: 19.9 min.",
        ),
        (
            bare(NOW_MS),
            "Last 1 min: 0 handed off, 0 of them late. Next 1 min: 0 due, at most 0, at 03:10:19. "
            "Longest wait for a hand-off: –.",
        ),
    ],
)
def test_the_chart_in_words(frame: Frame, label: str) -> None:
    assert render(frame).around.units[1].label == label


def test_what_the_browser_draws() -> None:
    series = Series(5, [2] * 60, [0] * 60, [1] * 60, [None, 0.26, 3.0, 0.0])
    around = render(replace(NIGHT, seconds=series, leased=60)).around
    label = around.units[1].label
    assert around.units[1] == Chart(5, [2] * 60, [], [1] * 60, [None, 0.3, 3, 0], label, "none", [])
    assert around.units[10].label.startswith("Last 10 min: ")
    assert (around.since_ms, around.is_late) == (NOW_MS - 272_000, True)
    assert (render(CALM).around.since_ms, render(CALM).around.is_late) == (None, False)


def test_what_the_stream_adds() -> None:
    held = replace(CALM, hold=FrameHold(NOW_MS, "anna", "disk"))
    sent = json.loads(encode_json(render(held)))
    del sent["around"], sent["body"]
    assert sent == {
        "version": 2,
        "now_ms": NOW_MS,
        "node": "vm-a-1-7c0e9b12",
        "program": "0.1.0",
        "code": "on_time",
        "level": "good",
        "sentence": "Every check is on time.",
        "held": True,
        "scheduled": 84_212,
    }


def strings(value: object) -> Iterator[str]:
    """All strings within a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


def test_a_frame_of_50_replicas_with_hostile_names_is_small() -> None:
    encoded = fit(build_frame(hostile()))
    assert len(encoded) <= MAX_BYTES
    assert b"\n" not in encoded, "a frame is one line of the stream"
    frame = json.loads(encoded)
    assert len(frame["around"]["units"]["1"]["handed_off"]) == SLOTS
    assert "and 46 more" in text_of(["", *frame["body"]])
    assert all(string.isprintable() for string in strings(frame))


def test_a_report_that_cannot_be_read_is_counted() -> None:
    read = build_frame(seen_of(look_of(report("vm-a"))))
    both = build_frame(seen_of(look_of(report("vm-a"), StoredReport("newer", read.now_ms, b"{"))))
    sentence = "The reports of 1 replica cannot be read."
    assert sentence in text(both, "Replicas")
    assert sentence not in text(read, "Replicas")


@pytest.mark.parametrize("character", ["<", '"', "\\", "\0", "\u202e", "\U000e0001", "\U0001f600"])
def test_a_frame_is_small_whatever_characters_its_texts_contain(character: str) -> None:
    encoded = fit(build_frame(hostile(character * 300)))
    assert len(encoded) <= MAX_BYTES
    assert "of other kinds" in text_of(["", *json.loads(encoded)["body"]])


@pytest.mark.parametrize("count", [1, 8, 20, 60])
def test_the_most_important_replicas_stay(count: int) -> None:
    replicas = [replace(NIGHT.replicas[n % 3], name=f"vm-{n}") for n in range(count)]
    encoded = fit(replace(NIGHT, replicas=replicas))
    assert len(encoded) <= MAX_BYTES
    shown = named(["", *json.loads(encoded)["body"]], "Table")[1][3]
    assert [text_of(row[0])[:5].strip() for row in shown] == [f"vm-{n}" for n in range(len(shown))]
    assert len(shown) >= min(count, 10)


def test_an_overdue_monitor_of_which_nothing_is_known() -> None:
    unknown = OverdueMonitor("m1", None, None, None, None, None)
    assert "m1 – in a claim for – not claimed" in text(replace(CALM, longest_overdue=[unknown]), "Longest overdue")
