"""The codes and the value of a verdict."""

from enum import StrEnum
from typing import Literal

import msgspec

VerdictLevel = Literal["good", "warn", "bad"]
"""warn: checks are on time, or will soon be, and something else is not as it should be."""


class VerdictCode(StrEnum):
    """What holds, in the order of precedence. The codes are stable: dashboards and scripts may rely on them."""

    HELD = "held"
    REDIS_UNAVAILABLE = "redis_unavailable"
    REDIS_UNUSABLE = "redis_unusable"
    NO_REPLICA = "no_replica"
    LATE_CPU = "late_cpu"
    LATE_DATABASE = "late_database"
    LATE_REDIS = "late_redis"
    LATE_BROKER = "late_broker"
    LATE_CLAIM = "late_claim"
    CATCHING_UP = "catching_up"
    LATE = "late"
    """Late, and no cause is common to a majority of the replicas."""
    QUEUE_PAUSED = "queue_paused"
    NO_WORKER = "no_worker"
    WORKERS_STUCK = "workers_stuck"
    WORKERS_FULL = "workers_full"
    TASKS_WAIT = "tasks_wait"
    """Tasks wait too long, for none of the four reasons above."""
    RESULTS_NOT_STORED = "results_not_stored"
    MONITORS_LATE = "monitors_late"
    """The others are on time: attempts to hand these off fail."""
    NO_LEADER = "no_leader"
    NOT_SYNCED = "not_synced"
    ON_TIME = "on_time"


_WARN = {
    VerdictCode.HELD,
    VerdictCode.CATCHING_UP,
    VerdictCode.MONITORS_LATE,
    VerdictCode.NO_LEADER,
    VerdictCode.NOT_SYNCED,
}
LATENESS = frozenset(
    {
        VerdictCode.LATE_CPU,
        VerdictCode.LATE_DATABASE,
        VerdictCode.LATE_REDIS,
        VerdictCode.LATE_BROKER,
        VerdictCode.LATE_CLAIM,
        VerdictCode.CATCHING_UP,
        VerdictCode.LATE,
        VerdictCode.MONITORS_LATE,
    }
)
"""Monitors are overdue: `status --max-overdue-seconds` sets for how long they may be."""


class Verdict(msgspec.Struct, frozen=True):
    """One verdict."""

    code: VerdictCode
    sentence: str
    details: str
    """A second sentence, with numbers; what to do, if that is known."""
    since_ms: float | None = None
    """Redis TIME at which the state began, if it is known."""
    ends_ms: float | None = None
    """Redis TIME at which it will end by itself, if that is known."""

    @property
    def level(self) -> VerdictLevel:
        """How bad it is: the color of the sentence."""
        return "good" if self.is_well else "warn" if self.code in _WARN else "bad"

    @property
    def is_well(self) -> bool:
        """Whether every check is on time."""
        return self.code is VerdictCode.ON_TIME
