"""One replica: opens everything, starts its named tasks, watches them, and stops them in order."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from importlib.metadata import version

import structlog
from redis.exceptions import RedisError

from peekaping_producer import logs
from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.errors import StartInterruptedError, TaskDiedError
from peekaping_producer.metrics import Metrics
from peekaping_producer.monitors.events import CHANNELS
from peekaping_producer.monitors.task import TaskBuilder
from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.replica_report import MOST_ANOMALIES, ReplicaReport
from peekaping_producer.operations.rights import USES
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.loops.claims import Claims
from peekaping_producer.producer.loops.events import EventListener
from peekaping_producer.producer.loops.hints import Hints
from peekaping_producer.producer.loops.leader import Leader
from peekaping_producer.producer.loops.reclaimer import Reclaimer
from peekaping_producer.producer.loops.summary import Summary
from peekaping_producer.producer.loops.sync import Sync
from peekaping_producer.producer.loops.vitals import Vitals
from peekaping_producer.producer.loops.worker import Worker
from peekaping_producer.redis_client.client import check_rights, check_server, redis_for
from peekaping_producer.redis_client.server import eviction_policy
from peekaping_producer.schedule import Schedule
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.isolation import Suspects
from peekaping_producer.service.startup import Startup
from peekaping_producer.settings import Settings
from peekaping_producer.stores import store_for
from peekaping_producer.web.server import HealthServer

log = structlog.stdlib.get_logger()

_MOST_STORE_CONNECTIONS = 10
_LAST_STEPS_S = 3.0
"""Of SHUTDOWN_GRACE, kept for giving back, resigning and closing."""
_LAST_WORDS_S = 0.2
"""For the log, where a second signal ends the replica at once."""
DEGRADED_FOR_S = 15.0
"""A table whose last known content was used within this time does not answer now."""
_SIDE_LOOPS = 8
"""Loops beside the workers that may each hold a Redis connection."""


class Producer:
    """Built from settings; `run` is the whole life of the replica."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._stopped_by: signal.Signals | None = None
        self._redis_target = settings.redis_target()
        self._redis = redis_for(self._redis_target, connections=settings.producer_concurrency + _SIDE_LOOPS)
        self._store = store_for(
            settings.database_target(), connections=min(settings.producer_concurrency, _MOST_STORE_CONNECTIONS) + 3
        )
        self._metrics = metrics = Metrics(version("peekaping-producer"), dropped_lines=logs.dropped_lines)
        self._dependencies = dependencies = Dependencies(metrics)
        self._schedule = Schedule(self._redis, lease_ttl_s=settings.lease_ttl)
        broker = AsynqBroker(self._redis)
        self._suspects = suspects = Suspects()
        metrics.set_aside.set_function(lambda: len(suspects))
        self._claims = Claims(self._schedule, metrics, batch=settings.claim_batch)
        self._anomalies = anomalies = Anomalies(metrics)
        builder = TaskBuilder(server_zone=settings.tz, report=anomalies.report)
        self._workers = [
            Worker(
                number,
                claims=self._claims,
                schedule=self._schedule,
                store=self._store,
                builder=builder,
                broker=broker,
                suspects=suspects,
                anomalies=anomalies,
                metrics=metrics,
                dependencies=dependencies,
            )
            for number in range(settings.producer_concurrency)
        ]
        self._reclaimer = Reclaimer(self._schedule, self._claims, metrics, dependencies)
        self._hints = Hints(
            self._schedule, self._store, self._claims, anomalies=anomalies, metrics=metrics, dependencies=dependencies
        )
        self._sync = Sync(
            schedule=self._schedule,
            store=self._store,
            broker=broker,
            hints=self._hints,
            anomalies=anomalies,
            metrics=metrics,
            dependencies=dependencies,
            interval_s=settings.sync_interval,
        )
        self._listener = EventListener(
            self._redis,
            self._hints,
            is_id=self._store.is_id,
            on_subscribed=self._sync.request,
            metrics=metrics,
            dependencies=dependencies,
        )
        self._leader = Leader(self._schedule, self._lead, metrics, dependencies)
        self._vitals = Vitals(
            self._leader.node,
            schedule=self._schedule,
            store=self._store,
            broker=broker,
            dependencies=dependencies,
            metrics=metrics,
        )
        self._vitals.sources = [self._conditions]
        self._vitals.describe = self._report
        self._summary = Summary(
            self._leader.node, stats=self._schedule.stats, metrics=metrics, dependencies=dependencies
        )
        self._health = HealthServer(self._vitals, metrics)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask for a graceful stop; a second time means at once.

        SIGHUP does not count for that: a terminal that closes sends several, and service managers send it along.
        """
        if self._stopped_by in {signal.SIGTERM, signal.SIGINT}:
            if how is signal.SIGHUP:
                return
            log.warning("producer.killed", message="Second signal: exiting at once.")
            logs.drain(within_s=_LAST_WORDS_S)
            os._exit(1)
        if not self._stopping.is_set():
            log.info("producer.stopping", message="Shutdown signal received, stopping producer...")
        self._stopped_by = how
        self._stopping.set()

    async def run(self) -> None:
        """Run until stopped.

        Raises TaskDiedError if a task ends that should not, StartInterruptedError after Ctrl-C during the start, and
        what `_open` raises.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                asyncio.get_running_loop().add_signal_handler(number, self.stop, number)
        try:
            opening = asyncio.create_task(self._open(), name="start-up")
            started = await self._unless_stopped(opening)
            if started:
                await self._work()
            else:
                await cancel_and_wait(opening)
        finally:
            await self._close()
        log.info("producer.stopped", message="Producer stopped gracefully")
        if not started and self._stopped_by is signal.SIGINT:
            raise StartInterruptedError("interrupted during the start")

    async def _unless_stopped(self, *tasks: asyncio.Task[None]) -> bool:
        """Wait for the first of `tasks` to end and raise what it raised; False when asked to stop before that."""
        stopping = asyncio.create_task(self._stopping.wait())
        done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in tasks:
            if task in done:
                task.result()
                return True
        return False

    async def _open(self) -> None:
        """Reach Redis and the database, both within STARTUP_TIMEOUT.

        Raises UnreachableError after that time, and ScheduleError or StoreError at once where waiting will not help.
        """
        startup = Startup(self._settings.startup_timeout)
        server = await startup.reach("Redis", self._check_redis)
        await startup.reach("The database", self._store.open)
        log.info(
            "producer.connected",
            message="Redis and the database answer.",
            redis=str(self._redis_target),
            redis_version=server,
            database=str(self._settings.database_target()),
        )
        if address := self._settings.metrics_address:
            self._health.bind(*address, required=self._settings.metrics_addr_explicit)

    async def _check_redis(self) -> str:
        version = await check_server(self._redis, self._redis_target)
        await check_rights(self._redis, self._redis_target, USES, CHANNELS)
        policy = await eviction_policy(self._redis)
        if policy not in {None, "noeviction"}:
            log.warning(
                "redis.eviction_enabled",
                message="Redis may evict the schedule and pending tasks: set maxmemory-policy to noeviction.",
                policy=policy,
            )
        return version

    async def _work(self) -> None:
        workers = [asyncio.create_task(worker.run(), name=worker.loop.name) for worker in self._workers]
        sides = [
            asyncio.create_task(side.run(), name=side.loop.name)
            for side in (self._reclaimer, self._vitals, self._summary, self._leader)
        ]
        self._vitals.watched = [
            *(worker.loop for worker in self._workers),
            *(each.loop for each in (self._reclaimer, self._leader, self._hints, self._listener, self._sync)),
        ]
        log.info(
            "producer.started",
            message="Producer is running.",
            node=self._leader.node,
            workers=len(workers),
            claim_batch=self._settings.claim_batch,
        )
        tasks = [*workers, *sides]
        died: TaskDiedError | None = None
        try:
            await self._health.serve()
            await self._unless_stopped(*tasks)
        except Exception as error:
            name = next((task.get_name() for task in tasks if task.done()), "?")
            died = TaskDiedError(f"the {name} task ended: {type(error).__name__}: {error}")
            died.__cause__ = error
        await self._drain(workers, sides)
        if died:
            raise died

    def _conditions(self) -> Iterator[Condition]:
        """What the parts of this replica know to be wrong."""
        if self._sync.refused_removal:
            yield Condition(
                "database_empty",
                "The database shows no active monitor while the schedule holds some: nothing is removed, and nothing "
                "can be checked.",
            )
        for table, reason in self._anomalies.degraded_tables(DEGRADED_FOR_S).items():
            yield Condition("database_degraded", f"What was last known of {table} is used: {reason}")
        if self._suspects:
            yield Condition(
                "monitors_set_aside",
                f"{len(self._suspects)} of the monitors failed on their own here, and are tried again after a wait.",
            )
        if self._sync.unschedulable:
            yield Condition(
                "monitors_unschedulable",
                f"{self._sync.unschedulable} of the active monitors cannot be scheduled as they are.",
            )

    def _report(self, conditions: tuple[Condition, ...]) -> ReplicaReport:
        return ReplicaReport(
            leads=self._leader.term is not None,
            conditions=conditions,
            anomalies=tuple(self._anomalies.current()[:MOST_ANOMALIES]),
            set_aside=len(self._suspects),
            unschedulable=self._sync.unschedulable,
        )

    async def _lead(self, term: str) -> None:
        """What only the leader does, for one term. Raises StaleTermError when Redis says that it is over."""
        tasks = [
            asyncio.create_task(self._listener.run(), name="events"),
            asyncio.create_task(self._hints.run(term), name="hints"),
            asyncio.create_task(self._sync.run(term), name="sync"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await cancel_and_wait(*tasks)

    async def _drain(self, workers: list[asyncio.Task[None]], sides: list[asyncio.Task[None]]) -> None:
        """Stop in order: claim no more, finish what is in hand, give back the rest, resign, end the other loops."""
        started_at = time.monotonic()
        self._vitals.draining = True
        self._claims.close()
        grace_s = self._settings.shutdown_grace
        await asyncio.wait(workers, timeout=max(grace_s - _LAST_STEPS_S, grace_s / 2))
        unfinished = [worker for worker in workers if not worker.done()]
        await cancel_and_wait(*unfinished)
        given_back = await self._give_back()
        for side in reversed(sides):  # the leader first: a follower should not wait for the others
            await cancel_and_wait(side)
        log.info(
            "producer.drained",
            message="What was claimed is handed off, given back, or left to its lease.",
            unfinished_workers=len(unfinished),
            given_back=given_back,
            took_ms=round((time.monotonic() - started_at) * 1000),
        )

    async def _give_back(self) -> int:
        given_back = 0
        for claim in list(self._claims.outstanding.values()):
            try:
                given_back += await self._claims.give_back(claim)
            except (RedisError, OSError):
                break  # Redis is away: the leases end by themselves
        return given_back

    async def _close(self) -> None:
        for close in (self._health.stop, self._store.close, self._redis.aclose):
            try:
                await close()
            except Exception as error:  # what does not close in order ends with the process, and keeps nothing open
                log.warning("producer.close_failed", message="Something did not close in order.", error=str(error))
