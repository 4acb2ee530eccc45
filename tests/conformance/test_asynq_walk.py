"""Random walks of three receivers on one queue, with freezes, lost replies and a clock that jumps.

After each step: every task is in one place only, or was ended by its holder; and no task has two holders.
"""

import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from peekaping_producer.errors import BrokerError, BrokerUnavailableError
from peekaping_producer.transports.asynq.delivery import AsynqDelivery
from peekaping_producer.transports.asynq.scripts import Scripts
from tests.kit.asynq_worker import AsynqWorker, QueueView
from tests.kit.clock import TEST_CLOCK, Clock

SEEDS = range(8)
STEPS = 120


class NoBackoff:
    def __init__(self, *delays: float) -> None:
        pass

    async def wait(self) -> None:
        pass


class UnreliableScripts(Scripts):
    """Some calls fail: before the script runs, or after it has."""

    def __init__(self, redis: Any, choice: random.Random) -> None:
        super().__init__(redis, TEST_CLOCK)
        self.share = 0.05
        self._choice = choice

    async def run(self, name: str, keys: Sequence[str], args: Sequence[Any], *decode: Any) -> Any:
        fails = self._choice.random() < self.share
        if fails and self._choice.random() < 0.5:
            raise BrokerUnavailableError("Redis: not connected")
        reply = await super().run(name, keys, args, *decode)
        if fails:
            raise BrokerUnavailableError("Redis: the reply was lost")
        return reply


class Walk:
    def __init__(self, redis: Redis, clock: Clock, seed: int) -> None:
        self.choice = random.Random(seed)
        self.clock = clock
        self.queue = QueueView(redis)
        self.scripts = UnreliableScripts(redis, self.choice)
        self.workers = [AsynqWorker(redis, clock, scripts=self.scripts) for _ in range(3)]
        self.running: list[tuple[AsynqWorker, AsynqDelivery]] = []
        self.canceled: set[AsynqDelivery] = set()
        self.enqueued = 0

    async def step(self) -> None:
        often: list[Callable[[], Awaitable[object]]] = [
            self.dequeue,
            self.enqueue,
            self.end,
            self.advance,
            self.freeze,
            self.maintain,
        ]
        step = self.choice.choice([*often, *often, self.dequeue, self.beat])
        with contextlib.suppress(BrokerError):
            await step()
        self.running = [(worker, each) for worker, each in self.running if each not in self.canceled]

    async def enqueue(self) -> None:
        for _ in range(self.choice.randint(1, 4)):
            retry, retention = self.choice.randint(0, 6), self.choice.choice([0, 60])
            await self.queue.enqueue(f"{self.enqueued}", retry=retry, retention=retention)
            self.enqueued += 1

    async def dequeue(self, workers: Sequence[AsynqWorker] = ()) -> int:
        worker = self.choice.choice(workers or self.workers)
        limit = self.choice.randint(1, 4)
        deliveries = await worker.dequeue(limit)
        assert len(deliveries) <= limit
        for delivery in deliveries:
            delivery.cancel = lambda delivery=delivery: self.canceled.add(delivery)
            self.running.append((worker, delivery))
        return len(deliveries)

    async def end(self) -> None:
        if not self.running:
            return
        of_frozen = [(worker, each) for worker, each in self.running if worker.is_frozen]
        worker, delivery = self.choice.choice(of_frozen if of_frozen and self.choice.random() < 0.5 else self.running)
        of_worker = [each for other, each in self.running if other is worker]
        ended = self.choice.sample(of_worker, self.choice.randint(1, len(of_worker)))
        tokens = {each.token for each in (delivery, *ended)}
        foreign = {task_id: score for task_id, score in (await self.leases()).items() if score % 1 not in tokens}
        try:
            await self.end_some(worker, delivery, ended)
        finally:
            assert foreign.items() <= (await self.leases()).items(), "ended the run of another worker"

    async def leases(self) -> dict[str, float]:
        found: Any = await self.queue.redis.zrange(self.queue.keys.lease, 0, -1, withscores=True)
        return {task_id.decode(): score for task_id, score in found}

    async def end_some(self, worker: AsynqWorker, delivery: AsynqDelivery, ended: list[AsynqDelivery]) -> None:
        match self.choice.choice(["finish", "finish", "finish", "requeue", "retry", "archive"]):
            case "finish":
                self.forget(ended)
                await worker.settler.finish(ended)
            case "requeue":
                self.forget(ended)
                await worker.settler.requeue(ended)
            case "retry":
                self.forget([delivery])
                await worker.settler.fail(delivery, "", 5)
            case "archive":
                self.forget([delivery])
                await worker.settler.fail(delivery, "", None)

    def forget(self, ended: list[AsynqDelivery]) -> None:
        self.running = [(worker, each) for worker, each in self.running if each not in ended]

    async def beat(self) -> None:
        for worker in self.workers:
            if not worker.is_frozen:
                await worker.leases.run_once()

    async def advance(self) -> None:
        """Mostly, only workers that are frozen lose their leases."""
        for _ in range(self.choice.choice([1, 2, 4, 4])):
            await self.clock.advance(self.choice.choice([2, 20, 20, 20, 35]))
            await self.beat()

    async def freeze(self) -> None:
        """Freeze a worker, mostly until others have its tasks; or let one go on."""
        worker = self.choice.choice(self.workers)
        if worker.is_frozen:
            worker.thaw()
            return
        worker.freeze()
        for _ in range(4):
            await self.clock.advance(20)
            await self.beat()
        await self.maintain()
        while (awake := [each for each in self.workers if not each.is_frozen]) and await self.dequeue(awake):
            pass

    async def maintain(self) -> None:
        worker = self.choice.choice(self.workers)
        await worker.recoverer.run_once()
        if delayed := await self.queue.redis.zrange(self.queue.keys.retry, 0, -1):
            await self.queue.redis.zadd(self.queue.keys.retry, dict.fromkeys(delayed, 1))
        await worker.forwarder.run_once()
        await worker.janitor.run_once()

    async def check(self) -> None:
        states = await self.queue.states()
        leases = set(states.pop("lease", []))
        assert leases == set(states.get("active", []))
        places = Counter(task_id for ids in states.values() for task_id in ids)
        assert max(places.values(), default=1) == 1, places
        for n in range(self.enqueued):
            state = await self.queue.redis.hget(self.queue.key(f"{n}"), "state")
            listed = next((name for name, ids in states.items() if f"{n}" in ids), None)
            assert listed == (state and state.decode()), (n, listed, state)
        held = Counter(
            delivery.message.id
            for worker in self.workers
            if not worker.is_frozen
            for delivery in worker.held
            if worker.held.is_valid(delivery) and not delivery.is_settling
        )
        assert max(held.values(), default=1) == 1, held

    async def complete(self) -> None:
        """Without faults, every task comes to an end."""
        self.scripts.share = 0
        for worker in self.workers:
            worker.thaw()
        for _ in range(100):
            await self.beat()
            self.running.clear()
            for worker in self.workers:
                await worker.dequeuer.put_back()
                await worker.settler.finish([*worker.held, *await worker.dequeue(1000)])
            await self.clock.advance(200)
            await self.maintain()
            if (await self.queue.states()).keys() <= {"archived", "completed"}:
                return
        raise AssertionError(f"left: {await self.queue.states()}")


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_task_is_lost_or_has_two_holders(
    redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("peekaping_producer.transports.asynq.settling.Backoff", NoBackoff)
    walk = Walk(redis, clock, seed)
    for _ in range(STEPS):
        await walk.step()
        await walk.check()
    await walk.complete()
    assert walk.enqueued > 0
