"""The plot: start everything, watch, kill the leader once, stop, and say what was seen."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from peekaping_producer.demo.consumer import Consumer
from peekaping_producer.demo.failover import LONGEST_S, Failover, leading
from peekaping_producer.demo.ledger import Ledger
from peekaping_producer.demo.scene import Scene, open_scene
from peekaping_producer.demo.view import Audience, Lines, Picture, View, counted
from peekaping_producer.errors import ConfigError, UnreachableError
from peekaping_producer.logs import wants_colors
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.settings import Settings

SHORTEST_S = 5
_LONGEST_RUN_S = 86_400
_LOOK_EVERY_S = 0.1
_LEADS_WITHIN_S = 30.0
_SETTLES_WITHIN_S = 2.0
_DRAIN_WITHIN_S = 5.0
_LATE_MS = 2000
"""A tick that is younger than this at the end is not lost yet."""
_LEASES_BACK_MS = 13_000
"""A killed replica's claims: their lease of 10 s, the reclaimer's 2 s, and one to spare."""


async def run_demo(seconds: float, *, redis: Settings | None = None) -> int:
    """Run it for `seconds`, or until Ctrl-C, SIGTERM, SIGHUP or the end of the process that started this one.

    Returns the exit code: 0, or 1 where a tick was doubled or lost or no replica took over. Raises ProducerError.
    """
    if not SHORTEST_S <= seconds <= _LONGEST_RUN_S:  # nor is NaN
        raise ConfigError([f"--seconds: expected {SHORTEST_S} to {_LONGEST_RUN_S}, got {seconds:g}"])
    stop = asyncio.Event()
    parent = os.getppid()
    with _stop_requests(stop):
        async with open_scene(redis) as scene:
            audience = Audience(_open_view(), gone=stop.set)
            try:
                show = Show(scene, seconds, audience, orphaned=lambda: os.getppid() != parent)
                await show.run(stop)
            finally:
                audience.close()
    audience.say(show.summary())
    return 0 if show.passed else 1


class Show:
    """One run of the demo, on a scene that is open."""

    def __init__(self, scene: Scene, seconds: float, audience: Audience, *, orphaned: Callable[[], bool]) -> None:
        self._scene = scene
        self._seconds = seconds
        self._audience = audience
        self._orphaned = orphaned
        self._ledger = Ledger(scene.monitors)
        self._failover = Failover(scene.replicas, audience.tell, kill_at=_kill_at(seconds))
        self._ran_s = 0.0
        self._lost = 0
        self._leader = "nobody yet"

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until the time is over or `stop` is set; then stop the replicas, and let the last checks end."""
        queue_ends = asyncio.Event()
        consumer = asyncio.create_task(Consumer(self._scene.redis, self._ledger).run(queue_ends), name="consumer")
        try:
            await self._watch(stop, consumer)
            ended_ms, _ = await self._look()
            await asyncio.gather(*(replica.stop() for replica in self._scene.replicas))
            queue_ends.set()
            await asyncio.wait({consumer}, timeout=_DRAIN_WITHIN_S)
            if consumer.done():
                consumer.result()
            self._lost = self._ledger.lost(ended_ms - _LATE_MS, self._excused())
            self._audience.show(self._picture())
        finally:
            await cancel_and_wait(consumer)

    async def _watch(self, stop: asyncio.Event, consumer: asyncio.Task[None]) -> None:
        self._introduce()
        opened = time.monotonic()
        led_since: float | None = None  # the time runs from the first leader on
        while not stop.is_set() and self._ran_s < self._seconds:
            now_ms, term = await self._look()
            now = time.monotonic()
            if led_since is None and leading(self._scene.replicas, term):
                led_since = now
            if led_since is not None:
                self._ran_s = now - led_since
                await self._failover.turn(self._ran_s, now_ms, term)
            elif now - opened > _LEADS_WITHIN_S:
                raise UnreachableError(f"no replica leads after {_LEADS_WITHIN_S:g} s")
            self._leader = self._name_of(term)
            self._audience.show(self._picture())
            for replica in self._scene.replicas:
                replica.see_that_it_lives()
            if consumer.done() or self._orphaned():
                break
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_EVERY_S)

    async def _look(self) -> tuple[int, str | None]:
        """The time of Redis in ms, and the term that leads."""
        async with self._scene.redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.get(KEYS.leader)
            (seconds, micros), term = await pipeline.execute()
        return seconds * 1000 + micros // 1000, term.decode() if term else None

    def _introduce(self) -> None:
        names = ", ".join(f"{replica.name} (pid {replica.pid})" for replica in self._scene.replicas)
        self._audience.tell(
            f"{counted(len(self._scene.monitors), 'monitor')}, a consumer, {names}; "
            f"ends after {self._seconds:g} s or with Ctrl-C"
        )
        self._audience.tell(self._scene.where)
        if not self._failover.planned:
            self._audience.tell(f"too short for a failover, which takes --seconds {_SETTLES_WITHIN_S + LONGEST_S:g}")

    def _name_of(self, term: str | None) -> str:
        if leader := leading(self._scene.replicas, term):
            return f"{leader.name} (pid {leader.pid})"
        return "nobody; the killed leader's lease runs out" if term else "nobody yet"

    def _picture(self) -> Picture:
        return Picture(self._ran_s, self._seconds, self._leader, self._ledger)

    def _excused(self) -> tuple[int, int] | None:
        killed_ms = self._failover.killed_at_ms
        return None if killed_ms is None else (killed_ms, killed_ms + _LEASES_BACK_MS)

    @property
    def _complete(self) -> bool:
        return self._ran_s >= self._seconds

    @property
    def passed(self) -> bool:
        """Whether all that was to be seen was seen; after an early stop, whether nothing was wrong so far."""
        ledger = self._ledger
        failed_over = self._failover.took_s is not None or not self._failover.planned
        wrong = ledger.doubled or self._lost or ledger.completed != ledger.handed_off
        return not (wrong or (self._complete and (ledger.unseen() or not failed_over)))

    def summary(self) -> str:
        """What was seen, in a few lines."""
        ledger, failover = self._ledger, self._failover
        results = ", ".join(f"{count} {kind}" for kind, count in ledger.results.most_common())
        lines = [
            f"Ran {self._ran_s:.1f} s: {counted(ledger.handed_off, 'check')} handed off, {ledger.completed} completed.",
            f"Results: {ledger.up} up, {ledger.completed - ledger.up} down ({results or 'none'}).",
            f"Ticks: {ledger.doubled} doubled, {self._lost} lost, {ledger.overlapped} overlapped; "
            f"the latest hand-off was {ledger.latest_ms} ms late.",
        ]
        if failover.took_s is not None:
            lines.append(f"Failover: a new leader {failover.took_s:.1f} s after the kill.")
        elif failover.planned:
            lines.append("Failover: none was seen." if self._complete else "Failover: stopped before there was one.")
        if unseen := ledger.unseen():
            lines.append(f"Never handed off: {', '.join(unseen)}.")
        return "\n".join(lines)


def _kill_at(seconds: float) -> float | None:
    """At a third of the time, earlier where the failover needs the rest; None where the time is too short for one."""
    at = min(seconds / 3, seconds - LONGEST_S)
    return at if at >= _SETTLES_WITHIN_S else None


def _open_view() -> View:
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return Lines(colors=wants_colors(sys.stdout))
    try:
        from peekaping_producer.demo.table import LiveTable
    except ModuleNotFoundError:
        print("For the live table: pip install rich")
        return Lines(colors=wants_colors(sys.stdout))
    return LiveTable()


@contextmanager
def _stop_requests(stop: asyncio.Event) -> Iterator[None]:
    """The first signal asks for an orderly end. A second one ends at once, and the leash takes down the rest."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def ask() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in signals:
        loop.add_signal_handler(number, ask)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
