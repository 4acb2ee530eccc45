"""The claims of a replica: its workers claim one after another, so that an idle replica polls like one worker."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress

from peekaping_producer.errors import REDIS, DependencyError, RedisError
from peekaping_producer.metrics import Metrics
from peekaping_producer.producer.activity import Activity, Stage
from peekaping_producer.producer.timing import TIMING, Timing
from peekaping_producer.schedule import Claim, Schedule
from peekaping_producer.service.aio import wait_for_event
from peekaping_producer.service.loop import Loop, LoopDone


class Claims:
    """Claims for all workers of a replica, and the claims that they hold."""

    def __init__(
        self, schedule: Schedule, metrics: Metrics, activity: Activity, *, batch: int, timing: Timing = TIMING
    ) -> None:
        self._schedule = schedule
        self._metrics = metrics
        self._activity = activity
        self._batch = batch
        self._timing = timing
        self._wakeup = asyncio.Event()
        self._closed = False
        self._lock = asyncio.Lock()
        """Held by the worker that claims; the others wait for it rather than ask Redis too."""
        self.outstanding: dict[str, Claim] = {}
        """By token: claimed, and neither settled nor given back."""

    @asynccontextmanager
    async def exclusive(self, loop: Loop) -> AsyncIterator[None]:
        """Enclose what one worker does at a time: open a session, and claim. Raises LoopDone once closed."""
        async with loop.entering(self._lock):
            self._require_open()  # otherwise a stop during a database outage would wait once per worker
            yield

    async def next(self, loop: Loop, while_idle: Callable[[], Awaitable[None]]) -> Claim:
        """Wait for due monitors and claim them; the caller encloses their work in `settling`.

        `while_idle` is awaited once per `idle_s` while nothing is due. Raises LoopDone once closed.
        """
        idle_at = time.monotonic() + self._timing.idle_s
        while True:
            self._require_open()
            self._wakeup.clear()
            with self._activity.measuring(Stage.CLAIM):
                claim = await self._schedule.claim(self._batch)
            loop.call_succeeded(REDIS)
            if claim.due or claim.removed:
                self.outstanding[claim.token] = claim
                self._metrics.claimed.inc(len(claim.due))
                return claim
            with loop.waiting():
                await self._wait(claim)
            if time.monotonic() >= idle_at:
                await while_idle()
                idle_at = time.monotonic() + self._timing.idle_s

    @asynccontextmanager
    async def settling(self, claim: Claim) -> AsyncIterator[None]:
        """Enclose the work of a claim.

        It is given back where the database or the whole batch failed. Where Redis failed nothing can be given back, and
        the lease runs out. After a cancellation or an unforeseen error it stays `outstanding`, for `give_back_all`.
        """
        try:
            yield
        except RedisError:
            self.outstanding.pop(claim.token, None)
            raise
        except DependencyError:
            await self._give_back(claim)
            raise
        self.outstanding.pop(claim.token, None)

    def _require_open(self) -> None:
        if self._closed:
            raise LoopDone

    async def _wait(self, claim: Claim) -> None:
        """Wait until the next monitor is due, or `nudge` reports one that is due sooner."""
        wait_s = self._timing.longest_wait_s
        if claim.next_due_ms is not None:
            until_due_s = (claim.next_due_ms - claim.now_ms) / 1000
            wait_s = min(max(until_due_s, self._timing.shortest_wait_s), self._timing.longest_wait_s)
        await wait_for_event(self._wakeup, wait_s)

    async def _give_back(self, claim: Claim) -> int:
        """Make the claim's monitors due again at once, rather than when the lease runs out; returns how many."""
        self.outstanding.pop(claim.token, None)
        return await self._schedule.give_back(claim)

    async def give_back_all(self) -> int:
        """Give back what workers that were canceled left; returns how many monitors.

        Stops where Redis does not answer: the leases run out by themselves.
        """
        given_back = 0
        with suppress(RedisError):
            for claim in list(self.outstanding.values()):
                given_back += await self._give_back(claim)
        return given_back

    async def postpone(self, claim: Claim, ids: Iterable[str], delay_s: float) -> int:
        """Make these monitors of the claim due again in `delay_s`; returns how many. The rest stays claimed."""
        return await self._schedule.give_back(claim, ids, delay_s=delay_s)

    def nudge(self) -> None:
        """Look for due monitors now: this replica has made some due."""
        self._wakeup.set()

    def close(self) -> None:
        """Claim nothing more: workers that wait for a claim get LoopDone."""
        self._closed = True
        self._wakeup.set()
