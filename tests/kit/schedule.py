"""The schedule and the broker on a real server, with a clock that the test sets."""

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.schedule import Member, Schedule
from peekaping_producer.schedule.keys import KEYS
from tests.kit.clock import START_MS, TEST_CLOCK, Clock

TERM = "node/1"


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


@pytest_asyncio.fixture
async def term(redis: Redis) -> str:
    """The term of the leader."""
    await redis.set(KEYS.leader, TERM)
    return TERM


async def make_due(redis: Redis, **scores: float) -> None:
    """Put monitors into the set due; scores are ms since the epoch."""
    await redis.zadd(KEYS.due, scores)


async def members_of(schedule: Schedule, key: str) -> list[Member]:
    return [member async for page in schedule.members(key) for member in page]
