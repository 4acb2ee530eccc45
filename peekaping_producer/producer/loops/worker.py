"""One of a replica's workers: claim, load, build, hand off."""

import asyncio
import time
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import structlog

from peekaping_producer.brokers import Broker
from peekaping_producer.errors import (
    DATABASE,
    REDIS,
    BatchError,
    StoreError,
    StoreUnavailableError,
    UnreadableMonitorError,
)
from peekaping_producer.metrics import Metrics
from peekaping_producer.monitors.task import TaskBuilder
from peekaping_producer.producer.activity import Activity, Stage
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.claim_report import ClaimReport, Disposition
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


class _Connection:
    """One session at a time: opened when it is first needed, closed at the end of each `async with`."""

    def __init__(self, store: MonitorStore) -> None:
        self._store = store
        self._stack = AsyncExitStack()
        self._session: Session | None = None

    async def open(self) -> Session:
        """Return the open session, or open one. Raises StoreError."""
        if self._session is None:
            self._session = await self._stack.enter_async_context(self._store.session())
        return self._session

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *error: Any) -> None:
        self._session = None
        await self._stack.__aexit__(*error)


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
        activity: Activity,
        metrics: Metrics,
        dependencies: Dependencies,
        timing: Timing = TIMING,
    ) -> None:
        """`suspects` is shared by the workers of a replica."""
        self.loop = Loop(f"worker-{number}", dependencies, uses={REDIS, DATABASE, broker.dependency}, kind="worker")
        self._log = log.bind(worker_id=number)
        self._claims = claims
        self._schedule = schedule
        self._store = store
        self._connection = _Connection(store)
        self._builder = builder
        self._broker = broker
        self._suspects = suspects
        self._anomalies = anomalies
        self._report = ClaimReport(number, metrics, anomalies, activity)
        self._activity = activity
        self._timing = timing

    async def run(self) -> None:
        """Work until the claims are closed."""
        await self.loop.run(self.run_once)

    async def run_once(self) -> float:
        """Work on one claim. Returns 0: more monitors may be due.

        The database connection comes before the claim: a worker that waits for a connection holds no lease.
        """
        async with self._connection:
            async with self._claims.exclusive(self.loop):
                await self._connection.open()
                claim = await self._claims.next(self.loop, self._keep_alive)
            async with self._claims.settling(claim):
                await self._work_on(claim)
        return 0.0

    async def _keep_alive(self) -> None:
        await (await self._connection.open()).ping()
        self.loop.call_succeeded(DATABASE)

    async def _work_on(self, claim: Claim) -> None:
        """Load and hand off the claim's monitors: in one batch, unless some of them have failed before."""
        for member in claim.removed:
            self._anomalies.foreign_member(member)
        errors: dict[str, Exception] = {}
        failure: _PartNotReadError | BatchError | None = None
        for group in self._suspects.groups(claim.due):
            if time.monotonic() >= claim.ends_at:
                break  # a load took too long; the rest is reclaimed
            try:
                await isolate(group, partial(self._attempt, claim), errors.__setitem__)
            except (_PartNotReadError, BatchError) as raised:
                failure = raised
        for monitor_id, error in errors.items():
            kind = "monitor.unreadable" if isinstance(error, UnreadableMonitorError) else "monitor.failed"
            self._anomalies.report(monitor_id, kind, f"Set aside: {describe(error)}.")
        await self._set_aside(claim, errors)  # also before a BatchError: each turn then leaves fewer to fail
        if failure:
            raise failure

    async def _attempt(self, claim: Claim, ids: list[str]) -> None:
        """Load and hand off these monitors together. Raises StoreError or RedisError."""
        try:
            loaded = await self._load(ids)
        except StoreError as error:  # the session has ended, so that a ping finds a connection
            raise await self._classified(claim, ids, error) from None
        await self._hand_off(claim, ids, loaded)

    async def _load(self, ids: list[str]) -> Loaded:
        """Read the monitors, and release the connection. Raises StoreError."""
        async with self._connection:
            session = await self._connection.open()
            try:
                with self._activity.measuring(Stage.READ):
                    async with asyncio.timeout(self._timing.load_timeout_s):
                        loaded = await session.load(ids)
            except TimeoutError:
                reason = f"a batch was not read within {self._timing.load_timeout_s:g} s"
                raise StoreUnavailableError(reason) from None
        self.loop.call_succeeded(DATABASE)
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
        self.loop.progressed()
        try:
            async with asyncio.timeout(self._timing.ping_timeout_s):
                await self._store.ping()
        except (TimeoutError, StoreError):
            return False
        finally:
            self.loop.progressed()
        return True

    async def _hand_off(self, claim: Claim, ids: list[str], loaded: Loaded) -> None:
        """Hand off what runs, drop what does not, set aside what fails. An absent row is left to its lease."""
        runs = [details for details in loaded.monitors.values() if details.monitor.runs]
        with self._activity.measuring(Stage.BUILD):
            tasks = self._builder.build(runs, claim.now_ms)
        failed: set[str] = set()
        if tasks:
            with self._activity.measuring(Stage.HAND_OFF):
                handed = await self._broker.hand_off(claim, tasks)
            self._report.handed_off(claim, tasks, handed)
            failed |= handed.refused.keys()
        if len(tasks) < len(ids):
            failed |= loaded.broken.keys()
            failed |= {details.monitor.id for details in runs} - {task.monitor_id for task in tasks}
            await self._drop(claim, ids, loaded)
            await self._let_wait(claim, loaded.waiting)
        for monitor_id, reason in loaded.broken.items():
            self._anomalies.report(monitor_id, "monitor.unreadable", reason)
        for table, reason in loaded.degraded.items():
            self._anomalies.degraded(table, reason)
        self._suspects.record_success(monitor_id for monitor_id in ids if monitor_id not in failed)
        if failed:
            sizes = {task.monitor_id: len(task.payload) for task in tasks}
            await self._set_aside(claim, failed, alone=False, sizes=sizes)

    async def _drop(self, claim: Claim, ids: list[str], loaded: Loaded) -> None:
        foreign = [monitor_id for monitor_id in ids if not self._store.is_id(monitor_id)]
        for monitor_id in foreign:
            self._anomalies.foreign_member(monitor_id)
        drops = foreign + [details.monitor.id for details in loaded.monitors.values() if not details.monitor.runs]
        if drops:
            dropped = await self._schedule.drop(claim, drops)
            self._report.count(Disposition.DROPPED, dropped)
            self._log.info(
                "claim.dropped", message="Removed monitors that are paused or have no interval.", count=dropped
            )

    async def _let_wait(self, claim: Claim, waiting: Mapping[str, str]) -> None:
        for monitor_id, reason in waiting.items():
            self._anomalies.report(monitor_id, "monitor.waiting", reason)
        if waiting:
            await self._claims.postpone(claim, waiting, self._timing.retry_waiting_s)
            self._report.count(Disposition.WAITING, len(waiting))

    async def _set_aside(
        self, claim: Claim, failed: Collection[str], *, alone: bool = True, sizes: Mapping[str, int] = {}
    ) -> None:
        """Make them due again later; each failure makes a monitor wait longer. `sizes`: of their tasks, in bytes."""
        by_delay: dict[float, list[str]] = {}
        for monitor_id in failed:
            delay_s = self._suspects.record_failure(monitor_id, alone=alone, size=sizes.get(monitor_id, 0))
            by_delay.setdefault(delay_s, []).append(monitor_id)
        for delay_s, ids in by_delay.items():
            await self._claims.postpone(claim, ids, delay_s)
        if failed:
            self._report.count(Disposition.SET_ASIDE, len(failed))
