"""Where a replica's workers claim: one after another, so that an idle replica is quiet."""

import asyncio
import time
from collections.abc import Iterable

from peekaping_producer.metrics import Metrics
from peekaping_producer.schedule import Claim, Schedule
from peekaping_producer.service.dependencies import REDIS
from peekaping_producer.service.loop import Loop, LoopDone

_SHORTEST_WAIT_S = 0.005
_LONGEST_WAIT_S = 0.25
IDLE_S = 30.0
"""How long a worker waits for a claim before it looks after its database connection."""


class Claims:
    """Claims for all workers of a replica, and the list of those not yet handed off."""

    def __init__(self, schedule: Schedule, metrics: Metrics, *, batch: int) -> None:
        self._schedule = schedule
        self._metrics = metrics
        self._batch = batch
        self._sooner = asyncio.Event()
        self._closed = False
        self.turn = asyncio.Lock()
        """Held by the worker that claims; the others wait for it rather than ask Redis too."""
        self.outstanding: dict[str, Claim] = {}
        """By token. What is still here when the replica must stop is given back."""

    async def next(self, loop: Loop) -> Claim | None:
        """The next due monitors; None when there were none for IDLE_S. The caller holds `turn`, and settles the claim.

        Raises LoopDone once closed.
        """
        idle_at = time.monotonic() + IDLE_S
        while time.monotonic() < idle_at:
            self.require_open()
            loop.beat()
            self._sooner.clear()
            claim = await self._schedule.claim(self._batch)
            loop.worked(REDIS)
            if claim.due or claim.removed:
                self.outstanding[claim.token] = claim
                self._metrics.claimed.inc(len(claim.due))
                return claim
            loop.rest()
            await self._wait(claim)
        return None

    def require_open(self) -> None:
        """Raises LoopDone once closed."""
        if self._closed:
            raise LoopDone

    async def _wait(self, claim: Claim) -> None:
        """Until the next monitor is due, or somebody knows of one that is due sooner."""
        wait_s = _LONGEST_WAIT_S
        if claim.next_due_ms is not None:
            until_due_s = (claim.next_due_ms - claim.now_ms) / 1000
            wait_s = min(max(until_due_s, _SHORTEST_WAIT_S), _LONGEST_WAIT_S)
        try:
            async with asyncio.timeout(wait_s):
                await self._sooner.wait()
        except TimeoutError:
            pass

    def settle(self, claim: Claim) -> None:
        """The claim is done with: handed off, given back or run out."""
        self.outstanding.pop(claim.token, None)

    async def give_back(self, claim: Claim) -> int:
        """Make the claim's monitors due again at once, rather than when the lease runs out; how many that were."""
        self.settle(claim)
        return await self._schedule.give_back(claim)

    async def postpone(self, claim: Claim, ids: Iterable[str], delay_s: float) -> int:
        """Make these monitors of the claim due again in `delay_s`; how many that were. The rest stays claimed."""
        return await self._schedule.give_back(claim, ids, delay_s=delay_s)

    def nudge(self) -> None:
        """This replica put something into due: look now rather than at the end of the wait."""
        self._sooner.set()

    def close(self) -> None:
        """Claim nothing more; who waits for a claim gets LoopDone."""
        self._closed = True
        self._sooner.set()
