"""Samples what a replica depends on, and answers the probes from the samples."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from peekaping_producer.errors import DATABASE, REDIS, RedisError
from peekaping_producer.operations import replica_report
from peekaping_producer.operations.conditions import Condition, Level
from peekaping_producer.operations.longest_waits import LongestWaits
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.replica_report import ReplicaReport
from peekaping_producer.operations.verdict import verdict
from peekaping_producer.producer.activity import Activity
from peekaping_producer.producer.condition_log import ConditionLog
from peekaping_producer.producer.event_recorder import EventRecorder
from peekaping_producer.producer.loops.leader import Leader
from peekaping_producer.producer.loops.sync import Sync
from peekaping_producer.producer.lost_replicas import LostReplicas
from peekaping_producer.producer.replica_conditions import ReplicaConditions
from peekaping_producer.producer.sampler import Sampler
from peekaping_producer.producer.timing import TIMING, Timing
from peekaping_producer.schedule import Schedule
from peekaping_producer.service.aio import wait_for_event
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop
from peekaping_producer.service.text import one_line

log = structlog.stdlib.get_logger()

SAMPLES_PER_QUEUE = 3
"""The queue is inspected once in this many samples."""


class Vitals:
    """Samples Redis and the database every few seconds. Probes read the samples, and cost nothing."""

    def __init__(
        self,
        *,
        sampler: Sampler,
        schedule: Schedule,
        leader: Leader,
        sync: Sync,
        conditions: ReplicaConditions,
        report: Callable[[list[Condition]], ReplicaReport],
        activity: Activity,
        watched: Sequence[Loop],
        condition_log: ConditionLog,
        recorder: EventRecorder,
        dependencies: Dependencies,
        timing: Timing = TIMING,
    ) -> None:
        """`report`: composes the report, with these conditions. `watched`: the loops that must advance."""
        self.loop = Loop("vitals", dependencies, uses=())
        self._sampler = sampler
        self._schedule = schedule
        self._leader = leader
        self._sync = sync
        self._conditions = conditions
        self._report_of = report
        self._activity = activity
        self._watched = (self.loop, *watched)
        self._condition_log = condition_log
        self._recorder = recorder
        self._dependencies = dependencies
        self._timing = timing
        self._lost = LostReplicas(recorder)
        self._wanted = asyncio.Event()
        self._samples = 0
        self._partial_samples = 0
        """While a page is open: samples of the schedule alone since the last full one, and it."""

    async def run(self) -> None:
        """Sample until canceled; then write the last events, and remove the replica's report from Redis."""
        self._recorder.record("producer.started", f"{self._leader.node} is running.")
        try:
            await self.loop.run(self._turn)
        finally:
            self._recorder.record("producer.stopped", f"{self._leader.node} has stopped.")
            self._sampler.stop()
            await self._leave()

    def sample_soon(self) -> None:
        """Begin the next sample now: a page was opened."""
        self._wanted.set()

    async def _turn(self) -> float:
        """Sample, and wait until the next sample is due or wanted."""
        pause_s = await self.run_once()
        self.loop.turn_succeeded()
        with self.loop.waiting():
            await wait_for_event(self._wanted, pause_s)
        self._wanted.clear()
        return 0.0

    async def _leave(self) -> None:
        """Write the last events and remove the report; without an answer of Redis, it counts as gone once it is old."""
        if REDIS not in self._sampler.failures:
            await self._sampler.sample_schedule(self._leader.node, b"")
        if REDIS not in self._sampler.failures:
            with suppress(RedisError):
                await self._schedule.forget_report(self._leader.node)

    async def run_once(self) -> float:
        """Sample once; returns the seconds until the next sample."""
        if self._partial_samples == 0:
            # First: its state is in the report that follows, which does not wait for a database that hangs: a replica
            # without a report counts as silent.
            await self._sampler.sample_database(self._timing.sample_watched_every_s)
            self.loop.progressed()
        observed = self._conditions.reported() if self._samples else []  # nothing is known before the first sample
        report = replica_report.encode_report(self._report_of(observed))
        await self._sampler.sample_schedule(self._leader.node, report, self._sync.answered)
        self._follow_sync_request()
        if self._partial_samples == 0:
            if self._samples % SAMPLES_PER_QUEUE == 0:
                await self._sampler.sample_queue()
            self._samples += 1
        self._judge()
        return self._pause_s()

    def _judge(self) -> None:
        """Report the conditions and the verdict.

        They depend on what other programs wrote to Redis: an unforeseen error leaves them unknown, and does not end
        the replica.
        """
        try:
            look = self.look()
            self._activity.is_late = look.is_late
            self._lost.update(look, leads=self._leader.term is not None)
            records_for_fleet = look.first_node in {self._leader.node, ""}
            self._condition_log.update(self.conditions(), verdict(look).code, records_for_fleet=records_for_fleet)
        except Exception as error:  # see above: other programs wrote what it reads
            self._condition_log.fail(error)

    def _follow_sync_request(self) -> None:
        """Let the sync of the leader answer a person who asks for one."""
        request = self._sampler.stats.sync_request if self._sampler.stats else None
        if request is None or self._leader.term is None or not self._sync.answer(request):
            return
        message = f"{one_line(request.who)} asked the leader to sync."
        log.info("sync.requested", message=message)
        self._recorder.record("sync.requested", message)

    @property
    def _is_watched(self) -> bool:
        """Whether a page is open."""
        return self._sampler.stats is not None and self._sampler.stats.is_watched

    def _pause_s(self) -> float:
        """Return the seconds until the next sample: fewer while a page is open."""
        if not self._is_watched or REDIS in self._sampler.failures:
            self._partial_samples = 0
            return self._timing.sample_every_s
        every_s = self._timing.sample_watched_every_s
        self._partial_samples = (self._partial_samples + 1) % round(self._timing.sample_every_s / every_s)
        return every_s

    @property
    def node(self) -> str:
        """The name of this replica among the replicas."""
        return self._leader.node

    @property
    def waits(self) -> LongestWaits:
        """The longest waits that the samples have found."""
        return self._sampler.waits

    def now_ms(self) -> int:
        """Return Redis TIME; the local time until Redis has answered."""
        return self._sampler.redis_ms(time.monotonic()) if self._sampler.stats else int(time.time() * 1000)

    def look(self) -> Look:
        """Return the latest samples of the schedule, the queue and the heartbeats."""
        sampler = self._sampler
        failure, since = sampler.unread() or (None, None)

        def redis_ms(at: float | None) -> int | None:
            return None if at is None or sampler.stats is None else sampler.redis_ms(at)

        return Look(
            sampler.stats,
            sampler.queue,
            redis_failure=failure,
            redis_refuses=sampler.redis_refuses,
            redis_failing_since_ms=redis_ms(since),
            leaderless_since_ms=redis_ms(sampler.leaderless_since),
        )

    def verdict(self) -> dict[str, str]:
        """Return the verdict on the latest samples: `code`, `sentence` and `details`."""
        try:
            found = verdict(self.look())
        except Exception:  # logged at each sample, see _judge
            return {"code": "unknown", "sentence": "An unforeseen error: see the log of this replica.", "details": ""}
        return {"code": found.code.value, "sentence": found.sentence, "details": found.details}

    def conditions(self) -> list[Condition]:
        """All current conditions; those of Redis as last seen, if it does not answer."""
        return self._conditions.current()

    def may_lead(self) -> bool:
        """Return False while this replica cannot read the database, and another one can work."""
        trouble, stats = self._dependencies.troubles.get(DATABASE), self._sampler.stats
        if trouble is None or time.monotonic() - trouble.since < self._timing.yield_after_s:
            return True
        if stats is None or REDIS in self._sampler.failures:
            return True
        reports = replica_report.replicas_of(stats).items()
        return not any(report.can_work for node, report in reports if node != self._leader.node)

    def stalled(self) -> list[str]:
        """Return the loops that are at work and do not advance; empty means alive."""
        max_s = self._timing.stalled_after_s
        return [f"{loop.name}: {loop.stalled_s:.0f} s" for loop in self._watched if loop.stalled_s > max_s]

    def unready(self) -> dict[str, str]:
        """Return why this replica cannot work, by condition code; empty means ready."""
        return {found.code: found.reason for found in self.conditions() if found.level is Level.UNREADY}

    def notes(self) -> list[str]:
        """Return the conditions that do not keep this replica from its work, each as `code: reason`."""
        return [f"{found.code}: {found.reason}" for found in self.conditions() if found.level is not Level.UNREADY]
