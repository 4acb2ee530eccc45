"""The one list of the conditions of a replica.

Everything that reports a replica's state reads it: readiness, metrics, log lines, and the report in Redis that `status`
reads.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from peekaping_producer.operations import conditions, replica_report
from peekaping_producer.operations.conditions import Condition
from peekaping_producer.producer.activity import Activity
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.sampler import Sampler
from peekaping_producer.producer.suspects import Suspects
from peekaping_producer.producer.timing import TIMING, Timing


class SyncState(Protocol):
    """What the loop that syncs has found; see Sync."""

    unschedulable: int
    """Active monitors that cannot be scheduled."""

    @property
    def has_synced(self) -> bool:
        """Whether this replica leads, and a sync of its term has succeeded."""

    def conditions(self, redis_ms: Callable[[float], int]) -> Iterable[Condition]:
        """The conditions that it has found while this replica leads. `redis_ms`: Redis TIME by time.monotonic()."""


class ReplicaConditions:
    """Derives the conditions from the latest samples, and from what the parts of the replica have found."""

    def __init__(
        self,
        *,
        sampler: Sampler,
        sync: SyncState,
        anomalies: Anomalies,
        suspects: Suspects,
        activity: Activity,
        lease_ttl_s: float,
        timing: Timing = TIMING,
    ) -> None:
        self.draining = False
        """Whether the replica is stopping."""
        self._sampler = sampler
        self._sync = sync
        self._anomalies = anomalies
        self._suspects = suspects
        self._activity = activity
        self._lease_ttl_s = lease_ttl_s
        self._timing = timing

    def current(self) -> list[Condition]:
        """All current conditions; those of Redis as last seen, if it does not answer."""
        found = self._own()
        if stats := self._sampler.stats:
            excess_s = replica_report.lease_excess_s(stats, self._lease_ttl_s)
            found += conditions.of_schedule(stats, leaderless_s=self._sampler.leaderless_s, lease_excess_s=excess_s)
        if not self._sync.has_synced:  # the first sync fills an empty schedule
            found = [condition for condition in found if condition.code != "schedule_empty"]
        return found + self._of_queue()

    def reported(self) -> list[Condition]:
        """The conditions that `status` cannot observe itself."""
        observed_here = {"queue_unserved"}
        if self._sampler.unaged_task is not None:
            observed_here.add("queue_not_consumed")
        return self._own() + [found for found in self._of_queue() if found.code in observed_here]

    def _own(self) -> list[Condition]:
        """The conditions that only this replica can see: `status` reads the schedule and the queue itself."""
        if self.draining:
            return [Condition("draining", "The replica is stopping.")]
        stats = self._sampler.stats
        return [
            *conditions.of_dependencies(self._sampler.failing()),
            *conditions.of_clocks(stats.clock_skew_s if stats else 0.0),
            *self._sync.conditions(self._sampler.redis_ms),
            *conditions.of_spreading(self._activity.unphased_share()),
            *conditions.of_monitors(
                unschedulable=self._sync.unschedulable,
                set_aside=len(self._suspects),
                degraded_tables=self._anomalies.degraded_tables(self._timing.degraded_for_s),
            ),
        ]

    def _of_queue(self) -> list[Condition]:
        sampler, stats, queue = self._sampler, self._sampler.stats, self._sampler.queue
        if queue is None:
            return []
        return list(
            conditions.of_queue(
                queue,
                scheduled=stats.scheduled if stats else 0,
                now_ms=sampler.now_ms,
                unserved_since_ms=None if sampler.unserved_since is None else sampler.redis_ms(sampler.unserved_since),
            )
        )
