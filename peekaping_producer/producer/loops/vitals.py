"""The health of a replica: samples of Redis and the database, and the conditions derived from them.

Everything that reports a replica's state reads `conditions`: readiness, metrics, log lines, and the report in Redis
that `status` reads.
"""

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from peekaping_producer.brokers import Broker, Queue
from peekaping_producer.errors import DATABASE, REDIS, DependencyError, RedisError, StoreError, StoreUnavailableError
from peekaping_producer.metrics import Metrics
from peekaping_producer.operations.conditions import LEVELS, Condition, Level, of_clocks, of_queue, of_schedule
from peekaping_producer.operations.replica_report import ReplicaReport, encode_report, lease_excess_s, replicas_of
from peekaping_producer.producer.queue_age import QueueAge
from peekaping_producer.producer.timing import TIMING, Timing
from peekaping_producer.schedule import Schedule, Stats
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop
from peekaping_producer.stores import MonitorStore

log = structlog.stdlib.get_logger()

SAMPLES_PER_QUEUE = 3
"""The queue is inspected once in this many samples."""
_UNAVAILABLE = {REDIS: "redis_unavailable", DATABASE: "database_unavailable"}


class State(Protocol):
    """The state of the other parts; see ReplicaState."""

    def conditions(self) -> Iterable[Condition]:
        """The conditions that they have found."""

    def report(self, conditions: tuple[Condition, ...]) -> ReplicaReport:
        """The report of this replica, with the `conditions` that only it knows."""


class Vitals:
    """Samples Redis and the database every few seconds. Probes read the samples, and cost nothing."""

    def __init__(
        self,
        node: str,
        *,
        schedule: Schedule,
        store: MonitorStore,
        broker: Broker,
        state: State,
        watched: Sequence[Loop],
        dependencies: Dependencies,
        metrics: Metrics,
        timing: Timing = TIMING,
    ) -> None:
        """`watched`: the loops that must advance."""
        self.loop = Loop("vitals", dependencies, uses=())
        self.draining = False
        self.stats: Stats | None = None
        """The latest sample of the schedule; None if it failed."""
        self._node = node
        self._schedule = schedule
        self._store = store
        self._broker = broker
        self._state = state
        self._watched = watched
        self._timing = timing
        self._dependencies = dependencies
        self._metrics = metrics
        self._queue: Queue | None = None
        self._queue_age = QueueAge()
        self._queue_states: list[str] = []
        self._skew_s = 0.0
        self._samples = 0
        self._leaderless_since: float | None = None
        self._last_success_at: dict[str, float] = {}
        self._last_failure: dict[str, str] = {}
        self._raised: dict[str, float] = {}
        self._in_redis: list[Condition] = []
        """As last seen: they may go on while Redis does not answer."""

    async def run(self) -> None:
        """Sample until canceled; then remove the replica's report from Redis."""
        try:
            await self.loop.run(self.run_once)
        finally:
            with suppress(RedisError):  # it counts as gone once it is old
                await self._schedule.forget_report(self._node)

    async def run_once(self) -> float:
        """Sample once; returns the seconds until the next sample."""
        await self._sample_database()  # first: its state is in the report that the sample of the schedule writes
        self.loop.advanced()
        await self._sample_schedule()
        if self._samples % SAMPLES_PER_QUEUE == 0:
            await self._sample_queue()
        self._samples += 1
        self._report_changes()
        return self._timing.sample_every_s

    async def _sample_schedule(self) -> None:
        # Before the first sample there is nothing to report.
        report = encode_report(self._state.report(tuple(self._reported()) if self._samples else ()))
        asked_at = time.time()
        try:
            stats = await self._schedule.stats(node=self._node, report=report)
        except RedisError as error:
            self._record_failure(error, f"{type(error).__name__}: {error}")
            self.stats = None
            self._metrics.oldest_due_age.set(math.nan)
            return
        self._record_success(REDIS)
        self.stats = stats
        self._skew_s = stats.now_ms / 1000 - (asked_at + time.time()) / 2
        if stats.leader:
            self._leaderless_since = None
        elif self._leaderless_since is None:
            self._leaderless_since = time.monotonic()
        self._metrics.due_depth.set(stats.due)
        self._metrics.lease_depth.set(stats.leased)
        self._metrics.late_depth.set(stats.late)
        self._metrics.oldest_due_age.set(stats.oldest_due_age_s)
        self._metrics.clock_skew.set(self._skew_s)

    async def _sample_database(self) -> None:
        try:
            async with asyncio.timeout(self._timing.sample_every_s):
                await self._store.ping()
        except TimeoutError:
            reason = f"no answer within {self._timing.sample_every_s:g} s"
            self._record_failure(StoreUnavailableError(reason), reason)
        except StoreError as error:
            self._record_failure(error, str(error))
        else:
            self._record_success(DATABASE)

    async def _sample_queue(self) -> None:
        try:
            self._queue = self._queue_age.observe(await self._broker.inspect())
        except RedisError as error:
            self._dependencies.failed(error, "queue")
            self._queue = None
            for state in self._queue_states:
                self._metrics.queue_depth.labels(state).set(math.nan)
            self._metrics.oldest_pending_age.set(math.nan)
            return
        self._dependencies.worked(REDIS, "queue")
        self._queue_states = list(self._queue.depths)
        for state, depth in self._queue.depths.items():
            self._metrics.queue_depth.labels(state).set(depth)
        self._metrics.oldest_pending_age.set(self._queue.oldest_pending_s or 0.0)

    def _record_failure(self, error: DependencyError, reason: str) -> None:
        self._last_failure[error.dependency] = reason
        self._dependencies.failed(error, self.loop.name)

    def _record_success(self, dependency: str) -> None:
        self._last_success_at[dependency] = time.monotonic()
        self._last_failure.pop(dependency, None)
        self._dependencies.worked(dependency, self.loop.name)

    def may_lead(self) -> bool:
        """Return False while this replica cannot read the database, and another one can work."""
        trouble = self._dependencies.troubles.get(DATABASE)
        if trouble is None or self.stats is None or time.monotonic() - trouble.since < self._timing.yield_after_s:
            return True
        others = {node: report for node, report in replicas_of(self.stats).items() if node != self._node}
        return not any(report.can_work for report in others.values())

    def conditions(self) -> list[Condition]:
        """All current conditions; those of Redis as last seen, if it does not answer."""
        if self.stats is not None and self._queue is not None:
            since = self._leaderless_since
            of_redis = of_schedule(
                self.stats,
                leaderless_s=0.0 if since is None else time.monotonic() - since,
                lease_excess_s=lease_excess_s(self.stats, self._schedule.lease_ttl_s),
            )
            self._in_redis = [*of_redis, *self._queue_conditions()]
        return self._own_conditions() + self._in_redis

    def _reported(self) -> list[Condition]:
        """The conditions that `status` cannot see; one of the queue if only its observation shows it."""
        if self._queue is None or not self._queue_age.is_observed:
            return self._own_conditions()
        return self._own_conditions() + [each for each in self._queue_conditions() if each.code == "queue_not_consumed"]

    def _queue_conditions(self) -> list[Condition]:
        if self._queue is None:
            return []
        return list(of_queue(self._queue, scheduled=self.stats.scheduled if self.stats else 0))

    def _own_conditions(self) -> list[Condition]:
        """The conditions that only this replica can see: `status` reads the schedule and the queue itself."""
        if self.draining:
            return [Condition("draining", "The replica is stopping.")]
        reasons = {name: trouble.reason for name, trouble in self._dependencies.troubles.items()} | self._last_failure
        for dependency in (REDIS, DATABASE):
            age_s = time.monotonic() - self._last_success_at.get(dependency, -math.inf)
            if dependency not in reasons and age_s > self._timing.stale_after_s:
                reasons[dependency] = "not seen yet" if math.isinf(age_s) else f"not seen for {age_s:.0f} s"
        found = [Condition(_UNAVAILABLE.get(name, "producer_failing"), reason) for name, reason in reasons.items()]
        found += of_clocks(self._skew_s)
        return [*found, *self._state.conditions()]

    def _report_changes(self) -> None:
        """Set the metric of each condition, and log those that begin or end."""
        now = time.monotonic()
        current = {each.code: each for each in self.conditions()}
        for code in LEVELS:
            self._metrics.condition.labels(code).set(code in current)
        for code, each in current.items():
            if code not in self._raised and code != "draining":  # the stop has lines of its own
                self._raised[code] = now
                write = log.info if each.level is Level.NOTE else log.warning
                write("condition.raised", message=each.reason, code=code, condition_level=each.level.value)
        for code in self._raised.keys() - current.keys():
            lasted_s = round(now - self._raised.pop(code), 1)
            log.info("condition.cleared", message=f"Condition ended: {code}.", code=code, lasted_s=lasted_s)

    def stalled(self) -> list[str]:
        """Return the loops that are at work and do not advance; empty means alive."""
        loops: Iterable[Loop] = (self.loop, *self._watched)
        longest_s = self._timing.stalled_after_s
        return [f"{loop.name}: {loop.stalled_s:.0f} s" for loop in loops if loop.stalled_s > longest_s]

    def unready(self) -> dict[str, str]:
        """Return why this replica cannot work, by condition code; empty means ready."""
        return {each.code: each.reason for each in self.conditions() if each.level is Level.UNREADY}

    def notes(self) -> list[str]:
        """Return the conditions that do not keep this replica from its work, each as `code: reason`."""
        return [f"{each.code}: {each.reason}" for each in self.conditions() if each.level is not Level.UNREADY]
