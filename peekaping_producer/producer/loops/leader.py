"""Leadership: one replica at a time keeps the schedule in step with the database.

    follower ──won──► leader (a term of its own) ──renewed──► leader
        ▲                 │
        └── held by another, stale, or not renewed in time ◄──┘

The key in Redis is a lease with a TTL; its value is the term. Every write of a leader carries its term, and Redis
refuses the writes of an ended term, so two leaders at the same instant do no harm. A leader stops trusting its term
before the TTL ends.
"""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from peekaping_producer.errors import REDIS, RedisError, StaleTermError
from peekaping_producer.metrics import Metrics
from peekaping_producer.producer.event_recorder import EventRecorder
from peekaping_producer.producer.timing import TIMING, Timing
from peekaping_producer.schedule import CampaignOutcome, CampaignResult, Schedule
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop

log = structlog.stdlib.get_logger()


def node_id() -> str:
    """Return hostname-pid-random: in containers hostname and pid may be equal."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class Leader:
    """Campaigns, and runs `lead(term)` as a task for as long as the term is trusted."""

    def __init__(
        self,
        schedule: Schedule,
        lead: Callable[[str], Awaitable[None]],
        recorder: EventRecorder,
        metrics: Metrics,
        dependencies: Dependencies,
        *,
        node: str | None = None,
        may_lead: Callable[[], bool] = lambda: True,
        spread_ticks: bool = False,
        timing: Timing = TIMING,
    ) -> None:
        """`may_lead`: asked before each campaign. `spread_ticks`: whether ticks are spread while this replica leads."""
        self.loop = Loop("leader", dependencies, uses=(REDIS,), longest_backoff_s=1.0)
        self.node = node or node_id()
        self.term: str | None = None
        self.followed: str | None = None
        """The term of another replica that led when this one last asked."""
        self._followed_until = 0.0
        """time.monotonic() at which the key of that term ends, if it is not renewed."""
        self._unconfirmed_term: str | None = None
        """The term of a campaign without a reply: Redis may have stored it."""
        self._schedule = schedule
        self._lead = lead
        self._recorder = recorder
        self._metrics = metrics
        self._may_lead = may_lead
        self._spread_ticks = spread_ticks
        self._timing = timing
        self._leading: asyncio.Task[None] | None = None
        self._expiry_timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Campaign until canceled; then resign, so that a follower leads within a second."""
        try:
            await self.loop.run(self.run_once)
        finally:
            term = self.term or self._unconfirmed_term
            await self._stop_leading("stopped")
            if term:
                with suppress(RedisError):  # the TTL ends it then
                    await self._schedule.resign(term)

    async def run_once(self) -> float:
        """Campaign once; a leader then waits until it must renew. Returns the seconds until the next turn."""
        if self._leading and self._leading.done():
            await self._finish_term(self._leading)
        if not self._may_lead():
            await self._yield()
            return self._timing.campaign_every_s
        new_term = self._unconfirmed_term or f"{self.node}/{secrets.token_hex(6)}"
        self._unconfirmed_term = new_term
        asked_at = time.monotonic()
        answer = await self._schedule.campaign(
            self.term or "", new_term, self._timing.leader_ttl_s, spread_ticks=self._spread_ticks
        )
        self._unconfirmed_term = None
        self._report_spread(answer)
        if answer.outcome is CampaignOutcome.WON:
            await self._stop_leading("its key was gone")
            self._start_leading(new_term, answer)
        elif answer.outcome is CampaignOutcome.HELD:
            await self._stop_leading("another replica leads")
            self._follow(answer, asked_at)
        if self.term:
            self._arm_expiry(asked_at)
        self.loop.turn_succeeded()
        if self._leading:
            with self.loop.waiting():
                await asyncio.wait({self._leading}, timeout=self._timing.renew_every_s)
            return 0.0
        ask_s = self._timing.campaign_every_s
        return min(ask_s, answer.ttl_s + 0.005) if answer.ttl_s else ask_s

    async def _yield(self) -> None:
        """Let another replica lead."""
        if term := self.term or self._unconfirmed_term:
            await self._stop_leading("it cannot read the database, and another replica can")
            await self._schedule.resign(term)
            self._unconfirmed_term = None

    async def _finish_term(self, leading: asyncio.Task[None]) -> None:
        """End a term whose duties have ended.

        An untrusted term may still be renewed by a late reply, and no replica would lead until its key expires: resign.
        """
        term, expired = self.term, leading.cancelled()
        await self._stop_leading("not renewed in time" if expired else "its writes were refused")
        if term and expired:
            await self._schedule.resign(term)

    def _report_spread(self, answer: CampaignResult) -> None:
        """Report that this campaign has turned the switch of the fleet."""
        if answer.spread is None:
            return
        if answer.spread:
            kind, message = "spread.enabled", "Ticks are spread over the interval of each monitor from now on."
        else:
            by_go = answer.outcome is CampaignOutcome.HELD
            reason = "a Go producer leads" if by_go else "SPREAD_TICKS of the leader is false"
            kind, message = "spread.disabled", f"Ticks are no longer spread: {reason}."
        log.info(kind, message=message)
        self._recorder.record(kind, message)

    def _follow(self, answer: CampaignResult, asked_at: float) -> None:
        self._followed_until = asked_at + answer.ttl_s
        if answer.holder != self.followed:
            self.followed = answer.holder
            log.info("leader.followed", message="Another replica leads.", term=answer.holder)

    def _succession(self, answer: CampaignResult) -> str:
        """Return whom this replica follows, and how that term ended, as far as it has seen."""
        previous = self.followed or answer.holder
        if not previous or previous == self.term:
            return "; no other replica led, as far as it has seen"
        node = previous.partition("/")[0]
        if answer.holder:
            return f", and takes over from {node}, whose key no running leader sets"
        if time.monotonic() < self._followed_until:
            return f", and follows {node}, which resigned"
        return f", and follows {node}, whose key expired"

    def _start_leading(self, term: str, answer: CampaignResult) -> None:
        self.term = term
        succession = self._succession(answer)
        self.followed = None
        if answer.holder and answer.holder != term:
            left = "no end" if answer.holder_ttl_s is None else f"{answer.holder_ttl_s:.0f} s left"
            log.warning(
                "leader.taken_over",
                message="Took over a leader key with a TTL that no running leader sets; a clock was probably wrong.",
                holder=answer.holder,
                had=left,
            )
        self._leading = asyncio.create_task(self._lead_until_stale(term), name="leading")
        self._metrics.is_leader.set(1)
        self._metrics.leader_transitions.inc()
        log.info("leader.won", message=f"This replica leads{succession}.", term=term)
        self._recorder.record("leader.won", f"{self.node} leads{succession}.")

    async def _lead_until_stale(self, term: str) -> None:
        try:
            await self._lead(term)
        except StaleTermError:
            log.warning("leader.stale", message="Redis refused a write: the term is over.", term=term)

    def _arm_expiry(self, since: float) -> None:
        if self._expiry_timer:
            self._expiry_timer.cancel()
        trusted_for_s = since + self._timing.leader_ttl_s - self._timing.trust_margin_s - time.monotonic()
        leading = self._leading
        self._expiry_timer = asyncio.get_running_loop().call_later(trusted_for_s, lambda: leading and leading.cancel())

    async def _stop_leading(self, reason: str) -> None:
        """Stop leading. Raises an unforeseen error of `lead`."""
        if self._leading is None:
            return
        leading, term = self._leading, self.term
        self._leading = self.term = None
        if self._expiry_timer:
            self._expiry_timer.cancel()
        self._metrics.is_leader.set(0)
        self._metrics.leader_transitions.inc()
        log.info("leader.ended", message=f"This replica no longer leads: {reason}.", term=term)
        self._recorder.record("leader.ended", f"{self.node} no longer leads: {reason}.")
        await cancel_and_wait(leading)
        if not leading.cancelled() and (error := leading.exception()):
            raise error
