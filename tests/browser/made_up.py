"""Made-up frames and documents: states of a fleet of 84,212 monitors that no test can make quickly."""

import math
import random
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.operations.explain.silent import SilentMonitor, SilentMonitors
from peekaping_producer.operations.heartbeat import Stages, StageTime
from peekaping_producer.operations.moments import Moments
from peekaping_producer.operations.verdict.lateness import slow_stages
from peekaping_producer.service.text import clock_time
from peekaping_producer.ui.frame import (
    FailingPart,
    Failure,
    Frame,
    FrameEvent,
    FrameQueue,
    FrameReplica,
    FrameVerdict,
    FrameWorker,
    Leader,
    OverdueMonitor,
    Quiet,
    Series,
)

HOSTILE_NAME = "<img src=x onerror=\"document.title='hacked'\"> \u202egnp.exe\u2066 ".ljust(150, "n")
"""HTML, bidirectional format characters, and 150 characters."""
_PERIODS = ((20, 2610), (30, 1890), (60, 9350), (45, 760), (10, 240), (120, 3900), (300, 9800))
_DAY_MS = 86_400_000
_STEP_MS = 60_000
"""The interval of the explained monitor."""
_iso = Moments(0).iso


def calm(now_ms: int) -> Frame:
    """Every check is on time."""
    return Frame(
        now_ms=now_ms,
        read_ms=now_ms,
        node="vm-a-1-7c0e9b12",
        program="0.1.0",
        verdict=FrameVerdict(
            "on_time",
            "good",
            "Every check is on time.",
            "84,212 monitors scheduled; 99 % of the checks of the last minute were handed off within 480 ms; "
            "0 tasks pending.",
        ),
        redis_failure=None,
        details_failure=None,
        database_failure=None,
        leader=Leader("vm-b-1-6f1c22d0", "vm-b", 8200),
        replicas_heard=3,
        replicas_known=3,
        scheduled=84_212,
        leased=0,
        overdue=0,
        late_p99_s=0.48,
        longest_wait_s=0.0,
        hold=None,
        seconds=_calm_series(now_ms, 1),
        ten_seconds=_calm_series(now_ms, 10),
        hint="14,090 monitors become due in the same second. SPREAD_TICKS spreads them over their intervals.",
        longest_overdue=[],
        replicas=[
            _replica("vm-b", "6f1c22d0", now_ms, 214, leads=True),
            _replica("vm-a", "7c0e9b12", now_ms, 203),
            _replica("vm-c", "b4427a51", now_ms, 69),
        ],
        replicas_omitted=0,
        queue=_queue(now_ms, busy=(118, 93), finished_per_s=482.0),
        events=[
            _event(now_ms, 3, "sync.completed", "84,212 monitors read in 1.9 s: 3 added, 1 moved, 12 removed.", "vm-b"),
            _event(
                now_ms, 15, "monitor.updated", "The interval is 30 s.", "vm-b", "5d0fca70-9d8e-4f0a-8b1c-1f2f3a4b5c6d"
            ),
            _event(now_ms, 38, "monitor.run_now", "Run now.", "anna", "3f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04"),
            _event(now_ms, 137, "lease.reclaimed", "38 monitors of a silent replica are due again.", "vm-b"),
            _event(now_ms, 148, "replica.started", "Version 0.1.0 started.", "vm-c"),
            _event(now_ms, 3672, "leader.elected", "vm-b leads.", "vm-b"),
        ],
        events_failure="",
        quiet=Quiet(0, 3, {"proxy_missing": 1}),
    )


def bare(now_ms: int) -> Frame:
    """What the first frame of a new fleet may contain: nothing is known, and Redis does not answer."""
    nothing: list[int] = []
    series = Series(now_ms // 1000, nothing, nothing, nothing, [])
    unknown = FrameReplica("vm-a-1-7c0e9b12", "", "", 0, False, nothing, None, Stages(), None, None, [], now_ms, False)
    frame = calm(now_ms)
    return replace(
        frame,
        read_ms=None,
        verdict=FrameVerdict("redis_unavailable", "bad", "Redis has not answered.", ""),
        redis_failure=Failure(None, "Connection refused"),
        details_failure=Failure(None, "Connection refused"),
        database_failure=Failure(now_ms - 5000, "no answer within 10 s"),
        leader=None,
        replicas_heard=0,
        replicas_known=0,
        scheduled=0,
        overdue=1,
        late_p99_s=None,
        seconds=series,
        ten_seconds=series,
        longest_overdue=[OverdueMonitor("1f0d5a9e", None, None, None, "", now_ms)],
        replicas=[unknown],
        queue=None,
        events=[],
        events_failure="Redis refuses the stream of events.",
        quiet=Quiet(0, 0, {}),
    )


def night(now_ms: int) -> Frame:
    """The database is slow, and every check is late. A monitor has a hostile name."""
    since_ms = now_ms - 272_000
    frame = calm(now_ms)
    reads = Stages(StageTime(2.1, 2.0), StageTime(9412.0, 11.8), StageTime(4.4, 4.5), StageTime(7.2, 6.9))
    failing = [FailingPart("database", now_ms - 8000, "no answer within 10 s")]
    replicas = [
        _replica("vm-b", "6f1c22d0", now_ms, 9, leads=True, stages=reads, p99=264.0, failing=failing),
        _replica("vm-a", "7c0e9b12", now_ms, 11, stages=reads, p99=264.0),
        _replica("vm-c", "b4427a51", now_ms, 10, stages=reads, p99=270.0, silent_s=12.4),
    ]
    names = ("payments · 3-D Secure", HOSTILE_NAME, "checkout · login flow", "dns · ns1.example.net", None)
    overdue = [
        OverdueMonitor(
            f"{n}f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04",
            name,
            60 if name else None,
            since_ms + 20_000 * n,
            None if n else "vm-b",
        )
        for n, name in enumerate(names)
    ]
    return replace(
        frame,
        verdict=FrameVerdict(
            "late_database",
            "bad",
            f"Late since {clock_time(since_ms, now_ms)}, because the database is slow.",
            "Reading a batch takes 9.4 s where 12 ms is usual, on 3 of 3 replicas; Redis answers in 0.4 ms.",
            since_ms,
        ),
        replicas_heard=2,
        leased=1500,
        overdue=31_870,
        late_p99_s=264.0,
        longest_wait_s=272.0,
        seconds=_late_series(now_ms, 1),
        ten_seconds=_late_series(now_ms, 10),
        hint="",
        longest_overdue=overdue,
        replicas=replicas,
        queue=_queue(now_ms, busy=(5, 4), finished_per_s=30.4),
        events=[
            _event(now_ms, 4, "worker.load_failed", "A batch of 500 was not read within 10 s.", "vm-a"),
            _event(now_ms, 9, "monitor.held", HOSTILE_NAME, "anna", overdue[1].id),
            *frame.events[:5],
        ],
    )


def locked(now_ms: int) -> Frame:
    """A lock in the database blocks all reads: all 66 monitors are in claims."""
    series = Series(now_ms // 1000, [0] * 60, [0] * 60, [0] * 60, [*[float(n) for n in range(1140, 1198)], None, None])
    claimed = [OverdueMonitor(f"m{n}", None, None, None, f"vm-{'ab'[n % 2]}", now_ms - 16_000) for n in range(5)]
    return replace(
        night(now_ms),
        scheduled=66,
        leased=66,
        overdue=66,
        longest_wait_s=1198.0,
        seconds=series,
        ten_seconds=series,
        longest_overdue=claimed,
        database_failure=Failure(None, "no answer within 5 s"),
    )


def explanation(now_ms: int) -> dict[str, Any]:
    """A monitor whose worker died: the document of GET /api/monitors/ID."""
    tick = now_ms // _STEP_MS * _STEP_MS
    return {
        "version": 1,
        "at": _iso(now_ms),
        "now_ms": now_ms,
        "hold": None,
        "hold_on_all": None,
        "id": "3f0d5a9e-1c61-4b8e-9a50-7e1f2b6c9d04",
        "name": "payments · 3-D Secure",
        "verdict": "task.stuck.active_lost",
        "level": "note",
        "healthy": False,
        "cause": None,
        "sentence": "A check is missing, because the worker that had its task died, or lost it.",
        "remedy": f"The next hand-off replaces the task, at {clock_time(tick + _STEP_MS, now_ms)}.",
        "ends_at": _iso(tick + _STEP_MS),
        "errors": {"redis": None, "database": None},
        "row": {
            "active": True,
            "interval_s": 60,
            "timeout_s": 30,
            "type": "http",
            "max_retries": 2,
            "retry_interval_s": 20,
            "proxy": {"id": "b1e0a3f2-5e4d-4c3b-9a2f-1e0d9c8b7a65", "protocol": "socks5", "exists": True},
        },
        "schedule": _scheduled(tick),
        "task": _stuck_task(now_ms, tick),
        "maintenance": {"now": False, "next": {"from": _iso(tick + 3 * _STEP_MS), "to": _iso(tick + 9 * _STEP_MS)}},
        "anomalies": [],
        "fleet": {"code": "on_time", "sentence": "Every check is on time."},
        "events": [
            {"at": _iso(tick), "kind": "task.overlapped", "message": "The earlier task still runs.", "replica": "vm-b"}
        ],
        "heartbeats": [
            {"at": _iso(tick - n * _STEP_MS + 200), "status": "down" if n in {8, 9} else "up", "ms": 207 + n}
            for n in range(2, 30)
        ],
    }


def _scheduled(tick: int) -> dict[str, Any]:
    """Due at the next tick."""
    return {
        "in": ["due"],
        "due_at": _iso(tick + _STEP_MS),
        "intended_at": None,
        "misaligned": False,
        "postponed": False,
        "holder": None,
        "lease_ends_at": None,
        "next": [_iso(tick + n * _STEP_MS) for n in range(1, 6)],
    }


def _stuck_task(now_ms: int, tick: int) -> dict[str, Any]:
    """Active since the tick before the last, without a worker."""
    return {
        "state": "active",
        "kind": "stuck",
        "pending_since": None,
        "position": None,
        "active_since": _iso(tick - _STEP_MS),
        "worker": None,
        "asynq_lease_ends_at": _iso(now_ms - 50_200),
        "uncompleted_ticks": 0,
        "error": None,
        "last_failed_at": None,
        "retried": 0,
        "completed_at": None,
        "at_next_tick": "replaced",
    }


def silent(now_ms: int) -> SilentMonitors:
    """Three monitors without a heartbeat."""
    listed = (
        SilentMonitor(Plan(f"9f0d5a9e-1c61-4b8e-9a50-{n:012x}", 60), name, None)
        for n, name in enumerate(("old blog", HOSTILE_NAME, ""))
    )
    return SilentMonitors(datetime.fromtimestamp(now_ms / 1000, UTC), 84_212, 3, tuple(listed))


def _due(second: int) -> int:
    return sum(count for period, count in _PERIODS if second % period == 0)


def _calm_series(now_ms: int, unit: int) -> Series:
    at_s = now_ms // 1000 // unit * unit
    chance = random.Random(7)

    def of(slot: int) -> int:
        return sum(_due(at_s + slot * unit + n) for n in range(unit))

    past = [of(slot) + chance.choice((0, 0, 0, 24)) for slot in range(-59, 1)]
    waits: list[float | None] = [0.51 if count > 9000 else 0.02 + count / 20_000 for count in past]
    return Series(at_s, past, [0] * 60, [of(slot) for slot in range(1, 61)], waits)


def _late_series(now_ms: int, unit: int) -> Series:
    late_slots = min(60, math.ceil(272 / unit))
    on_time = 60 - late_slots
    chance = random.Random(7)
    past = [unit * 380 + chance.randrange(unit * 50) for _ in range(on_time)]
    late = [unit * 24 + chance.randrange(unit * 20) for _ in range(late_slots)]
    waits: list[float | None] = [0.4 if slot < on_time else max(0.4, 272.0 - (59 - slot) * unit) for slot in range(60)]
    due = [unit * 370 + (2600 if n % 6 == 0 else 0) for n in range(1, 61)]
    return Series(now_ms // 1000 // unit * unit, past + late, [0] * on_time + late, due, waits)


def _replica(
    name: str,
    suffix: str,
    now_ms: int,
    per_s: int,
    *,
    leads: bool = False,
    stages: Stages | None = None,
    p99: float = 0.48,
    failing: list[FailingPart] | None = None,
    silent_s: float = 0.4,
) -> FrameReplica:
    usual = Stages(StageTime(2.1, 2.0), StageTime(11.8, 12.0), StageTime(4.4, 4.5), StageTime(6.9, 6.9))
    return FrameReplica(
        node=f"{name}-1-{suffix}",
        name=name,
        version="0.1.0",
        started_ms=now_ms - 2 * _DAY_MS,
        leads=leads,
        handed_off_1s=[per_s + (n % 10 == 4) * 5 * per_s for n in range(30)],
        late_p99_s=p99,
        stages=stages or usual,
        database_ms=None if failing else 2.1,
        round_trip_ms=0.4,
        failing=failing or [],
        heard_ms=now_ms - int(1000 * silent_s),
        is_silent=silent_s > 7.5,
        slow_stages=slow_stages(stages or usual),
    )


def _queue(now_ms: int, *, busy: tuple[int, int], finished_per_s: float) -> FrameQueue:
    names = ("worker-7d9f-2kq:1", "worker-7d9f-x8m:1")
    return FrameQueue(
        read_ms=now_ms - 1300,
        waiting=0,
        oldest_s=None,
        running=sum(busy),
        slots=1024,
        finished_per_s=finished_per_s,
        slots_needed=220,
        paused=False,
        retry=0,
        archived=3,
        workers=[FrameWorker(name, count, 512, now_ms - 5 * _DAY_MS) for name, count in zip(names, busy, strict=True)],
        workers_omitted=0,
        results_waiting=12,
        results_oldest_s=0.3,
        results_workers=2,
    )


def _event(now_ms: int, ago_s: int, kind: str, text: str, who: str, monitor_id: str | None = None) -> FrameEvent:
    at_ms = now_ms - 1000 * ago_s
    return FrameEvent(f"{at_ms}-0", at_ms, kind, text, monitor_id, who)
