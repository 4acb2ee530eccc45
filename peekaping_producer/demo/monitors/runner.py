"""Starts everything, watches it, kills the leader once, stops, and prints a summary."""

import asyncio
import time

from peekaping_producer.demo.monitors.consumer import Consumer
from peekaping_producer.demo.monitors.environment import Environment, open_environment
from peekaping_producer.demo.monitors.failover import MAX_FAILOVER_S, Failover, leading
from peekaping_producer.demo.monitors.ledger import Ledger
from peekaping_producer.demo.monitors.snapshot import snapshot_of
from peekaping_producer.demo.session import run_session
from peekaping_producer.demo.view import GuardedView, Snapshot, counted
from peekaping_producer.errors import UnreachableError
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.service.aio import cancel_and_wait, wait_for_event
from peekaping_producer.settings import Settings

_POLL_EVERY_S = 0.1
_LEADS_WITHIN_S = 30.0
_SETTLES_WITHIN_S = 2.0
_DRAIN_WITHIN_S = 5.0
_LATE_MS = 2000
"""A tick younger than this at the end does not count as lost."""
_LEASES_RECLAIMED_MS = 13_000
"""How long ticks of a killed replica are excused: a lease of 10 s, 2 s for the reclaimer, 1 s to spare."""


async def run_demo(seconds: float, *, redis: Settings | None = None) -> int:
    """Run the demo for `seconds`, or until it is stopped: see run_session.

    Returns the exit code: 1 if a tick was duplicated or lost, or no replica took over; else 0. Raises ProducerError.
    """
    return await run_session(
        seconds, open_environment(redis), lambda environment, view: MonitorsRun(environment, seconds, view)
    )


class MonitorsRun:
    """See DemoRun."""

    def __init__(self, environment: Environment, seconds: float, view: GuardedView) -> None:
        self._environment = environment
        self._seconds = seconds
        self._view = view
        self._ledger = Ledger(environment.monitors)
        self._failover = Failover(environment.replicas, view.announce, kill_at=_kill_at(seconds))
        self._ran_s = 0.0
        self._lost = 0
        self._leader = "none yet"

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until the time is over or `stop` is set; then stop the replicas and wait for the running checks."""
        queue_ends = asyncio.Event()
        consumer = asyncio.create_task(Consumer(self._environment.redis, self._ledger).run(queue_ends), name="consumer")
        try:
            await self._watch(stop, consumer)
            ended_ms, _ = await self._clock_and_term()
            await asyncio.gather(*(replica.stop() for replica in self._environment.replicas))
            queue_ends.set()
            await asyncio.wait({consumer}, timeout=_DRAIN_WITHIN_S)
            if consumer.done():
                consumer.result()
            self._lost = self._ledger.lost(ended_ms - _LATE_MS, self._excused())
            self._view.show(self._snapshot())
        finally:
            await cancel_and_wait(consumer)

    async def _watch(self, stop: asyncio.Event, consumer: asyncio.Task[None]) -> None:
        self._introduce()
        opened = time.monotonic()
        led_since: float | None = None  # time 0 is the first leader
        while not stop.is_set() and not self._is_over:
            now_ms, term = await self._clock_and_term()
            now = time.monotonic()
            if led_since is None and leading(self._environment.replicas, term):
                led_since = now
            if led_since is not None:
                self._ran_s = now - led_since
                await self._failover.step(self._ran_s, now_ms, term)
            elif now - opened > _LEADS_WITHIN_S:
                raise UnreachableError(f"no replica leads after {_LEADS_WITHIN_S:g} s")
            self._leader = self._name_of(term)
            self._view.show(self._snapshot())
            for replica in self._environment.replicas:
                replica.check_alive()
            if consumer.done():
                break
            await wait_for_event(stop, _POLL_EVERY_S)

    @property
    def _is_over(self) -> bool:
        """Whether the time is over; on a slow machine, a failover may last longer."""
        return self._ran_s >= self._seconds + (_LEADS_WITHIN_S if self._failover.lasts else 0.0)

    async def _clock_and_term(self) -> tuple[int, str | None]:
        """Return Redis TIME in ms, and the term that leads."""
        async with self._environment.redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.get(KEYS.leader)
            (seconds, micros), term = await pipeline.execute()
        return seconds * 1000 + micros // 1000, term.decode() if term else None

    def _introduce(self) -> None:
        names = ", ".join(f"{replica.name} (pid {replica.pid})" for replica in self._environment.replicas)
        self._view.announce(
            f"{counted(len(self._environment.monitors), 'monitor')}, a consumer, {names}; "
            f"ends after {self._seconds:g} s or with Ctrl-C"
        )
        self._view.announce(self._environment.redis_text)
        self._view.announce(f"the page: {self._environment.page}")
        if not self._failover.planned:
            self._view.announce(
                f"too short for a failover; use --seconds {_SETTLES_WITHIN_S + MAX_FAILOVER_S:g} or more"
            )

    def _name_of(self, term: str | None) -> str:
        if leader := leading(self._environment.replicas, term):
            return f"{leader.name} (pid {leader.pid})"
        return "none (waiting for the key of the killed leader to expire)" if term else "none yet"

    def _snapshot(self) -> Snapshot:
        return snapshot_of(self._ledger, self._leader, elapsed_s=self._ran_s, seconds=self._seconds)

    def _excused(self) -> tuple[int, int] | None:
        killed_ms = self._failover.killed_at_ms
        return None if killed_ms is None else (killed_ms, killed_ms + _LEASES_RECLAIMED_MS)

    @property
    def _complete(self) -> bool:
        return self._ran_s >= self._seconds

    @property
    def passed(self) -> bool:
        """Whether no tick was duplicated or lost; after a complete run also: all monitors ran, a replica took over."""
        ledger = self._ledger
        failed_over = self._failover.took_s is not None or not self._failover.planned
        wrong = ledger.duplicated or self._lost or ledger.completed != ledger.handed_off
        return not (wrong or (self._complete and (ledger.never_handed_off() or not failed_over)))

    def summary(self) -> str:
        """Return the result in a few lines."""
        ledger, failover = self._ledger, self._failover
        results = ", ".join(f"{kind}: {count}" for kind, count in ledger.results.most_common())
        lines = [
            f"Ran {self._ran_s:.1f} s: {counted(ledger.handed_off, 'check')} handed off, {ledger.completed} completed.",
            f"Results: {ledger.up} up, {ledger.completed - ledger.up} down. {results or 'No results'}.",
            f"Ticks: {ledger.duplicated} duplicated, {self._lost} lost, {ledger.overlapped} overlapped; "
            f"the largest delay of a hand-off was {ledger.latest_ms} ms.",
        ]
        if failover.took_s is not None:
            lines.append(f"Failover: a new leader {failover.took_s:.1f} s after the kill.")
        elif failover.planned:
            lines.append("Failover: none." if self._complete else "Failover: stopped before it was complete.")
        if unseen := ledger.never_handed_off():
            lines.append(f"Never handed off: {', '.join(unseen)}.")
        return "\n".join(lines)


def _kill_at(seconds: float) -> float | None:
    """A third of the time, or earlier to leave time for the failover; None if the time is too short for one."""
    at = min(seconds / 3, seconds - MAX_FAILOVER_S)
    return at if at >= _SETTLES_WITHIN_S else None
