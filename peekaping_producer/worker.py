"""One of a replica's workers: claim, load, build, hand off."""

import asyncio
from contextlib import AsyncExitStack

import structlog
from redis.exceptions import RedisError

from peekaping_producer.brokers import Broker, HandOff
from peekaping_producer.claims import Claims
from peekaping_producer.dependencies import DATABASE, REDIS, Dependencies
from peekaping_producer.errors import StoreError, StoreUnavailableError
from peekaping_producer.loop import Loop
from peekaping_producer.metrics import Metrics
from peekaping_producer.oddities import Oddities
from peekaping_producer.schedule import Claim, Outcome, Schedule
from peekaping_producer.stores import Loaded, MonitorStore, Session
from peekaping_producer.task import HealthCheckTask, TaskBuilder

log = structlog.stdlib.get_logger()

LOAD_WITHIN_S = 10.0
"""More than one slow statement; less than what makes a loop look wedged."""


class Worker:
    """Takes one claim at a time through to the queue. Many may run side by side."""

    def __init__(
        self,
        number: int,
        *,
        claims: Claims,
        schedule: Schedule,
        store: MonitorStore,
        builder: TaskBuilder,
        broker: Broker,
        oddities: Oddities,
        metrics: Metrics,
        dependencies: Dependencies,
    ) -> None:
        self.loop = Loop(f"worker-{number}", dependencies, uses=(REDIS, DATABASE), kind="worker")
        self._log = log.bind(worker_id=number)
        self._claims = claims
        self._schedule = schedule
        self._store = store
        self._builder = builder
        self._broker = broker
        self._oddities = oddities
        self._metrics = metrics

    async def run(self) -> None:
        """Work until the claims are closed."""
        await self.loop.run(self.run_once)

    async def run_once(self) -> float:
        """Take one claim through; returns 0, for there may be more.

        The database connection comes before the claim: workers that wait for one hold no lease meanwhile.
        """
        self.loop.rest()
        async with AsyncExitStack() as connection:
            async with self._claims.turn:
                self.loop.beat()
                # At a stop with the database away, each would wait for a connection in turn.
                self._claims.require_open()
                session = await connection.enter_async_context(self._store.session())
                # Holding the turn and a connection, for hours perhaps.
                while (claim := await self._claims.next(self.loop)) is None:
                    await session.ping()
                    self.loop.worked(DATABASE)
            loaded = await self._load(session, claim)
        try:
            await self._hand_off(claim, loaded)
        except (RedisError, OSError):
            self._claims.settle(claim)  # nothing can be given back now: the lease runs out
            raise
        self._claims.settle(claim)
        return 0.0

    async def _load(self, session: Session, claim: Claim) -> Loaded:
        """Read the monitors; where the database fails, they are due again at once."""
        self.loop.beat()
        try:
            async with asyncio.timeout(LOAD_WITHIN_S):
                loaded = await session.load(list(claim.due))
        except TimeoutError:
            await self._claims.give_back(claim)
            raise StoreUnavailableError(f"a batch was not read within {LOAD_WITHIN_S:g} s") from None
        except StoreError:
            await self._claims.give_back(claim)
            raise
        self.loop.worked(DATABASE)
        return loaded

    async def _hand_off(self, claim: Claim, loaded: Loaded) -> None:
        """Hand off what runs and drop what does not. An absent or broken row is left to its lease and read again."""
        self.loop.beat()
        runs = [check for check in loaded.checks.values() if check.monitor.runs]
        tasks = self._builder.build(runs, claim.now_ms)
        if tasks:
            self._account(claim, tasks, await self._broker.hand_off(claim, tasks))
        if len(tasks) < len(claim.due):
            await self._drop(claim, loaded)

    async def _drop(self, claim: Claim, loaded: Loaded) -> None:
        drops = [monitor_id for monitor_id, check in loaded.checks.items() if not check.monitor.runs]
        for monitor_id, reason in loaded.broken.items():
            self._oddities.report(monitor_id, "monitor.unreadable", reason)
        for monitor_id in claim.due:
            if not self._store.is_id(monitor_id):
                self._oddities.report(monitor_id, "schedule.foreign_member", "No monitor id of this database: removed.")
                drops.append(monitor_id)
        if drops:
            dropped = await self._schedule.drop(claim, drops)
            self._metrics.handed_off.labels(Outcome.DROPPED.value).inc(dropped)
            self._log.info("claim.dropped", message="Took monitors that do not run out of the schedule.", count=dropped)

    def _account(self, claim: Claim, tasks: list[HealthCheckTask], handed: HandOff) -> None:
        counts = dict.fromkeys(Outcome, 0)
        counts[Outcome.ENQUEUED] = len(tasks) - len(handed.exceptions)
        for outcome in handed.exceptions.values():
            counts[outcome] += 1
        for outcome, count in counts.items():
            if count:
                self._metrics.handed_off.labels(outcome.value).inc(count)

        lags_ms, missed = [], 0
        for task in tasks:
            if handed.exceptions and handed.exceptions.get(task.monitor_id) in (Outcome.LOST, Outcome.UNCONFIRMED):
                continue
            lag_ms = handed.now_ms - claim.due[task.monitor_id]
            lags_ms.append(lag_ms)
            if lag_ms >= task.interval * 1000:
                missed += missed_ticks(claim.due[task.monitor_id], handed.now_ms, task.interval)
        self._metrics.schedule_lag.observe_all(lag_ms / 1000 for lag_ms in lags_ms)
        if missed:
            self._metrics.missed_ticks.inc(missed)
        self._log.debug(
            "claim.handed_off",
            message="Handed a batch of tasks to the queue.",
            claimed=len(claim.due),
            max_lag_ms=round(max(lags_ms, default=0)),
            missed=missed,
            **{outcome.value: count for outcome, count in counts.items() if count},
        )


def missed_ticks(due_ms: float, now_ms: int, interval: int) -> int:
    """Ticks after the due time and up to `now_ms`: they never run, for the next to run lies after `now_ms`."""
    period_ms = interval * 1000
    return now_ms // period_ms - int(due_ms // period_ms)
