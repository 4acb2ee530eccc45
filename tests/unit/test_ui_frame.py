"""Frames: what they contain."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from peekaping_producer.brokers import Queue
from peekaping_producer.operations.fleet_events import FleetEvent, encode_event
from peekaping_producer.operations.heartbeat import (
    SLOTS,
    HeldClaim,
    Rings,
    Stages,
    StageTime,
)
from peekaping_producer.operations.longest_waits import LongestWaits
from peekaping_producer.operations.look import Look
from peekaping_producer.schedule import ClaimedMember, Details, Member, StoredEvent, StoredReport
from peekaping_producer.transports.asynq.server_info import ServerInfo
from peekaping_producer.ui.building import build_frame
from peekaping_producer.ui.details import SECOND_S, TEN_SECONDS_S, DetailsReader, DueCounts
from peekaping_producer.ui.fitting import fit
from peekaping_producer.ui.frame import Failure, encode_json
from peekaping_producer.ui.names import Named
from peekaping_producer.ui.seen import Seen
from tests.kit.ui import NOW_MS, MemorySchedule, look_of, report, seen_of

NOW_S = NOW_MS // 1000


def decoded(seen: Seen) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(encode_json(build_frame(seen)))
    return document


def test_a_quiet_fleet() -> None:
    frame = decoded(seen_of(look_of(report("vm-b"), report("vm-a", leads=True))))
    assert frame["verdict"]["level"] == "good"
    assert frame["verdict"]["sentence"] == "Every check is handed off on time."
    assert frame["leader"] == {"node": "vm-a-1-abcd", "name": "vm-a", "ttl_ms": 9000}
    assert (frame["replicas_heard"], frame["replicas_known"], frame["scheduled"]) == (2, 2, 9)
    assert [replica["name"] for replica in frame["replicas"]] == ["vm-a", "vm-b"], "the leader first"
    assert frame["seconds"]["handed_off"] == [2] * SLOTS, "the sum of both"
    assert frame["ten_seconds"]["at_s"] == NOW_S // 10 * 10
    assert frame["ten_seconds"]["handed_off"] == [20] * SLOTS
    assert (frame["queue"], frame["longest_overdue"], frame["hint"]) == (None, [], "")


def test_a_frame_before_redis_has_answered() -> None:
    frame = decoded(seen_of(Look(None, redis_failure="no answer yet", redis_failing_since_ms=5.0)))
    assert frame["verdict"]["code"] == "redis_unavailable"
    assert frame["redis_failure"] == {"since_ms": 5.0, "reason": "no answer yet"}
    assert (frame["read_ms"], frame["scheduled"], frame["replicas"]) == (None, 0, [])


def test_rings_that_end_at_other_seconds_are_aligned() -> None:
    first = Rings(NOW_S - 2, (0,) * 59 + (5,), (0,) * 59 + (1,), (), ())
    ahead = Rings(NOW_S + 1, (0,) * 58 + (7, 9), (0,) * SLOTS, (), ())
    old = Rings(NOW_S - 1000, (3,) * SLOTS, (3,) * SLOTS, (), ())
    frame = decoded(seen_of(look_of(report("a", rings=first), report("b", rings=ahead), report("c", rings=old))))
    assert frame["seconds"]["handed_off"] == [0] * 57 + [5, 0, 7], "what is after now is left out"
    assert frame["seconds"]["late"] == [0] * 57 + [1, 0, 0]


def test_a_replica_that_died_stays_in_the_past() -> None:
    died = report("vm-b", NOW_MS - 20_000, rings=Rings(NOW_S - 20, (4,) * SLOTS, (0,) * SLOTS, (), ()))
    frame = decoded(seen_of(look_of(report("vm-a"), silent=(died,))))
    assert frame["seconds"]["handed_off"] == [5] * 40 + [1] * 20
    assert (frame["replicas_heard"], frame["replicas_known"]) == (1, 2)
    assert [(replica["name"], replica["is_silent"]) for replica in frame["replicas"]] == [
        ("vm-b", True),
        ("vm-a", False),
    ]


def test_due_counts_are_shifted_until_they_are_read_again() -> None:
    counts = DueCounts(NOW_S - 1, 1, (99, 98, *range(62)))
    tens = DueCounts(NOW_S // 10 * 10, 10, (99, *range(61)))
    frame = decoded(seen_of(look_of(), due={SECOND_S: counts, TEN_SECONDS_S: tens}))
    assert frame["seconds"]["due"] == list(range(60))
    assert frame["ten_seconds"]["due"] == list(range(60))
    assert DueCounts(100, 1, (9, 1, 2)).after(100)[:3] == [1, 2, 0]
    assert DueCounts(100, 1, (9, 1, 2)).after(1000) == [0] * SLOTS
    assert DueCounts(100, 1, (9, 1, 2)).after(10)[:2] == [1, 2], "the clock stepped back"


async def test_counts_of_coming_slots_are_read_every_2_and_10_seconds() -> None:
    schedule = MemorySchedule()
    details = DetailsReader(schedule, lambda: NOW_MS + 1000 * seconds)
    for seconds in range(21):  # noqa: B007 - the clock reads it
        await details.read()
    widths = schedule.widths
    assert widths[:4] == [1, 10, 1, 0]
    assert (widths.count(1), widths.count(10)) == (11, 2)
    assert all(options["watch"] for options in schedule.asked)


def test_a_hint_if_many_monitors_share_a_tick() -> None:
    due = {SECOND_S: DueCounts(NOW_S, 1, (0, 0, 0, 14_090)), TEN_SECONDS_S: DueCounts()}
    frame = decoded(seen_of(look_of(), due=due))
    assert frame["hint"].startswith("14,090 monitors are due in one second, 60 times the mean of this minute.")
    even = {SECOND_S: DueCounts(NOW_S, 1, (14_090,) * 62), TEN_SECONDS_S: DueCounts()}
    assert decoded(seen_of(look_of(), due=even))["hint"] == ""


def test_the_longest_waits_by_slot() -> None:
    waits = LongestWaits()
    for ago_s, wait_s in ((3, 7.04), (3, 2.0), (0, 9.0), (70, 1.0), (700, 5.0)):
        waits.add(NOW_MS - 1000 * ago_s, wait_s)
    frame = decoded(seen_of(look_of(), waits=waits))
    assert frame["seconds"]["longest_wait_s"] == [None] * 56 + [7.0, None, None, 9.0]
    assert frame["ten_seconds"]["longest_wait_s"][-8:] == [1.0, None, None, None, None, None, 7.0, 9.0]


def test_the_longest_overdue_with_their_names_and_holders() -> None:
    details = Details(
        NOW_MS,
        (Member("m1", str(NOW_MS - 9000)), Member("m2", str(NOW_MS - 500))),
        (Member("m3", "5.25"), Member("m4", "6.25"), Member("m5", "7.25")),
    )
    old, young = HeldClaim("5.25", 1, NOW_MS - 30_000), HeldClaim("7.25", 1, NOW_MS - 100)
    look = look_of(report("vm-a", claims=(old, young)), oldest_id="m4", oldest_due_ms=float(NOW_MS - 20_000))
    names = {"m1": Named("shop", 60), "m3": Named(None)}
    found = decoded(seen_of(look, details, names=names))["longest_overdue"]
    assert [(one["id"], one["name"], one["interval_s"], one["holder"]) for one in found] == [
        ("m3", None, None, "vm-a"),
        ("m4", None, None, ""),
        ("m1", "shop", 60, None),
    ]
    assert [one["due_ms"] for one in found] == [None, NOW_MS - 20_000, NOW_MS - 9000]
    assert [one["claimed_ms"] for one in found] == [NOW_MS - 30_000, None, None]


def test_monitors_that_were_claimed_again_wait_since_their_due_times() -> None:
    again = ClaimedMember("m9", "5.25", float(NOW_MS - 60_000))
    claims = (HeldClaim("5.25", 1, NOW_MS - 7000), HeldClaim("6.25", 1, NOW_MS - 8000))
    details = Details(NOW_MS, (), (Member("m1", "6.25"),), claimed=(again,))
    found = decoded(seen_of(look_of(report("vm-a", claims=claims)), details))["longest_overdue"]
    assert [(one["id"], one["due_ms"], one["claimed_ms"]) for one in found] == [
        ("m9", NOW_MS - 60_000, NOW_MS - 7000),
        ("m1", None, NOW_MS - 8000),
    ]


def test_conditions_that_come_and_go_leave_room_for_other_events() -> None:
    kinds = ["leader.won", *["condition.raised", "condition.cleared"] * 10, "monitor.held"]
    events = [FleetEvent(NOW_MS - 1000 * n, kind, kind) for n, kind in enumerate(reversed(kinds))]
    stored = tuple(StoredEvent(f"{n}-0", encode_event(event)) for n, event in enumerate(reversed(events)))
    found = decoded(seen_of(look_of(), Details(NOW_MS, events=stored)))["events"]
    assert [event["kind"].partition(".")[0] for event in found] == ["monitor", *["condition"] * 4, "leader"]


def test_claimed_monitors_are_in_the_order_of_their_claims() -> None:
    members = (Member("m3", "5.25"), Member("m2", "6.25"), Member("m1", "6.25"), Member("m4", "9.25"))
    claims = (HeldClaim("5.25", 1, NOW_MS - 16_000), HeldClaim("6.25", 2, NOW_MS - 30_000))
    seen = seen_of(look_of(report("vm-a", claims=claims)), Details(NOW_MS, (), members))
    found = [(one["id"], NOW_MS - one["claimed_ms"]) for one in decoded(seen)["longest_overdue"]]
    assert found == [("m1", 30_000), ("m2", 30_000), ("m3", 16_000)]


def test_names_are_missing_since_the_time_of_the_verdict_if_it_reports_the_database() -> None:
    slow = report("vm-a", stages=Stages(read=StageTime(9000.0, 12.0)))
    late = look_of(slow, unclaimed=3, oldest_unclaimed_ms=float(NOW_MS - 30_000))
    frame = decoded(seen_of(late, names_failure=Failure(5.0, "no answer")))
    assert frame["verdict"]["code"] == "late_database"
    assert frame["database_failure"] == {"since_ms": None, "reason": "no answer"}


def test_the_queue_and_its_workers() -> None:
    workers = tuple(ServerInfo(f"w{n}", n, 10, ("healthcheck",), "active", 3) for n in range(12))
    queue = Queue({"pending": 4, "active": 36}, 2.5, False, 12, now_ms=NOW_MS, workers=workers, results_pending=7)
    frame = decoded(seen_of(look_of(queue=queue)))["queue"]
    assert (frame["waiting"], frame["running"], frame["slots"], frame["oldest_s"]) == (4, 36, 120, 2.5)
    assert (len(frame["workers"]), frame["workers_omitted"]) == (8, 4)
    assert frame["workers"][0] == {"name": "w0:0", "busy": 3, "slots": 10, "started_ms": None}
    assert (frame["results_waiting"], frame["results_workers"]) == (7, 0)


def test_events_the_latest_first_without_malformed_ones() -> None:
    texts = [
        b'{"at_ms":%d,"kind":"leader.won","message":"x leads.","node":"x","monitor_id":"m1"}' % n for n in range(20)
    ]
    stored = tuple(StoredEvent(f"{n}-0", text) for n, text in enumerate([*texts, b"{"]))
    found = decoded(seen_of(look_of(), Details(NOW_MS, events=stored)))["events"]
    assert [event["at_ms"] for event in found] == list(range(19, 7, -1))
    assert found[0] == {
        "id": "19-0",
        "at_ms": 19,
        "kind": "leader.won",
        "text": "x leads.",
        "monitor_id": "m1",
        "who": "x",
    }


def test_an_act_names_the_person() -> None:
    text = b'{"at_ms":1,"kind":"act.hold","message":"Held.","monitor_id":"m1","who":"anna","node":"x"}'
    look = look_of(held=3)
    frame = decoded(seen_of(look, Details(NOW_MS, events=(StoredEvent("1-0", text),))))
    assert (frame["events"][0]["who"], frame["quiet"]["held"]) == ("anna", 3)


def test_failures_are_reported() -> None:
    failure = Failure(5.0, "no answer")
    frame = decoded(seen_of(look_of(), names_failure=failure, details_failure=failure))
    assert frame["database_failure"] == frame["details_failure"] == {"since_ms": 5.0, "reason": "no answer"}


@pytest.mark.parametrize("text", [b"", b"{", b"null", b'{"heartbeat": {"rings": {"at_s": "x"}}}', b"\xff"])
def test_a_malformed_report_hides_no_other(text: bytes) -> None:
    frame = decoded(seen_of(look_of(StoredReport("bad", NOW_MS, text), report("vm-a"))))
    assert [replica["name"] for replica in frame["replicas"]] == ["vm-a"]


def test_absurd_clocks() -> None:
    for now_ms in (0, -(10**15), 10**17):
        look = look_of(report("vm-a"), now_ms=now_ms, oldest_due_ms=1e300, leader_ttl_ms=2**40)
        seen = replace(seen_of(look), now_ms=now_ms)
        assert decoded(seen)["now_ms"] == json.loads(fit(build_frame(seen)))["now_ms"] == now_ms


def test_only_stages_that_the_verdict_calls_slow_are_slow() -> None:
    stages = Stages(StageTime(6.0, 1.0), StageTime(9412.0, 11.8), StageTime(240.0, 1.0), StageTime(None, 2.0))
    frame = decoded(seen_of(look_of(report("vm-a", stages=stages))))
    assert frame["replicas"][0]["slow_stages"] == ["read"]
