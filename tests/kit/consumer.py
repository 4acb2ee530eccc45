"""A consumer of the queue that records each task."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis.asyncio import Redis

from peekaping_producer.service.aio import cancel_and_wait
from tests.kit.asynq_peer import AsynqPeer


@dataclass(frozen=True)
class ReceivedTask:
    """A task as a consumer receives it."""

    payload: dict[str, Any]
    pending_since: int | None
    """ns, by Redis' clock; None where asynq has lost it."""

    @property
    def monitor_id(self) -> str:
        return str(self.payload["monitor_id"])

    @property
    def interval(self) -> int:
        return int(self.payload["interval"])

    @property
    def scheduled_at_ms(self) -> int:
        return round(datetime.fromisoformat(self.payload["scheduled_at"]).timestamp() * 1000)

    @property
    def tick(self) -> int:
        """scheduled_at in whole intervals since the epoch."""
        return self.scheduled_at_ms // (self.interval * 1000)

    @property
    def made_by(self) -> str:
        """The kind of producer: "python", or the mark that a stand-in for another producer adds."""
        return str(self.payload.get("made_by", "python"))


async def take(peer: AsynqPeer) -> ReceivedTask | None:
    """The next task, active now; None where there is none."""
    message = await peer.dequeue(time.time())
    return ReceivedTask(json.loads(message.payload), message.pending_since) if message else None


class Consumer:
    """Takes every task at once, finishes it, and counts (monitor, tick)."""

    def __init__(self, redis: Redis) -> None:
        self._peer = AsynqPeer(redis)
        self.ticks: Counter[tuple[str, int]] = Counter()
        self.payloads: dict[str, dict[str, object]] = {}
        self.made_by: dict[tuple[str, int], list[str]] = {}
        """The producers of the tasks of each tick."""

    def move_to(self, redis: Redis) -> None:
        """Take the next tasks from this Redis; only while it is not at work."""
        self._peer = AsynqPeer(redis)

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            task = await take(self._peer)
            if task is None:
                await asyncio.sleep(0.005)
                continue
            tick = task.monitor_id, task.tick
            self.ticks[tick] += 1
            self.made_by.setdefault(tick, []).append(task.made_by)
            self.payloads[task.monitor_id] = task.payload
            await self._peer.finish(task.monitor_id)

    def duplicated(self) -> list[tuple[str, int]]:
        return [tick for tick, count in self.ticks.items() if count > 1]

    def monitors(self) -> set[str]:
        return {monitor_id for monitor_id, _ in self.ticks}

    def count(self, monitor_id: str) -> int:
        """The number of different ticks of this monitor."""
        return sum(1 for id_, _ in self.ticks if id_ == monitor_id)


@asynccontextmanager
async def at_work(consumer: Consumer) -> AsyncIterator[Consumer]:
    """Run the consumer for the length of the block; its records stay.

    It finishes the task in hand, as an asynq server does: a task that is left active runs again after a minute.
    """
    stop = asyncio.Event()
    running = asyncio.create_task(consumer.run(stop))
    try:
        yield consumer
        assert not running.done(), running.result()
    finally:
        stop.set()
        await asyncio.wait([running], timeout=5)
        await cancel_and_wait(running)
