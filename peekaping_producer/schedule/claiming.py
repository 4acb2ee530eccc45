"""Claims of due monitors: any replica makes them, and ends each in one of several ways."""

import random
import time
from collections.abc import Callable, Iterable

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.redis_client.client import Client
from peekaping_producer.redis_client.failures import decoding
from peekaping_producer.redis_client.script import CLOCK
from peekaping_producer.schedule.keys import KEYS, Keys
from peekaping_producer.schedule.limits import CALL_LIMIT, CLAIM_WITHIN_S, MAX_DELAY_S, MAX_ID_LENGTH
from peekaping_producer.schedule.model import Claim, Rescheduled
from peekaping_producer.schedule.part import SchedulePart, with_phase
from peekaping_producer.schedule.replies import decode_text
from peekaping_producer.service.chunks import chunks


class Claiming(SchedulePart):
    """Claim, drop, give back, reschedule and reclaim. What follows a claim is fenced by its token."""

    def __init__(
        self,
        redis: Client,
        *,
        keys: Keys = KEYS,
        lease_ttl_s: float = 10.0,
        keeps_due_times: bool = False,
        clock: str = CLOCK,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        """`keeps_due_times`: a claim that ends in any way is followed by one with the same due times.

        Without it, due times of a replica that dies are as late as its claim. It costs a write per claimed monitor.
        `monotonic` returns seconds of this process; it replaces time.monotonic in tests.
        """
        super().__init__(redis, keys=keys, lease_ttl_s=lease_ttl_s, clock=clock)
        self._keeps_due_times = keeps_due_times
        self._sets = (keys.due, keys.lease, keys.late)
        self._monotonic = monotonic or (lambda: time.monotonic())  # noqa: PLW0108 - tests patch time.monotonic
        self._clock_ahead_ms: float | None = None
        """Redis TIME minus `monotonic`, as of the latest claim."""
        self._claim = self._script("claim")
        self._drop = self._script("drop")
        self._give_back = self._script("give_back")
        self._reschedule = self._script("reschedule")
        self._reclaim = self._script("reclaim")

    async def claim(self, limit: int) -> Claim:
        """Claim up to `limit` (at most 1,000) due monitors, the longest overdue first."""
        asked_at = time.monotonic()
        nonce = random.randrange(1, 1024)  # noqa: S311 - distinguishes claims of one millisecond; 0 is a peer's
        deadline = 0
        if self._clock_ahead_ms is not None:
            deadline = int((self._monotonic() + CLAIM_WITHIN_S) * 1000 + self._clock_ahead_ms)
        args = (limit, self._lease_ttl_ms, nonce, deadline, MAX_ID_LENGTH, int(self._keeps_due_times))
        reply = await self._claim.run(self.redis, (*self._sets, self.keys.spread, self.keys.held), args)
        with decoding():
            now_ms, token, next_due, flat, removed, spread_since_ms = reply
            claim = Claim(
                token=token.decode(),
                now_ms=int(now_ms),
                due={decode_text(flat[i]): max(float(flat[i + 1]), 0.0) for i in range(0, len(flat), 2)},
                next_due_ms=float(next_due) if next_due else None,
                ends_at=asked_at + self.lease_ttl_s,
                removed=tuple(decode_text(each) for each in removed),
                spread_since_ms=spread_since_ms if spread_since_ms >= 0 else None,
            )
        # From the latest reply alone: after a step of Redis TIME one claim is refused, and the next is not.
        self._clock_ahead_ms = claim.now_ms - self._monotonic() * 1000
        return claim

    async def drop(self, claim: Claim, ids: Iterable[str]) -> int:
        """Remove claimed monitors from the schedule; returns how many the claim still held."""
        dropped = 0
        for chunk in chunks(list(ids), CALL_LIMIT):
            dropped += await self._drop.count(self.redis, (self.keys.lease, self.keys.late), (claim.token, *chunk))
        return dropped

    async def give_back(self, claim: Claim, ids: Iterable[str] | None = None, *, delay_s: float = 0.0) -> int:
        """Make those of `ids` (None: all) that the claim still holds due again, as before or `delay_s` from now.

        `delay_s` is at most MAX_DELAY_S. Returns how many; the next claim returns their intended due times.
        """
        given = 0
        delay_ms = int(min(delay_s, MAX_DELAY_S) * 1000)
        for chunk in chunks([each for each in (claim.due if ids is None else ids) if each in claim.due], CALL_LIMIT):
            pairs = [part for monitor_id in chunk for part in (monitor_id, repr(claim.due[monitor_id]))]
            given += await self._give_back.count(self.redis, self._sets, (claim.token, delay_ms, *pairs))
        return given

    async def reschedule(self, claim: Claim, plans: Iterable[Plan]) -> Rescheduled:
        """Make what the claim still holds of `plans` due at its next tick.

        For callers that do the work themselves. asynq's hand-off reschedules by itself.
        """
        result = Rescheduled(claim.now_ms)
        width = 2 if claim.spread_since_ms is None else 3
        for chunk in chunks([plan for plan in plans if plan.interval > 0], CALL_LIMIT):
            parts = [part for plan in chunk for part in with_phase(plan)[:width]]
            reply = await self._reschedule.run(self.redis, self._sets, (claim.token, width, *parts))
            with decoding():
                now_ms, lost = reply
                result = Rescheduled(now_ms, (*result.lost, *(chunk[n].id for n in lost)))
        return result

    async def reclaim(self, limit: int = CALL_LIMIT) -> int:
        """Make up to `limit` monitors due again whose leases have expired; returns how many."""
        return await self._reclaim.count(self.redis, self._sets, (self._lease_ttl_ms, limit))
