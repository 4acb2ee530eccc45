"""Samples Redis and the database, for the vitals of a replica."""

import asyncio
import math
import time

from msgspec.structs import replace

from peekaping_producer.brokers import Broker, Queue
from peekaping_producer.errors import (
    DATABASE,
    REDIS,
    DependencyError,
    RedisError,
    RedisRefusedError,
    StoreError,
    StoreUnavailableError,
)
from peekaping_producer.metrics import Metrics
from peekaping_producer.operations.longest_waits import LongestWaits
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.workload import Workload
from peekaping_producer.producer.event_recorder import EventRecorder
from peekaping_producer.producer.timing import Timing
from peekaping_producer.schedule import Schedule, Stats, SyncRequest
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.stores import MonitorStore


class Sampler:
    """Contains what was read last, and sets the metrics of it."""

    def __init__(
        self,
        *,
        schedule: Schedule,
        store: MonitorStore,
        broker: Broker,
        recorder: EventRecorder,
        dependencies: Dependencies,
        metrics: Metrics,
        timing: Timing,
    ) -> None:
        self.stats: Stats | None = None
        """The schedule when Redis last answered."""
        self.queue: Queue | None = None
        """The queue when Redis last answered."""
        self.unaged_task: str | None = None
        """The next task of a queue whose age cannot be read: its age is observed, for as long as this is the same."""
        self.waits = LongestWaits()
        self.failures: dict[str, str] = {}
        """By dependency: why its latest sample failed."""
        self._schedule = schedule
        self._store = store
        self._broker = broker
        self._recorder = recorder
        self._dependencies = dependencies
        self._metrics = metrics
        self._timing = timing
        self._unaged_since = 0.0
        self.leaderless_since: float | None = None
        """time.monotonic() of the first of the latest samples that found no leader."""
        self.round_trip_ms: float | None = None
        """Of the latest sample of Redis; None if it failed."""
        self.database_ms: float | None = None
        """Of the latest ping; None if it failed."""
        self.workload = Workload()
        """By the inspections of the queue."""
        self.unserved_since: float | None = None
        """time.monotonic() of the first of the latest inspections that found no worker process."""
        self.redis_refuses = False
        """Whether Redis answered the latest sample with an error."""
        self._redis_failing_since: float | None = None
        self._redis_ms_ahead = 0.0
        """Redis TIME minus time.monotonic(), in ms."""
        self._succeeded_at: dict[str, float] = {}
        self._ping: asyncio.Task[None] | None = None

    async def sample_database(self, within_s: float | None = None) -> None:
        """Ping the database, and wait for the result; for `within_s` at most, while the ping goes on."""
        if self._ping is None or self._ping.done():
            self._ping = asyncio.create_task(self._ping_database(), name="ping")
        try:
            await asyncio.wait({self._ping}, timeout=within_s)
        except asyncio.CancelledError:
            self.stop()
            raise
        if self._ping.done():
            self._ping.result()

    def stop(self) -> None:
        """End a ping that goes on."""
        if self._ping:
            self._ping.cancel()

    async def _ping_database(self) -> None:
        began_at, self.database_ms = time.monotonic(), None
        try:
            async with asyncio.timeout(self._timing.sample_every_s):
                await self._store.ping()
        except TimeoutError:
            reason = f"no answer within {self._timing.sample_every_s:g} s"
            self._failed(StoreUnavailableError(reason), reason)
        except StoreError as error:
            self._failed(error, str(error))
        else:
            self.database_ms = _ms_since(began_at)
            self._succeeded(DATABASE)

    async def sample_schedule(self, node: str, report: bytes, answered: SyncRequest | None = None) -> None:
        """Write the report of this replica and its events, and read the schedule.

        `answered`: the request for a sync that the report answers.
        """
        events = self._recorder.encoded(node, self.redis_ms) if self.stats else []  # Redis TIME is not known before
        began_at, self.round_trip_ms = time.monotonic(), None
        try:
            stored = answered.stored if answered else b""
            stats = await self._schedule.stats(node=node, report=report, events=events, answered=stored)
        except RedisError as error:
            self._failed(error, str(error) or "no answer")
            self._redis_failing_since = self._redis_failing_since or began_at
            self.redis_refuses = isinstance(error, RedisRefusedError)
            self._metrics.oldest_due_age.set(math.nan)
            return
        self._succeeded(REDIS)
        self._redis_failing_since, self.redis_refuses = None, False
        self.waits.add(stats.now_ms, stats.oldest_due_age_s)
        if stats.events_refused:
            self._recorder.refused(stats.events_refused)
        elif not stats.write_refused:
            self._recorder.written()
        self.stats = stats
        self.round_trip_ms = _ms_since(began_at)
        now = time.monotonic()
        self._redis_ms_ahead = stats.now_ms - 1000 * now
        self.leaderless_since = None if stats.leader else self.leaderless_since or now
        self._metrics.due_depth.set(stats.due)
        self._metrics.lease_depth.set(stats.leased)
        self._metrics.late_depth.set(stats.late)
        self._metrics.oldest_due_age.set(stats.oldest_due_age_s)
        self._metrics.held.set(stats.held)
        self._metrics.held_all.set(stats.hold is not None)
        self._metrics.clock_skew.set(stats.clock_skew_s)

    async def sample_queue(self) -> None:
        """Inspect the queue, if the broker has one that can be read."""
        try:
            queue = await self._broker.inspect()
        except DependencyError as error:
            self._dependencies.failed(error, "queue")
            for state in self.queue.depths if self.queue else ():
                self._metrics.queue_depth.labels(state).set(math.nan)
            metrics = self._metrics
            for gauge in (metrics.oldest_pending_age, metrics.worker_slots, metrics.worker_slots_needed):
                gauge.set(math.nan)
            return
        if queue is None:
            return
        self._dependencies.succeeded(self._broker.dependency, "queue")
        self.workload.add(queue)
        self.queue = self._with_age(queue)
        self.unserved_since = None if self._is_served() else self.unserved_since or time.monotonic()
        for state, depth in self.queue.depths.items():
            self._metrics.queue_depth.labels(state).set(depth)
        self._metrics.oldest_pending_age.set(self.queue.oldest_pending_s or 0.0)
        look = Look(self.stats, self.queue)
        self._metrics.worker_slots.set(look.slots)
        self._metrics.worker_slots_needed.set(math.nan if look.slots_needed is None else look.slots_needed)

    def _is_served(self) -> bool:
        """Whether a worker process is registered for the queue, or one that is not has finished a task."""
        return Look(None, self.queue).is_served or self.workload.has_progressed

    def _with_age(self, queue: Queue) -> Queue:
        """Return `queue`, with the observed age if tasks are pending and their ages are unknown."""
        now = time.monotonic()
        unaged = queue.next_task if queue.oldest_pending_s is None else None
        if unaged != self.unaged_task:
            self.unaged_task, self._unaged_since = unaged, now
        return queue if unaged is None else replace(queue, oldest_pending_s=now - self._unaged_since)

    @property
    def leaderless_s(self) -> float:
        """Seconds from the first to the last of the latest samples that found no leader: one alone may be 5 s old."""
        since = self.leaderless_since
        return 0.0 if since is None else max(0.0, self._succeeded_at.get(REDIS, since) - since)

    @property
    def now_ms(self) -> int:
        """Redis TIME in ms, as of the latest sample."""
        return self.redis_ms(time.monotonic())

    def redis_ms(self, at: float) -> int:
        """Return the Redis TIME in ms at `at` of time.monotonic(), as of the latest sample."""
        return int(1000 * at + self._redis_ms_ahead)

    def failing(self) -> dict[str, str]:
        """Return why dependencies cannot be used: calls failed, the latest sample did, or there is no recent one."""
        reasons = self.failures | {name: trouble.reason for name, trouble in self._dependencies.troubles.items()}
        for dependency in (REDIS, DATABASE):
            if dependency not in reasons and (reason := self._stale(dependency)):
                reasons[dependency] = reason
        return reasons

    def unread(self) -> tuple[str, float | None] | None:
        """Return why the schedule cannot be read now, and since when by time.monotonic(); None if it can be.

        Other calls to Redis may fail although it can be read.
        """
        reason = self.failures.get(REDIS) or self._stale(REDIS)
        return (reason, self._redis_failing_since or self._succeeded_at.get(REDIS)) if reason else None

    def _stale(self, dependency: str) -> str | None:
        age_s = time.monotonic() - self._succeeded_at.get(dependency, -math.inf)
        if age_s <= self._timing.stale_after_s:
            return None
        return "no answer yet" if math.isinf(age_s) else f"no answer for {age_s:.0f} s"

    def _failed(self, error: DependencyError, reason: str) -> None:
        self.failures[error.dependency] = reason
        self._dependencies.failed(error, "vitals")

    def _succeeded(self, dependency: str) -> None:
        self._succeeded_at[dependency] = time.monotonic()
        self.failures.pop(dependency, None)
        self._dependencies.succeeded(dependency, "vitals")


def _ms_since(began_at: float) -> float:
    return round(1000 * (time.monotonic() - began_at), 2)
