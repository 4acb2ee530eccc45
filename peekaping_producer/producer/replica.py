"""The life of one replica: open, start, watch, drain, close."""

import asyncio
import os
import signal
import time

import structlog

from peekaping_producer import logs
from peekaping_producer.errors import StartInterruptedError, TaskDiedError
from peekaping_producer.monitors.events import CHANNELS
from peekaping_producer.operations.rights import USES
from peekaping_producer.producer.parts import Parts
from peekaping_producer.redis_client.client import check_rights, check_server
from peekaping_producer.redis_client.server import eviction_policy
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.startup import Startup
from peekaping_producer.service.stop_signals import StopSignals

log = structlog.stdlib.get_logger()

_LOG_WITHIN_S = 0.2
"""Time to write the log before an immediate exit."""


class Replica:
    """Starts, runs and stops one replica."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._settings = parts.settings
        self._opening: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._stopped_by: signal.Signals | None = None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop gracefully."""
        if not self._stopping.is_set():
            log.info("producer.stopping", message="Shutdown signal received, stopping producer...")
        self._stopped_by = how
        self._stopping.set()
        if self._opening:
            self._opening.cancel()  # at once, so that a failing attempt logs nothing after this

    async def run(self) -> None:
        """Run until stopped.

        Raises TaskDiedError if a task ends that should not, StartInterruptedError after Ctrl-C during the start, and
        what `_open` raises.
        """
        StopSignals(self.stop, _abort).listen()
        try:
            self._opening = asyncio.create_task(self._open(), name="start-up")
            started = await self._unless_stopped(self._opening)
            if started:
                await self.work()
            else:
                await cancel_and_wait(self._opening)
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
            if task in done and not (task is self._opening and self._stopping.is_set()):
                task.result()
                return True
        return False

    async def _open(self) -> None:
        """Reach Redis, the database and the broker, all within STARTUP_TIMEOUT.

        Raises UnreachableError after that time; RedisUnusableError, StoreRefusedError or BrokerRefusedError at once:
        waiting will not help.
        """
        startup = Startup(self._settings.startup_timeout)
        server = await startup.reach("Redis", self._check_redis)
        late = await startup.reach("The database", self.parts.store.open)
        await startup.reach("The broker", self.parts.broker.open)
        log.info(
            "producer.connected",
            message="Redis and the database answer.",
            redis=str(self._settings.redis_target()),
            redis_version=server,
            database=str(self._settings.database_target()),
            broker=self._settings.broker or "asynq",
        )
        for table, reason in late.items():
            self.parts.anomalies.degraded(table, reason)
        if address := self._settings.metrics_address:
            self.parts.health.bind(*address, required=self._settings.metrics_addr_explicit)
        self.parts.page.bind()

    async def _check_redis(self) -> str:
        target = self._settings.redis_target()
        version = await check_server(self.parts.redis, target)
        await check_rights(self.parts.redis, target, USES, CHANNELS)
        policy = await eviction_policy(self.parts.redis)
        if policy not in {None, "noeviction"}:
            log.warning(
                "redis.eviction_enabled",
                message="Redis may evict the schedule and pending tasks: set maxmemory-policy to noeviction.",
                policy=policy,
            )
        return version

    async def work(self) -> None:
        """Run all loops until asked to stop, and drain. Raises TaskDiedError if one ends that should not."""
        workers = [asyncio.create_task(worker.run(), name=worker.loop.name) for worker in self.parts.workers]
        background = [
            asyncio.create_task(side.run(), name=side.loop.name)
            for side in (self.parts.reclaimer, self.parts.vitals, self.parts.summary, self.parts.leader)
        ]
        log.info(
            "producer.started",
            message="Producer is running.",
            node=self.parts.leader.node,
            workers=len(workers),
            claim_batch=self._settings.claim_batch,
        )
        tasks = [*workers, *background]
        died: TaskDiedError | None = None
        try:
            await self.parts.health.serve()
            await self.parts.page.serve()
            await self._unless_stopped(*tasks)
        except Exception as error:  # any error of a loop ends the replica, after the drain
            name = next((task.get_name() for task in tasks if task.done()), "?")
            died = TaskDiedError(f"the {name} task ended: {type(error).__name__}: {error}")
            died.__cause__ = error
        await self._drain(workers, background)
        if died:
            raise died

    async def _drain(self, workers: list[asyncio.Task[None]], background: list[asyncio.Task[None]]) -> None:
        """Stop in order: claim no more, finish what is in hand, give back the rest, resign, end the other loops."""
        started_at = time.monotonic()
        self.parts.conditions.draining = True
        self.parts.claims.close()
        self.parts.page.end_streams()
        grace_s = self._settings.shutdown_grace
        await asyncio.wait(workers, timeout=max(grace_s - self.parts.timing.shutdown_reserve_s, grace_s / 2))
        unfinished = [worker for worker in workers if not worker.done()]
        await cancel_and_wait(*unfinished)
        given_back = await self.parts.claims.give_back_all()
        for side in reversed(background):  # the leader first: a follower should not wait for the others
            await cancel_and_wait(side)
        log.info(
            "producer.drained",
            message="All claims are handed off, given back, or left to their leases.",
            unfinished_workers=len(unfinished),
            given_back=given_back,
            took_ms=round((time.monotonic() - started_at) * 1000),
        )

    async def _close(self) -> None:
        parts = self.parts
        for close in (parts.page.stop, parts.health.stop, parts.broker.close, parts.store.close, parts.redis.aclose):
            try:
                await close()
            except Exception as error:  # the process ends now: nothing stays open
                log.warning(
                    "producer.close_failed",
                    message="A connection or the port did not close properly.",
                    error=str(error),
                )


def _abort() -> None:
    log.warning("producer.aborted", message="Second signal: exiting at once.")
    logs.drain(within_s=_LOG_WITHIN_S)
    os._exit(1)
