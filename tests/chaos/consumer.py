"""The other end of the queue: takes tasks as asynq's servers do, writes down what it took, and may misbehave."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.chaos.background import Background
from tests.chaos.history import Recorder, Taken
from tests.kit.asynq_peer import ACTIVE, AsynqPeer, Message

RECOVERS_EVERY_S = 5.0
"""asynq's recoverer looks once a minute; this one more often, so that a run needs less time."""


class Consumer(Background):
    """Takes every task at once and finishes it.

    While Redis is away it waits. What it may have taken without hearing of it, it puts back when Redis is there again:
    it is alone, so whatever is active and not in its hand is its own.
    """

    def __init__(self, connect: Callable[[], Redis], recorder: Recorder) -> None:
        self.at_work = asyncio.Event()
        self.at_work.set()
        self.delay_s = 0.0
        """How long each task takes."""
        self.drops = 0
        """So many of the next tasks it takes and never ends, as one that dies."""
        self.fails = 0
        """So many of the next tasks are out of retries: archived."""
        self.latest: dict[str, float] = {}
        """Monitor to when its latest task was taken, on the monotonic clock."""
        self.waited_ms: list[tuple[str, float]] = []
        """Monitor and how long after its tick it was enqueued, for whoever measures; cleared by them."""
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
        """Finish, or put back, what was in hand when the connection broke."""
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
            message = await peer.dequeue(time.time())
            if message is None:
                await asyncio.sleep(0.01)
            else:
                await self._work(peer, self._written_down(message))

    def _written_down(self, message: Message) -> str:
        payload = json.loads(message.payload)
        monitor_id, interval = payload["monitor_id"], payload["interval"]
        scheduled_at_ms = round(datetime.fromisoformat(payload["scheduled_at"]).timestamp() * 1000)
        tick = scheduled_at_ms // (interval * 1000)
        enqueued_at_ms = None if message.pending_since is None else message.pending_since // 1_000_000
        self._unfinished = monitor_id
        self._abandoned.discard(monitor_id)
        self.latest[monitor_id] = time.monotonic()
        if enqueued_at_ms is not None:
            self.waited_ms.append((monitor_id, enqueued_at_ms - tick * interval * 1000))
        self._recorder.write(
            Taken(
                monitor=monitor_id,
                tick=tick,
                interval=interval,
                scheduled_at_ms=scheduled_at_ms,
                enqueued_at_ms=enqueued_at_ms,
                made_by=payload.get("made_by", "python"),
            )
        )
        return str(monitor_id)

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
