"""The schedule and the broker over a real server, with a clock that the test turns."""

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.schedule import Schedule
from tests.kit.clock import START_MS, TEST_CLOCK, Clock


@pytest_asyncio.fixture
async def clock(redis: Redis) -> Clock:
    clock = Clock(redis)
    await clock.set(START_MS)
    return clock


@pytest.fixture
def schedule(redis: Redis, clock: Clock) -> Schedule:
    return Schedule(redis, lease_ttl_s=10.0, clock=TEST_CLOCK, monotonic=lambda: clock.now_ms / 1000)


@pytest.fixture
def broker(redis: Redis, clock: Clock) -> AsynqBroker:
    return AsynqBroker(redis, clock=TEST_CLOCK)
