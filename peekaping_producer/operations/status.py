"""Fleet status: the schedule, the queue and the reports of the replicas at one instant."""

import asyncio
from collections import Counter

import msgspec

from peekaping_producer.brokers import Queue
from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.operations import conditions
from peekaping_producer.operations.conditions import LEADER_CHANGES_WITHIN_S, SCHEDULE_LATE_AFTER_S, Condition, Level
from peekaping_producer.operations.due_times import DueTimes, read_due_times
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.opened import opened_schedule
from peekaping_producer.operations.replica_report import ReplicaReport, lease_excess_s, replicas_of
from peekaping_producer.operations.verdict import LATENESS, Verdict, VerdictCode, verdict
from peekaping_producer.schedule import Stats
from peekaping_producer.service.text import clock_time, counted, duration, escaped, one_line
from peekaping_producer.targets import RedisTarget

VERSION = 1
"""Version of the JSON form: incremented when a field changes its meaning or is removed."""


class Status(msgspec.Struct, frozen=True):
    """Read from Redis alone; the state of the database is what the replicas report."""

    stats: Stats
    queue: Queue | None
    """None if the tasks are not in asynq's queue."""
    leaderless_s: float = 0.0
    lease_ttl_s: float = 10.0
    max_overdue_s: float | None = None
    """Monitors that are overdue for less do not count as late; None: the verdict decides."""
    due_times: DueTimes | None = None
    """None unless they were asked for."""

    @property
    def replicas(self) -> dict[str, ReplicaReport]:
        """The reports of the running replicas, by node."""
        return replicas_of(self.stats)

    @property
    def look(self) -> Look:
        """The same as a look."""
        return Look(self.stats, self.queue)

    @property
    def verdict(self) -> Verdict:
        """The verdict on the fleet."""
        return verdict(self.look)

    @property
    def conditions(self) -> list[tuple[Level, Condition]]:
        """The conditions, the worst first, with their levels for the whole fleet.

        A condition that only replicas report is a note while any replica can work.
        """
        replicas = self.replicas
        any_works = any(report.can_work for report in replicas.values())
        found = [(condition.level, condition) for condition in self._seen_here()]
        codes = {condition.code for _, condition in found}
        for node, report in replicas.items():
            for condition in report.conditions:
                if condition.code not in codes:
                    level = Level.NOTE if condition.level is Level.UNREADY and any_works else condition.level
                    reason = f"{one_line(condition.reason, 500)} (reported by {self.look.name(node)})"
                    found.append((level, Condition(condition.code, reason)))
            codes |= {condition.code for condition in report.conditions}
        return sorted(found, key=lambda pair: list(Level).index(pair[0]))

    def _seen_here(self) -> list[Condition]:
        """The conditions of the schedule, the queue and the clocks."""
        return [
            *conditions.of_schedule(
                self.stats,
                leaderless_s=self.leaderless_s,
                lease_excess_s=lease_excess_s(self.stats, self.lease_ttl_s),
                late_after_s=SCHEDULE_LATE_AFTER_S if self.max_overdue_s is None else self.max_overdue_s,
            ),
            *(conditions.of_queue(self.queue, scheduled=self.stats.scheduled) if self.queue else ()),
            *conditions.of_clocks(self.stats.clock_skew_s),
        ]

    @property
    def anomalies(self) -> list[dict[str, str]]:
        """Anomalies of single monitors that the replicas report, each once."""
        found: dict[tuple[str | None, str | None], dict[str, str]] = {}
        for report in self.replicas.values():
            found |= {(anomaly.get("monitor_id"), anomaly.get("kind")): anomaly for anomaly in report.anomalies}
        return list(found.values())

    @property
    def is_failing(self) -> bool:
        """Whether checks do not run as they should: by the verdict, or by a condition that is no note."""
        code = self.verdict.code
        if code in LATENESS and self.max_overdue_s is not None:
            code = VerdictCode.ON_TIME  # a condition fails if it is more than that
        is_as_wanted = code in {VerdictCode.ON_TIME, VerdictCode.HELD}
        return not is_as_wanted or any(level is not Level.NOTE for level, _ in self.conditions)

    def lines(self) -> list[str]:
        """Return the status as text."""
        stats = self.stats
        ttl = f" (key expires in {stats.leader_ttl_ms / 1000:.1f} s)" if stats.leader_ttl_ms is not None else ""
        rows = {
            "time": f"{clock_time(stats.now_ms, stats.now_ms)} UTC, by the clock of Redis",
            "leader": f"{one_line(stats.leader)}{ttl}" if stats.leader else "none",
            "replicas": f"{len(self.replicas.keys() - self.look.silent.keys())} reporting{_silent(self.look)}",
            "scheduled": f"{stats.scheduled} ({stats.leased} claimed)",
            "overdue": f"{stats.overdue}{_parts_of_overdue(stats)}",
            "max overdue": "none" if stats.oldest_due_ms is None else f"{stats.oldest_due_age_s:.1f} s",
        }
        if stats.held:
            rows["held"] = f"{counted(stats.held, 'monitor')} by people; listed by: peekaping-producer hold"
        if self.queue:
            rows["queue"] = ", ".join(f"{count} {name}" for name, count in self.queue.depths.items())
            if self.queue.oldest_pending_s is not None:
                rows["queue"] += f"; the first has been pending for {duration(self.queue.oldest_pending_s)}"
            rows["workers"] = _workers(self.look)
        found = self.verdict
        lines = [found.sentence, found.details]
        lines += [f"{name:<11} {text}" for name, text in rows.items()]
        lines += [
            f"{'' if n else 'next':<11} {text}"
            for n, text in enumerate(self.due_times.lines(stats.overdue - stats.postponed) if self.due_times else ())
        ]
        lines += [f"{level.value:<11} {condition.code}: {condition.reason}" for level, condition in self.conditions]
        counts = Counter(anomaly.get("kind", "?") for anomaly in self.anomalies)
        lines += [f"{'anomaly':<11} {one_line(kind, 60)}: {count}" for kind, count in sorted(counts.items())]
        return list(map(escaped, lines))  # parts of it come from Redis

    def as_json(self) -> dict[str, object]:
        """Return the documented form of `status --json`."""
        stats = self.stats
        return {
            "version": VERSION,
            "healthy": not self.is_failing,
            "verdict": msgspec.to_builtins(self.verdict),
            "conditions": [
                {"code": condition.code, "level": level.value, "reason": condition.reason}
                for level, condition in self.conditions
            ],
            "leader": stats.leader,
            "leader_ttl_ms": stats.leader_ttl_ms,
            "now_ms": stats.now_ms,
            "due": stats.due,
            "leased": stats.leased,
            "overdue": stats.overdue,
            "unclaimed": stats.unclaimed,
            "late": stats.late,
            "held": stats.held,
            "oldest_due_age_s": round(stats.oldest_due_age_s, 3),
            "oldest_due_monitor": stats.oldest_id,
            "clock_skew_s": round(stats.clock_skew_s, 3),
            "queue": dict(self.queue.depths) if self.queue else None,
            "oldest_pending_s": self.queue.oldest_pending_s if self.queue else None,
            "workers": _workers_json(self.look) if self.queue else None,
            "uncompleted": self.queue.uncompleted if self.queue else None,
            "workers_registered": self.queue.servers if self.queue else None,
            "replicas": {
                node: {"leads": report.leads, "set_aside": report.set_aside, "unschedulable": report.unschedulable}
                for node, report in self.replicas.items()
            },
            "anomalies": self.anomalies,
            "next": self.due_times.as_json() if self.due_times else None,
        }


def _parts_of_overdue(stats: Stats) -> str:
    if stats.overdue == stats.unclaimed:
        return ""
    postponed = f", {stats.postponed} set aside" if stats.postponed else ""
    return f" ({stats.unclaimed} to be claimed, {stats.claimed_late} claimed but not handed off{postponed})"


def _silent(look: Look) -> str:
    since = [
        f"{look.name(node)} since {clock_time(report.at_ms, look.now_ms)}"
        for node, (report, _) in sorted(look.silent.items())
    ]
    return f", {len(since)} silent ({', '.join(since[:5])})" if since else ""


def _workers(look: Look) -> str:
    workers = f"{counted(len(look.workers), 'process', 'processes')} registered"
    needed = "" if look.slots_needed is None else f", about {look.slots_needed:,} needed"
    return f"{workers}, {look.busy_slots:,} of {counted(look.slots, 'slot')} busy{needed}"


def _workers_json(look: Look) -> dict[str, object]:
    return {
        "slots": look.slots,
        "busy": look.busy_slots,
        "slots_needed": look.slots_needed,
        "finished_per_s": look.finished_per_s,
        "mean_check_s": look.mean_check_s,
    }


async def fetch_status(
    target: RedisTarget,
    *,
    lease_ttl_s: float,
    max_overdue_s: float | None = None,
    with_queue: bool = True,
    next_s: int | None = None,
) -> Status:
    """Read the status from Redis; if there is no leader, read it again 2 s later, since the leader may be changing.

    `max_overdue_s`: see Status. `with_queue`: the tasks are in asynq's queue. `next_s`: the span in which due times are
    counted; None for none.
    Raises UnreachableError if Redis does not answer, RedisUnusableError if it cannot be used.
    """
    leaderless_s = 0.0
    async with opened_schedule(target, lease_ttl_s=lease_ttl_s) as schedule:
        stats = await schedule.stats()
        if stats.leader is None:
            await asyncio.sleep(LEADER_CHANGES_WITHIN_S)
            stats = await schedule.stats()
            leaderless_s = 0.0 if stats.leader else LEADER_CHANGES_WITHIN_S
        queue = await AsynqBroker(schedule.redis).inspect() if with_queue else None
        due_times = await read_due_times(schedule, next_s, stats.now_ms) if next_s else None
        return Status(stats, queue, leaderless_s, lease_ttl_s, max_overdue_s, due_times)
