"""A look: the schedule, the queue and the heartbeats at one instant, and what follows from them.

The verdict is a function of it. A replica composes it from its latest samples, a command from one reading.
"""

import math
from collections import Counter
from collections.abc import Mapping
from functools import cached_property

from peekaping_producer.brokers import Queue
from peekaping_producer.brokers.asynq_keys import QUEUE, RESULTS_QUEUE
from peekaping_producer.errors import BROKER, DATABASE, REDIS
from peekaping_producer.operations.heartbeat import FailingDependency, Heartbeat, Rings
from peekaping_producer.operations.hold import Hold, current_hold
from peekaping_producer.operations.replica_report import MAX_LEASE_TTL_S, ReplicaReport, decode_report, replicas_of
from peekaping_producer.schedule import Stats, StoredReport
from peekaping_producer.service.text import one_line
from peekaping_producer.transports.asynq.server_info import ServerInfo

LATE_AT_LEAST_S = 2.0
"""A monitor that has waited for less is not late, whatever is usual."""
LATE_AT_MOST_S = 30.0
"""A monitor that has waited for longer is late, whatever is usual."""
LATE_FACTOR = 3.0
"""Of the usual p99 of the fleet."""
RETRIED_AT_LEAST = 5
RETRIED_SHARE = 0.2
"""If attempts fail for so many monitors, more than their own data is the cause."""
SILENT_AFTER_S = 7.5
"""A replica whose heartbeat is older has missed at least one."""


_MAX_SLOTS = 10**9


class Look:
    """Read once, and not changed."""

    def __init__(
        self,
        stats: Stats | None,
        queue: Queue | None = None,
        *,
        redis_failure: str | None = None,
        redis_refuses: bool = False,
        redis_failing_since_ms: float | None = None,
        leaderless_since_ms: float | None = None,
    ) -> None:
        """`stats`: None if Redis has not answered yet.

        `redis_failure`: why this process cannot read Redis now; `redis_refuses`: it answers with an error.
        """
        self.stats = stats
        self.queue = queue
        self.redis_failure = redis_failure
        self.redis_refuses = redis_refuses
        self.redis_failing_since_ms = redis_failing_since_ms
        self._leaderless_since_ms = leaderless_since_ms

    @property
    def now_ms(self) -> int:
        """Redis TIME of the reading of the schedule; 0 without one."""
        return self.stats.now_ms if self.stats else 0

    @cached_property
    def reports(self) -> Mapping[str, ReplicaReport]:
        """The reports of the running replicas, by node."""
        return replicas_of(self.stats) if self.stats else {}

    @cached_property
    def heartbeats(self) -> Mapping[str, Heartbeat]:
        """The heartbeats of the running replicas, by node; without replicas of older versions."""
        return {node: report.heartbeat for node, report in self.reports.items() if report.heartbeat}

    @cached_property
    def silent(self) -> Mapping[str, tuple[StoredReport, Heartbeat]]:
        """The replicas whose last report of the last minute is too old, by node.

        The first report of a replica, and those of older versions, contain no heartbeat: it is empty here.
        """
        stored = (*self.stats.reports, *self.stats.silent) if self.stats else ()
        found = {}
        for report in stored:
            decoded = decode_report(report.text)
            if self.now_ms - report.at_ms > 1000 * SILENT_AFTER_S and decoded:
                found[report.node] = (report, decoded.heartbeat or Heartbeat())
        return found

    @property
    def first_node(self) -> str:
        """The replica that acts where one of the fleet must: the leader, or one that runs; '' if none reports."""
        running = self.reports.keys() - self.silent.keys()
        leader = ((self.stats and self.stats.leader) or "").partition("/")[0]
        return leader if leader in running else min(running, default="")

    def is_most(self, count: int) -> bool:
        """Whether this is a majority of the replicas with a heartbeat."""
        return 2 * count > len(self.heartbeats)

    def name(self, node: str) -> str:
        """Return the host of a replica; its node if several are on one host, or if it is unknown."""
        host = self._hosts.get(node, "")
        return one_line(host if host and self._replicas_on[host] == 1 else node, 60)

    def full_name(self, node: str) -> str:
        """Return the name of a replica, and its node in parentheses if that is another text."""
        name, shown = self.name(node), one_line(node, 60)
        return name if name == shown else f"{name} ({shown})"

    @cached_property
    def _hosts(self) -> Mapping[str, str]:
        """The host of each replica, by node."""
        hosts = {node: heartbeat.host for node, heartbeat in self.heartbeats.items()}
        return hosts | {node: heartbeat.host for node, (_, heartbeat) in self.silent.items()}

    @cached_property
    def _replicas_on(self) -> Mapping[str, int]:
        """The number of replicas on each host."""
        return Counter(self._hosts.values())

    @property
    def late_after_s(self) -> float:
        """How long a monitor may wait before it is late."""
        usual_s = max((beat.lateness.usual_p99_s or 0.0 for beat in self.heartbeats.values()), default=0.0)
        return min(max(LATE_AT_LEAST_S, LATE_FACTOR * usual_s), LATE_AT_MOST_S)

    @property
    def lease_ttl_s(self) -> float:
        """How long a claim lasts, as the replicas set it."""
        return max((min(report.lease_ttl_s, MAX_LEASE_TTL_S) for report in self.reports.values()), default=10.0)

    @property
    def claimed_since_ms(self) -> float | None:
        """When the claim was made whose lease ends first; None without one."""
        claim = self.stats.oldest_claim if self.stats else None
        return None if claim is None else claim.ends_ms - 1000 * self.lease_ttl_s

    def failing(self, dependency: str) -> list[FailingDependency]:
        """Calls of workers that fail: one entry for each replica whose calls to the dependency fail."""
        return [
            found
            for beat in self.heartbeats.values()
            for found in beat.failing
            if found.name == dependency and {"worker", "vitals"} & set(found.loops)
        ]

    @property
    def failing_since_ms(self) -> float | None:
        """Since when calls of workers to one dependency fail on most replicas; None if they do not."""
        failing = [found for name in (DATABASE, REDIS, BROKER) if self.is_most(len(found := self.failing(name)))]
        return min((call.since_ms for calls in failing for call in calls), default=None)

    @property
    def late_since_ms(self) -> float | None:
        """Since when a monitor waits, to be claimed or in a claim; None if none waits.

        Monitors whose attempts fail count if they are many, or while a dependency fails on most replicas: otherwise
        their own data may be the cause.
        """
        if (stats := self.stats) is None:
            return None
        waits = [stats.oldest_unclaimed_ms, self.claimed_since_ms]
        enough = min(stats.scheduled, max(RETRIED_AT_LEAST, RETRIED_SHARE * stats.scheduled))
        if 0 < enough <= stats.late:
            waits.append(stats.oldest_retried_ms)
        if self.failing_since_ms is not None and stats.oldest_due_ms is not None:
            waits.append(max(stats.oldest_due_ms, self.failing_since_ms))
        return min((at for at in waits if at is not None and at <= self.now_ms), default=None)

    @property
    def is_late(self) -> bool:
        """Whether a monitor waits for longer than `late_after_s`."""
        since_ms = self.late_since_ms
        return since_ms is not None and self.now_ms - since_ms > 1000 * self.late_after_s

    @property
    def handed_off_per_s(self) -> float:
        """Hand-offs a second, of all replicas, in the last seconds that their heartbeats contain."""
        return sum(sum(beat.rings.handed_off_1s[-6:-1]) / 5 for beat in self.heartbeats.values())

    def handed_off_per_s_since(self, since_ms: float) -> float:
        """Hand-offs a second, in those of the last seconds that began after this time; 0 if no heartbeat is so new."""
        return sum(_per_s_since(beat.rings, since_ms) for beat in self.heartbeats.values())

    @property
    def arrivals_per_s(self) -> float | None:
        """Checks that became due a second, in the last minute: the hand-offs of all replicas; None if unknown.

        Also those of a monitor whose earlier task was still pending or running, which added no task.
        """
        rates = [_hand_offs_per_s(beat.rings) for beat in self.heartbeats.values()]
        return sum(rate for rate in rates if rate is not None) if None not in rates else None

    @property
    def finished_per_s(self) -> float | None:
        """Tasks that workers have finished a second in the last minute, as a replica has measured; None if unknown."""
        rates = [beat.finished_per_s for beat in self.heartbeats.values() if beat.finished_per_s is not None]
        return max(rates, default=None)

    @property
    def nothing_finished_since_ms(self) -> int | None:
        """Since when no replica has seen a finished task; None if one has, or if it is unknown."""
        since = [beat.nothing_finished_since_ms for beat in self.heartbeats.values() if beat.finished_per_s is not None]
        return min((at for at in since if at is not None), default=None) if None not in since else None

    @property
    def mean_check_s(self) -> float | None:
        """The mean duration of a check; None if it is unknown."""
        known = [beat.mean_check_s for beat in self.heartbeats.values() if beat.mean_check_s is not None]
        if known or not self.finished_per_s or not self.busy_slots:
            return max(known, default=None)
        return self.busy_slots / self.finished_per_s

    @property
    def slots_needed(self) -> int | None:
        """Tasks that workers must run at the same time to check all monitors in time; None if it is unknown.

        By Little's law: arrivals a second times the mean duration of a check.
        """
        arrivals_per_s, mean_check_s = self.arrivals_per_s, self.mean_check_s
        if arrivals_per_s is None or mean_check_s is None:
            return None
        return math.ceil(round(min(arrivals_per_s * mean_check_s, _MAX_SLOTS), 6))

    @property
    def leaderless_since_ms(self) -> float | None:
        """Since when no replica leads; None if one does."""
        if self.stats is None or self.stats.leader is not None:
            return None
        seen = [beat.leaderless_since_ms for beat in self.heartbeats.values()]
        known = [at for at in (*seen, self._leaderless_since_ms) if at is not None]
        return min(known, default=None)

    @property
    def shortest_interval_s(self) -> int | None:
        """The shortest interval of the monitors, as the leader has read them; None if it is unknown."""
        known = [beat.shortest_interval_s for beat in self.heartbeats.values() if beat.shortest_interval_s]
        return min(known, default=None)

    @property
    def workers(self) -> list[ServerInfo]:
        """The worker processes that take checks."""
        return [worker for worker in self.queue.workers if QUEUE in worker.queues] if self.queue else []

    @property
    def is_served(self) -> bool:
        """Whether a worker process is registered for checks; also if not all that are registered could be read."""
        return bool(self.workers) or self._has_unread_workers

    @property
    def slots(self) -> int:
        """Tasks that the workers can run at the same time."""
        return sum(worker.concurrency for worker in self.workers)

    @property
    def busy_slots(self) -> int:
        """Tasks that the workers run."""
        return sum(worker.active for worker in self.workers)

    @property
    def storing_workers(self) -> list[ServerInfo]:
        """The worker processes that store results."""
        return [worker for worker in self.queue.workers if RESULTS_QUEUE in worker.queues] if self.queue else []

    @property
    def is_storing(self) -> bool:
        """Whether a worker process is registered for results; also if not all that are registered could be read."""
        return bool(self.storing_workers) or self._has_unread_workers

    @property
    def _has_unread_workers(self) -> bool:
        return self.queue is not None and self.queue.servers > len(self.queue.workers)

    @cached_property
    def hold(self) -> Hold | None:
        """The hold on all monitors, if there is one that has not ended."""
        return current_hold(self.stats.hold, self.now_ms, on_all=True) if self.stats else None


def _per_s_since(rings: Rings, since_ms: float) -> float:
    seconds = [
        count
        for ago, count in enumerate(reversed(rings.handed_off_1s))
        if 1 <= ago <= 5 and 1000 * (rings.at_s - ago) > since_ms - 1000
    ]
    return sum(seconds) / len(seconds) if seconds else 0.0


def _hand_offs_per_s(rings: Rings) -> float | None:
    """Hand-offs a second in the last complete minute; None without rings, which a long heartbeat leaves out."""
    if rings.handed_off_10s:
        return sum(rings.handed_off_10s[-7:-1]) / 60
    seconds = rings.handed_off_1s[-60:-1]
    return sum(seconds) / len(seconds) if seconds else None
