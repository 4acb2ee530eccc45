"""A consumer that takes tasks as asynq's servers do, records them, and may misbehave."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

from peekaping_producer.monitors.ticks import phase_s
from tests.chaos.background import Background
from tests.chaos.history import Recorder, Taken
from tests.kit.asynq_peer import ACTIVE, AsynqPeer
from tests.kit.consumer import ReceivedTask, take

RECOVERS_EVERY_S = 5.0
"""asynq's recoverer looks once a minute; this one more often, so that a run needs less time."""


class FaultyConsumer(Background):
    """Takes every task at once and finishes it.

    It waits while Redis is away. Afterwards it requeues tasks that it took without receiving the reply: it is the only
    consumer, so every active task that is not in its hand is one of those.
    """

    def __init__(self, connect: Callable[[], Redis], recorder: Recorder) -> None:
        self.at_work = asyncio.Event()
        self.at_work.set()
        self.delay_s = 0.0
        """The duration of each task."""
        self.drops = 0
        """The number of next tasks to take and never finish, as a consumer that dies."""
        self.fails = 0
        """The number of next tasks to archive, as out of retries."""
        self.latest: dict[str, float] = {}
        """Monitor to the monotonic time at which its latest task was taken."""
        self.spread = False
        """Whether ticks are spread."""
        self.waited_ms: list[tuple[str, float]] = []
        """Monitor and lateness of its task; a measurement clears the list first."""
        self._connect = connect
        self._recorder = recorder
        self._abandoned: set[str] = set()
        self._unfinished: str | None = None

    async def run(self) -> None:
        while True:
            with suppress(RedisError, OSError):
                async with self._connect() as redis:
                    peer = AsynqPeer(redis)
                    await self._take_up(redis, peer)
                    await self._consume(peer)
            await asyncio.sleep(0.1)

    async def _take_up(self, redis: Redis, peer: AsynqPeer) -> None:
        """Finish or requeue the task that was in hand when the connection broke."""
        for task_id in await redis.lrange(ACTIVE, 0, -1):
            monitor_id = task_id.decode().removeprefix("healthcheck:")
            if monitor_id == self._unfinished:
                await peer.finish(monitor_id)
            elif monitor_id not in self._abandoned:
                await peer.requeue(monitor_id)
        self._unfinished = None

    async def _consume(self, peer: AsynqPeer) -> None:
        recovers_at = time.monotonic()
        while True:
            await self.at_work.wait()
            if time.monotonic() >= recovers_at:
                await peer.recover(time.time())
                recovers_at = time.monotonic() + RECOVERS_EVERY_S
            task = await take(peer)
            if task is None:
                await asyncio.sleep(0.01)
            else:
                self._record(task)
                await self._work(peer, task.monitor_id)

    def _record(self, task: ReceivedTask) -> None:
        enqueued_at_ms = None if task.pending_since is None else task.pending_since // 1_000_000
        self._unfinished = task.monitor_id
        self._abandoned.discard(task.monitor_id)
        self.latest[task.monitor_id] = time.monotonic()
        if enqueued_at_ms is not None:
            phase = phase_s(task.monitor_id, task.interval) if self.spread else 0
            self.waited_ms.append((task.monitor_id, (enqueued_at_ms - phase * 1000) % (task.interval * 1000)))
        self._recorder.write(
            Taken(
                monitor=task.monitor_id,
                tick=task.tick,
                interval=task.interval,
                scheduled_at_ms=task.scheduled_at_ms,
                enqueued_at_ms=enqueued_at_ms,
                made_by=task.made_by,
            )
        )

    async def _work(self, peer: AsynqPeer, monitor_id: str) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.drops:
            self.drops -= 1
            self._abandoned.add(monitor_id)
        elif self.fails:
            self.fails -= 1
            await peer.fail(monitor_id, time.time())
        else:
            await peer.finish(monitor_id)
        self._unfinished = None
