"""One of a replica's workers: claim, load, build, hand off."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack

import structlog

from peekaping_producer.brokers import Broker, HandOff, Outcome
from peekaping_producer.errors import (
    DATABASE,
    REDIS,
    BatchError,
    StoreError,
    StoreUnavailableError,
    UnreadableMonitorError,
)
from peekaping_producer.metrics import Metrics
from peekaping_producer.monitors.task import HealthCheckTask, TaskBuilder
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.loops.claims import Claims
from peekaping_producer.producer.suspects import Suspects
from peekaping_producer.producer.timing import TIMING, Timing
from peekaping_producer.schedule import Claim, Schedule
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.isolation import describe, isolate
from peekaping_producer.service.loop import Loop
from peekaping_producer.stores import Loaded, MonitorStore, Session

log = structlog.stdlib.get_logger()


class _PartNotReadError(StoreUnavailableError):
    """One part of a claim was not read; the other parts may still be."""


class Worker:
    """Works on one claim at a time. Many workers may run side by side."""

    def __init__(
        self,
        number: int,
        *,
        claims: Claims,
        schedule: Schedule,
        store: MonitorStore,
        builder: TaskBuilder,
        broker: Broker,
        suspects: Suspects,
        anomalies: Anomalies,
        metrics: Metrics,
        dependencies: Dependencies,
        timing: Timing = TIMING,
    ) -> None:
        """`suspects` is shared by the workers of a replica."""
        self.loop = Loop(f"worker-{number}", dependencies, uses=(REDIS, DATABASE), kind="worker")
        self._log = log.bind(worker_id=number)
        self._claims = claims
        self._schedule = schedule
        self._store = store
        self._builder = builder
        self._broker = broker
        self._suspects = suspects
        self._anomalies = anomalies
        self._metrics = metrics
        self._timing = timing

    async def run(self) -> None:
        """Work until the claims are closed."""
        await self.loop.run(self.run_once)

    async def run_once(self) -> float:
        """Work on one claim. Returns 0: more monitors may be due.

        The database connection comes before the claim: a worker that waits for a connection holds no lease.
        """
        async with AsyncExitStack() as connection:
            async with self._claims.exclusive(self.loop):
                session = await connection.enter_async_context(self._store.session())

                async def keep_alive() -> None:
                    await session.ping()
                    self.loop.worked(DATABASE)

                claim = await self._claims.next(self.loop, keep_alive)
            async with self._claims.settling(claim):
                await self._work_on(claim, session, connection)
        return 0.0

    async def _work_on(self, claim: Claim, first_session: Session, connection: AsyncExitStack) -> None:
        """Load and hand off the claim's monitors: in one batch, unless some of them have failed before.

        `connection` holds `first_session`; it is released after the first read.
        """
        sessions = [first_session]
        failed: dict[str, str] = {}

        async def attempt(ids: list[str]) -> None:
            try:
                async with connection if sessions else AsyncExitStack() as stack:
                    session = sessions.pop() if sessions else await stack.enter_async_context(self._store.session())
                    loaded = await self._load(session, ids)
            except StoreError as error:  # the session has ended, so that a ping finds a connection
                raise await self._classified(claim, ids, error) from None
            await self._hand_off(claim, ids, loaded)

        def set_aside(monitor_id: str, error: Exception) -> None:
            kind = "monitor.unreadable" if isinstance(error, UnreadableMonitorError) else "monitor.failed"
            self._anomalies.report(monitor_id, kind, f"Set aside: {describe(error)}.")
            failed[monitor_id] = kind

        for member in claim.removed:
            self._anomalies.report(
                member, "schedule.foreign_member", "Longer than any monitor id; removed from the schedule."
            )
        trouble: _PartNotReadError | BatchError | None = None
        for group in self._suspects.groups(claim.due):
            if time.monotonic() >= claim.ends_at:
                break  # a load took too long; the rest is reclaimed
            try:
                await isolate(group, attempt, set_aside)
            except (_PartNotReadError, BatchError) as error:
                trouble = error
        await self._set_aside(claim, failed)  # also before a BatchError: each turn then leaves fewer to fail
        if trouble:
            raise trouble

    async def _load(self, session: Session, ids: list[str]) -> Loaded:
        """Read the monitors. Raises StoreError."""
        try:
            async with asyncio.timeout(self._timing.load_within_s):
                loaded = await session.load(ids)
        except TimeoutError:
            raise StoreUnavailableError(f"a batch was not read within {self._timing.load_within_s:g} s") from None
        self.loop.worked(DATABASE)
        return loaded

    async def _classified(self, claim: Claim, ids: list[str], error: StoreError) -> StoreError:
        """Classify a failed load.

        If the database answers a ping, the monitors are due again, to be read in smaller parts (_PartNotReadError); one
        that fails alone again is to be set aside (UnreadableMonitorError). Otherwise returns the error itself.
        """
        if not await self._database_answers():
            return error
        if self._suspects.is_alone(ids):
            return UnreadableMonitorError(str(error))
        self._suspects.record_unread(ids)
        await self._claims.postpone(claim, ids, 0)
        return _PartNotReadError(str(error))

    async def _database_answers(self) -> bool:
        self.loop.advanced()
        try:
            async with asyncio.timeout(self._timing.ping_within_s):
                await self._store.ping()
        except (TimeoutError, StoreError):
            return False
        finally:
            self.loop.advanced()
        return True

    async def _hand_off(self, claim: Claim, ids: list[str], loaded: Loaded) -> None:
        """Hand off what runs, drop what does not, set aside what fails. An absent row is left to its lease."""
        runs = [check for check in loaded.monitors.values() if check.monitor.runs]
        tasks = self._builder.build(runs, claim.now_ms)
        failed: dict[str, str] = {}
        if tasks:
            handed = await self._broker.hand_off(claim, tasks)
            self._account(claim, tasks, handed)
            failed |= handed.refused
            for monitor_id, reason in handed.refused.items():
                self._anomalies.report(monitor_id, "monitor.refused", f"Its task is refused: {reason}.")
            for monitor_id in handed.overlaps:
                self._anomalies.report(
                    monitor_id, "monitor.overlapping", "Workers have not completed its task for many ticks."
                )
            for monitor_id in handed.wrong_type:
                self._anomalies.report(
                    monitor_id, "monitor.wrong_type", "The key of its task held another type: replaced."
                )
        if len(tasks) < len(ids):
            built = {task.monitor_id for task in tasks}
            failed |= loaded.broken | {c.monitor.id: "unbuilt" for c in runs if c.monitor.id not in built}
            for monitor_id, reason in loaded.broken.items():
                self._anomalies.report(monitor_id, "monitor.unreadable", reason)
            await self._drop(claim, ids, loaded)
            await self._let_wait(claim, loaded.waiting)
        for table, reason in loaded.degraded.items():
            self._anomalies.degraded(table, reason)
        self._suspects.record_success(each for each in ids if each not in failed)
        sizes = {task.monitor_id: len(task.payload) for task in tasks if failed}
        await self._set_aside(claim, failed, alone=False, sizes=sizes)

    async def _drop(self, claim: Claim, ids: list[str], loaded: Loaded) -> None:
        drops = [monitor_id for monitor_id, check in loaded.monitors.items() if not check.monitor.runs]
        for monitor_id in ids:
            if not self._store.is_id(monitor_id):
                self._anomalies.report(
                    monitor_id, "schedule.foreign_member", "Not a valid monitor id; removed from the schedule."
                )
                drops.append(monitor_id)
        if drops:
            dropped = await self._schedule.drop(claim, drops)
            self._metrics.handed_off.labels(Outcome.DROPPED.value).inc(dropped)
            self._log.info(
                "claim.dropped", message="Removed monitors that are paused or have no interval.", count=dropped
            )

    async def _let_wait(self, claim: Claim, waiting: Mapping[str, str]) -> None:
        for monitor_id, reason in waiting.items():
            self._anomalies.report(monitor_id, "monitor.waiting", reason)
        if waiting:
            await self._claims.postpone(claim, waiting, self._timing.retry_waiting_s)
            self._metrics.handed_off.labels(Outcome.WAITING.value).inc(len(waiting))

    async def _set_aside(
        self, claim: Claim, failed: dict[str, str], *, alone: bool = True, sizes: Mapping[str, int] | None = None
    ) -> None:
        """Make them due again later; each failure makes a monitor wait longer. `sizes`: of their tasks, in bytes."""
        by_delay: dict[float, list[str]] = {}
        for monitor_id in failed:
            size = sizes.get(monitor_id, 0) if sizes else 0
            by_delay.setdefault(self._suspects.record_failure(monitor_id, alone=alone, size=size), []).append(
                monitor_id
            )
        for delay_s, ids in by_delay.items():
            await self._claims.postpone(claim, ids, delay_s)
        if failed:
            self._metrics.handed_off.labels(Outcome.SET_ASIDE.value).inc(len(failed))

    def _account(self, claim: Claim, tasks: list[HealthCheckTask], handed: HandOff) -> None:
        counts = dict.fromkeys(Outcome, 0)
        counts[Outcome.ENQUEUED] = len(tasks) - len(handed.not_enqueued) - len(handed.refused)
        for outcome in handed.not_enqueued.values():
            counts[outcome] += 1
        for outcome, count in counts.items():
            if count:
                self._metrics.handed_off.labels(outcome.value).inc(count)

        lags_ms, missed = [], 0
        for task in tasks:
            if handed.not_enqueued and handed.not_enqueued.get(task.monitor_id) in (Outcome.LOST, Outcome.UNCONFIRMED):
                continue
            if task.monitor_id in handed.refused:
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
            message="Handed off a batch of tasks.",
            claimed=len(claim.due),
            max_lag_ms=round(max(lags_ms, default=0)),
            missed=missed,
            **{outcome.value: count for outcome, count in counts.items() if count},
        )


def missed_ticks(due_ms: float, now_ms: int, interval: int) -> int:
    """Ticks after the due time and up to `now_ms`: they never run, since the next one lies after `now_ms`."""
    period_ms = interval * 1000
    return now_ms // period_ms - int(due_ms // period_ms)
