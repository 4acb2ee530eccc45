"""The heartbeat: what a replica has measured of its own work. Part of the report that it writes to Redis."""

from typing import Annotated

import msgspec
from msgspec.structs import replace

SLOTS = 60
"""Of each ring of counts."""
LATE_HAND_OFF_S = 1.0
"""A hand-off counts as late in the rings if it came later; a bound of the histogram `schedule_lag_seconds`."""
MAX_BYTES = 2000
"""Of an encoded heartbeat."""
MAX_CLAIMS = 16
MAX_FAILING = 4
MAX_REASON_LENGTH = 200
Whole = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
Real = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
"""Numbers with which no computation overflows; a report with others is malformed."""


class HeldClaim(msgspec.Struct, frozen=True, array_like=True):
    """A claim that the replica holds."""

    token: str
    """The score of its members in the set lease."""
    monitors: Whole
    """Number of monitors when it was claimed."""
    since_ms: Whole
    """Redis TIME of the claim."""


class FailingDependency(msgspec.Struct, frozen=True):
    """A dependency whose calls fail."""

    name: str
    loops: tuple[str, ...]
    """The kinds of loops whose calls fail."""
    since_ms: Whole
    """By Redis TIME."""
    reason: str


class StageTime(msgspec.Struct, frozen=True, array_like=True):
    """Medians of the duration of one stage of a batch, in ms; a stage that still runs counts with its time so far."""

    recent_ms: Real | None = None
    """Of the last 10 to 20 s; None without a batch."""
    usual_ms: Real | None = None
    """Of the last 10 min in which no monitor was late; None at first."""


class Stages(msgspec.Struct, frozen=True):
    """Where the time of a batch goes."""

    claim: StageTime = StageTime()
    read: StageTime = StageTime()
    build: StageTime = StageTime()
    hand_off: StageTime = StageTime()


class Rings(msgspec.Struct, frozen=True):
    """Hand-offs by time, oldest first; the last slot is not complete. Slots are aligned by Redis TIME."""

    at_s: Whole = 0
    """Redis TIME in s: the second of the last slot of the rings of seconds."""
    handed_off_1s: tuple[Whole, ...] = ()
    late_1s: tuple[Whole, ...] = ()
    """Of them, those over LATE_HAND_OFF_S."""
    handed_off_10s: tuple[Whole, ...] = ()
    late_10s: tuple[Whole, ...] = ()


class Lateness(msgspec.Struct, frozen=True):
    """From due time to hand-off, in s, each rounded up to a bucket of the histogram; None without a hand-off."""

    p50_s: Real | None = None
    """Of the last minute, as the next two."""
    p99_s: Real | None = None
    max_s: Real | None = None
    usual_p99_s: Real | None = None
    """Of the last 10 min with hand-offs in which no monitor was late."""


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """State of one replica at one instant; times are Redis TIME in ms."""

    host: str = ""
    version: str = ""
    started_ms: Whole = 0
    term: str | None = None
    settings: dict[str, str] = {}
    """Those that all replicas must share; addresses as a digest."""
    rings: Rings = Rings()
    lateness: Lateness = Lateness()
    stages: Stages = Stages()
    outcomes: dict[str, Whole] = {}
    """Claimed monitors of the last minute, by outcome."""
    claims: tuple[HeldClaim, ...] = ()
    """Claims in hand, the oldest first; at most MAX_CLAIMS."""
    failing: tuple[FailingDependency, ...] = ()
    round_trip_ms: Real | None = None
    """Of the latest sample of Redis, with the time of its script."""
    database_ms: Real | None = None
    """Of the latest ping; None if it failed."""
    overdue: Whole = 0
    """Monitors overdue at the latest sample."""
    leaderless_since_ms: Whole | None = None
    synced_ms: Whole | None = None
    """The last complete sync of this leader, or the beginning of its term; None on a follower."""
    sync_answered_ms: Whole | None = None
    """The time of the latest request for a sync that a sync of this leader, begun after it, has answered."""
    sync_interval_s: Real | None = None
    shortest_interval_s: Whole | None = None
    """Of the monitors that the last sync of this leader has read."""
    finished_per_s: Real | None = None
    """Tasks that workers finished, by the inspections of the queue within the last minute."""
    mean_check_s: Real | None = None
    """The mean duration of a check, by these inspections."""
    nothing_finished_since_ms: Whole | None = None
    """Since when no inspection found that a task was finished; None if the latest did."""


_encode = msgspec.json.Encoder().encode


def bounded(heartbeat: Heartbeat) -> Heartbeat:
    """Return the heartbeat without its least important parts, so that it is encoded in at most MAX_BYTES."""
    if len(_encode(heartbeat)) <= MAX_BYTES:
        return heartbeat
    rings = heartbeat.rings
    shorter = replace(rings, handed_off_10s=(), late_10s=())
    without = (
        {"claims": heartbeat.claims[:4], "failing": heartbeat.failing[:1]},
        {"rings": shorter},
        {"rings": Rings(), "outcomes": {}},
    )
    for changes in without:
        heartbeat = replace(heartbeat, **changes)
        if len(_encode(heartbeat)) <= MAX_BYTES:
            return heartbeat
    return Heartbeat(started_ms=heartbeat.started_ms, claims=heartbeat.claims, overdue=heartbeat.overdue)
