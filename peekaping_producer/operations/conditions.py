"""Conditions: the one list of problems for `status`, readiness, metrics and log.

Pure functions derive them from observations (the schedule, the queue, the clocks, the state of a replica); they are
not stored.
"""

import math
from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec

from peekaping_producer.brokers import Queue
from peekaping_producer.errors import BROKER, DATABASE, REDIS
from peekaping_producer.operations.hold import current_hold
from peekaping_producer.schedule import MAX_LEADER_TTL_S, Stats
from peekaping_producer.service.text import clock_time, counted, one_line

SCHEDULE_LATE_AFTER_S = 60.0
"""A monitor that waits longer has missed its check."""
NOT_CONSUMED_AFTER_S = 60.0
"""A task that waits longer is not being consumed as it should be."""
NOT_COMPLETED_AT_LEAST = 5
NOT_COMPLETED_SHARE = 0.2
"""If workers do not complete the tasks of so many monitors, more than these monitors are at fault."""
CLOCK_SKEW_S = 30.0
"""If Redis TIME and the local clock differ by more, one is wrong; the clocks of workers may be, too."""
LEASE_SLACK_S = 5.0
"""A lease that ends by more than this later than LEASE_TTL allows was not set by a replica."""
LEADER_CHANGES_WITHIN_S = 2.0
"""A running replica acquires a free leader key within a second."""
UNPHASED_FROM = 0.01
"""Fewer due times without a phase may be those of monitors that were held before ticks were spread."""
UNSERVED_AFTER_S = 300.0
"""No worker process was registered for the queue for so long: more than a restart of the workers takes."""


class Level(StrEnum):
    """How bad a condition is."""

    UNREADY = "unready"
    """The replica cannot work now: /readyz is 503, and `status` exits 1."""
    FAILING = "failing"
    """Checks do not run as they should: `status` exits 1, and /readyz has a note."""
    NOTE = "note"
    """For information: a note in /readyz, and a line of `status`."""


LEVELS: Mapping[str, Level] = {
    "draining": Level.UNREADY,
    "redis_unavailable": Level.UNREADY,
    "redis_refuses_writes": Level.UNREADY,
    "redis_keys_unusable": Level.UNREADY,
    "database_unavailable": Level.UNREADY,
    "broker_unavailable": Level.UNREADY,
    "producer_failing": Level.UNREADY,
    "queue_unusable": Level.UNREADY,
    "schedule_late": Level.FAILING,
    "no_leader": Level.FAILING,
    "leader_key_invalid": Level.FAILING,
    "lease_too_long": Level.FAILING,
    "sync_late": Level.FAILING,
    "database_empty": Level.FAILING,
    "clock_skew": Level.FAILING,
    "queue_paused": Level.FAILING,
    "queue_not_consumed": Level.FAILING,
    "tasks_not_completed": Level.FAILING,
    "queue_unserved": Level.NOTE,
    "held": Level.NOTE,
    "foreign_leader": Level.NOTE,
    "schedule_empty": Level.NOTE,
    "database_degraded": Level.NOTE,
    "monitors_set_aside": Level.NOTE,
    "monitors_unschedulable": Level.NOTE,
    "ticks_unphased": Level.NOTE,
}
"""All codes. They are stable: dashboards and scripts may rely on them."""

OF_FLEET = frozenset(
    {
        "redis_refuses_writes",
        "redis_keys_unusable",
        "queue_unusable",
        "schedule_late",
        "no_leader",
        "leader_key_invalid",
        "lease_too_long",
        "queue_paused",
        "queue_not_consumed",
        "tasks_not_completed",
        "queue_unserved",
        "held",
        "foreign_leader",
        "ticks_unphased",
    }
)
"""States of the schedule, the queue and the workers: every replica observes them, and one records their events."""


class Condition(msgspec.Struct, frozen=True):
    """A current problem. `reason` is a sentence without secrets.

    It contains instants rather than ages: an event and a report show it later.
    """

    code: str
    reason: str

    @property
    def level(self) -> Level:
        """The level; an unknown code (of a newer replica) is a note."""
        return LEVELS.get(self.code, Level.NOTE)


def of_schedule(
    stats: Stats, *, leaderless_s: float, lease_excess_s: float = 0.0, late_after_s: float = SCHEDULE_LATE_AFTER_S
) -> Iterator[Condition]:
    """Conditions of the schedule.

    `leaderless_s`: how long there has been no leader. `lease_excess_s`: by how much the last lease exceeds LEASE_TTL.
    """
    if stats.problems:
        yield Condition(
            "redis_keys_unusable",
            f"Keys of the schedule cannot be read: {one_line('; '.join(stats.problems), 500)}.",
        )
    if stats.write_refused:
        yield Condition("redis_refuses_writes", f"Redis refuses writes: {stats.write_refused}")
    age_s = stats.oldest_due_age_s
    if hold := current_hold(stats.hold, stats.now_ms, on_all=True):
        until = clock_time(hold.until_ms, stats.now_ms)
        yield Condition(
            "held",
            f'All monitors are held by {one_line(hold.who, 60)} until {until}: "{one_line(hold.why)}"; no check is '
            f"handed off, and {counted(stats.overdue, 'monitor')} overdue.",
        )
    elif age_s > late_after_s:
        yield Condition(
            "schedule_late",
            f"Monitor {one_line(stats.oldest_id or '?')} has waited for its check since "
            f"{clock_time(stats.oldest_due_ms or 0.0, stats.now_ms)}; "
            f"{counted(stats.overdue, 'monitor')} overdue, {stats.claimed_late:,} of them in claims.",
        )
    if lease_excess_s > LEASE_SLACK_S:
        yield Condition(
            "lease_too_long",
            f"A lease ends {lease_excess_s:.0f} s later than LEASE_TTL allows: the clock or LEASE_TTL "
            "of a producer differs. Its monitor is not checked until it is handed off or reclaimed.",
        )
    if not stats.problems:
        yield from _of_leader(stats, leaderless_s)
        if stats.due + stats.leased == 0:
            yield Condition("schedule_empty", "No monitor is scheduled.")


def _of_leader(stats: Stats, leaderless_s: float) -> Iterator[Condition]:
    """Conditions of the leader key."""
    if stats.leader is None:
        if leaderless_s >= LEADER_CHANGES_WITHIN_S:
            yield Condition("no_leader", "No replica leads: none is running, or none reaches Redis.")
    elif stats.leader_ttl_ms is None or stats.leader_ttl_ms > MAX_LEADER_TTL_S * 1000:
        ends = "does not expire"
        if stats.leader_ttl_ms is not None:
            ends = f"expires at {clock_time(stats.now_ms + stats.leader_ttl_ms, stats.now_ms)}"
        yield Condition(
            "leader_key_invalid",
            f"The leader key ({one_line(stats.leader)}) {ends}; no running leader sets such a TTL. "
            "Any running replica takes it over.",
        )
    elif "/" not in stats.leader:
        yield Condition(
            "foreign_leader",
            f"The leader key is held by {one_line(stats.leader)}, which is not a replica of this producer: it "
            "decides which monitors are scheduled.",
        )


def of_queue(
    queue: Queue, *, scheduled: int, now_ms: int = 0, unserved_since_ms: int | None = None
) -> Iterator[Condition]:
    """Conditions of the queue and its workers.

    `scheduled`: the number of monitors. `unserved_since_ms`: since when no worker process has been registered for the
    queue, as observed until `now_ms`; None if one is, or if that is not observed.
    """

    def ago(seconds: float) -> str:
        return clock_time(queue.now_ms - 1000 * seconds, queue.now_ms)

    workers = f"{counted(queue.servers, 'worker process', 'worker processes')} registered"
    if queue.problems:
        yield Condition(
            "queue_unusable", f"Keys of the queue cannot be read: {one_line('; '.join(queue.problems), 500)}."
        )
    if queue.paused:
        yield Condition("queue_paused", "The queue is paused: workers dequeue nothing.")
    why = f"too few workers run, or they hang ({workers})" if queue.servers else "no worker process is registered"
    if queue.oldest_pending_s is not None and queue.oldest_pending_s > NOT_CONSUMED_AFTER_S and not queue.paused:
        yield Condition(
            "queue_not_consumed",
            f"The oldest pending task (of {queue.depths.get('pending', 0)}) has waited since "
            f"{ago(queue.oldest_pending_s)}: {why}.",
        )
    if scheduled and unserved_since_ms is not None and now_ms - unserved_since_ms >= 1000 * UNSERVED_AFTER_S:
        since = clock_time(unserved_since_ms, now_ms)
        yield Condition(
            "queue_unserved",
            f"No worker process has been registered for the queue since {since}. Start Peekaping's workers.",
        )
    enough = min(scheduled, max(NOT_COMPLETED_AT_LEAST, math.ceil(scheduled * NOT_COMPLETED_SHARE)))
    if 0 < enough <= queue.uncompleted:
        yield Condition(
            "tasks_not_completed",
            f"Workers took the tasks of {counted(queue.uncompleted, 'monitor')} (of {scheduled}) and have not "
            f"completed them, the first since {ago(queue.uncompleted_s)}: they hang, fail or crash ({workers}).",
        )


def of_clocks(skew_s: float) -> Iterator[Condition]:
    """Conditions of the clocks. `skew_s`: Redis TIME minus the local clock."""
    if abs(skew_s) > CLOCK_SKEW_S:
        side = "ahead of" if skew_s > 0 else "behind"
        yield Condition(
            "clock_skew",
            f"The clock of Redis is {abs(skew_s):.0f} s {side} the local clock: workers may discard tasks as too old.",
        )


def of_dependencies(reasons: Mapping[str, str]) -> Iterator[Condition]:
    """Conditions of what the replica depends on. `reasons`: why a dependency cannot be used."""
    codes = {REDIS: "redis_unavailable", DATABASE: "database_unavailable", BROKER: "broker_unavailable"}
    for dependency, reason in reasons.items():
        yield Condition(codes.get(dependency, "producer_failing"), reason)


def of_monitors(*, unschedulable: int, set_aside: int, degraded_tables: Mapping[str, str]) -> Iterator[Condition]:
    """Conditions of the monitors' rows and tasks. `degraded_tables`: those that do not answer, and why."""
    if unschedulable:
        yield Condition(
            "monitors_unschedulable",
            f"{counted(unschedulable, 'active monitor')} cannot be scheduled (invalid id or interval).",
        )
    for table, reason in degraded_tables.items():
        yield Condition(
            "database_degraded", f"{table} does not answer; its last known content is used, if any: {reason}"
        )
    if set_aside:
        yield Condition(
            "monitors_set_aside", f"{counted(set_aside, 'monitor')} failed on this replica; each is retried."
        )


def of_spreading(unphased_share: float) -> Iterator[Condition]:
    """Conditions of ticks that are spread. `unphased_share`: of recent due times, those without a phase."""
    if unphased_share >= UNPHASED_FROM:
        # From tick to tick, a producer without phases and one with them shorten the gap to half of it, on average.
        more = 1 / (1 - unphased_share * (1 - unphased_share)) - 1
        yield Condition(
            "ticks_unphased",
            "A producer that does not spread ticks takes part (a Go producer, or an older version): "
            f"it set {100 * unphased_share:.0f} % of the due times of the last 10 min, about {100 * more:.0f} % more "
            "checks than intended.",
        )
