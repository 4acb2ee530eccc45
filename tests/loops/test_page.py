"""What an open page costs: commands of a replica, counted by a clock that the test turns."""

import pytest
from redis.asyncio import Redis

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.producer.parts import Parts
from peekaping_producer.producer.timing import TIMING
from peekaping_producer.schedule import Schedule
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.ui.details import DetailsReader
from tests.kit.clock import Clock
from tests.kit.memory_store import MemoryStore
from tests.loops.conftest import SETTINGS, commands_of

SECONDS = 30


async def test_a_page_costs_two_commands_a_second_and_nothing_once_it_is_closed(
    redis: Redis, clock: Clock, schedule: Schedule, broker: AsynqBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await redis.set(KEYS.leader, "node/term")
    parts = [Parts(SETTINGS, redis, MemoryStore(), schedule, broker, timing=TIMING) for _ in range(2)]
    page = DetailsReader(schedule, lambda: clock.now_ms)
    sent = commands_of(redis, monkeypatch)

    async def commands(replicas: int, *, watched: bool) -> float:
        """Per second, without claims, for which a page changes nothing."""
        due_s = [0.0] * replicas
        await redis.delete(KEYS.watched)
        for second in range(2 * SECONDS):
            if second == SECONDS:  # it is settled
                sent.clear()
            if watched:
                await page.read()
            for number, replica in enumerate(parts[:replicas]):
                if second >= due_s[number]:
                    due_s[number] = second + await replica.vitals.run_once()
            await clock.advance(1)
        return sent.count("EVALSHA") / SECONDS

    idle, watched = await commands(1, watched=False), await commands(1, watched=True)
    assert idle == pytest.approx(0.2 + 0.2 / 3)
    assert watched - idle <= 2.2
    two_idle, two_watched = await commands(2, watched=False), await commands(2, watched=True)
    assert two_idle == pytest.approx(2 * idle)
    assert (two_watched - two_idle) - (watched - idle) <= 1.0
    assert await commands(1, watched=False) == pytest.approx(idle)
