"""What is wrong: the one list that status, readiness, metrics and the log read.

A condition is worked out from what was seen (the schedule, the queue, the clocks, a replica's own state) by pure
functions; nothing stores it.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec

from peekaping_producer.brokers import Queue
from peekaping_producer.schedule import LONGEST_LEADER_TTL_S, Stats

LATE_AFTER_S = 60.0
"""A monitor that waits for longer than this has missed its check."""
NOT_CONSUMED_AFTER_S = 60.0
"""A task that waits for longer than this is not taken by workers as it should be."""
CLOCK_SKEW_S = 30.0
"""Redis TIME further than this from our clock: one of the two is wrong, and workers go by clocks of their own."""
LEADERLESS_AFTER_S = 2.0
"""A leader's key that is gone is taken within a second, wherever a replica lives."""


class Level(StrEnum):
    """How bad a condition is."""

    UNREADY = "unready"
    """This replica cannot do its work now: /readyz is 503, and `status` exits 1."""
    FAILING = "failing"
    """Checks do not happen as they should: `status` exits 1, and /readyz has a remark."""
    NOTE = "note"
    """Worth knowing: a remark in /readyz, and a line of `status`."""


LEVELS: Mapping[str, Level] = {
    "draining": Level.UNREADY,
    "redis_unavailable": Level.UNREADY,
    "redis_refuses_writes": Level.UNREADY,
    "redis_keys_unusable": Level.UNREADY,
    "database_unavailable": Level.UNREADY,
    "producer_failing": Level.UNREADY,
    "queue_unusable": Level.UNREADY,
    "schedule_late": Level.FAILING,
    "no_leader": Level.FAILING,
    "leader_key_absurd": Level.FAILING,
    "lease_absurd": Level.FAILING,
    "database_empty": Level.FAILING,
    "clock_skew": Level.FAILING,
    "queue_paused": Level.FAILING,
    "queue_not_consumed": Level.FAILING,
    "database_degraded": Level.NOTE,
    "monitors_set_aside": Level.NOTE,
    "monitors_unschedulable": Level.NOTE,
}
"""Every code there is. Codes are stable: dashboards and scripts may rely on them."""


class Condition(msgspec.Struct, frozen=True):
    """Something that is wrong now. `reason` is a sentence without secrets."""

    code: str
    reason: str

    @property
    def level(self) -> Level:
        """How bad it is; a code of a newer replica counts as a note."""
        return LEVELS.get(self.code, Level.NOTE)


def of_schedule(stats: Stats, *, leaderless_s: float, late_after_s: float = LATE_AFTER_S) -> Iterator[Condition]:
    """What is wrong with the schedule. `leaderless_s`: for how long no leader has been seen."""
    if stats.problems:
        yield Condition("redis_keys_unusable", f"Keys of the schedule cannot be read: {_list(stats.problems)}.")
    if stats.write_refused:
        yield Condition("redis_refuses_writes", f"Redis refuses writes: {stats.write_refused}")
    age_s = stats.oldest_due_age_s
    if age_s > late_after_s:
        yield Condition(
            "schedule_late",
            f"Monitor {ascii(stats.oldest_id or '?')[1:-1]} has waited for its check for {age_s:.0f} s; "
            f"{_count(stats.overdue, 'monitor')} overdue, {_count(stats.late, 'monitor')} claimed and not handed off.",
        )
    if stats.lease_excess_ms > late_after_s * 1000:
        yield Condition(
            "lease_absurd",
            f"A lease ends {stats.lease_excess_ms / 1000:.0f} s later than LEASE_TTL allows: a producer whose clock or "
            "LEASE_TTL differs set it, and its monitor is not checked before it is handed off or taken back.",
        )
    if stats.problems:
        return
    if stats.leader is None:
        if leaderless_s >= LEADERLESS_AFTER_S:
            yield Condition("no_leader", "No replica leads: none runs, or none reaches Redis.")
    elif stats.leader_ttl_ms is None or stats.leader_ttl_ms > LONGEST_LEADER_TTL_S * 1000:
        ends = "without an end" if stats.leader_ttl_ms is None else f"for another {stats.leader_ttl_ms / 1000:.0f} s"
        yield Condition(
            "leader_key_absurd",
            f"The leader's key names {ascii(stats.leader)[1:-1]} {ends}; no living leader sets that. "
            "Any running replica takes it over.",
        )


def of_queue(queue: Queue) -> Iterator[Condition]:
    """What is wrong with the queue and its workers."""
    if queue.problems:
        yield Condition("queue_unusable", f"Keys of the queue cannot be read: {_list(queue.problems)}.")
    if queue.paused:
        yield Condition("queue_paused", "The queue is paused: workers take nothing from it.")
    if queue.oldest_pending_s is not None and queue.oldest_pending_s > NOT_CONSUMED_AFTER_S and not queue.paused:
        workers = f"{_count(queue.servers, 'worker process', 'worker processes')} registered"
        yield Condition(
            "queue_not_consumed",
            f"The next of {_count(queue.depths.get('pending', 0), 'pending task')} has waited for "
            f"{queue.oldest_pending_s:.0f} s: no worker takes tasks, or too few do ({workers}).",
        )


def of_clocks(skew_s: float) -> Iterator[Condition]:
    """`skew_s`: Redis TIME less our own clock."""
    if abs(skew_s) > CLOCK_SKEW_S:
        side = "ahead of" if skew_s > 0 else "behind"
        yield Condition(
            "clock_skew",
            f"Redis's clock is {abs(skew_s):.0f} s {side} this machine's: workers discard tasks that look old to them.",
        )


def _list(texts: tuple[str, ...]) -> str:
    return "; ".join(ascii(text)[1:-1][:200] for text in texts[:3])


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
