"""Finding monitors by the beginning of the id, among those that Redis contains."""

import pytest
from redis.asyncio import Redis

from peekaping_producer.errors import RedisError
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule import Schedule
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.targets import RedisTarget
from tests.kit.rights import documented, user_with


async def test_each_set_is_searched(redis: Redis, schedule: Schedule) -> None:
    await redis.zadd(KEYS.due, {"abc1": 1, "abd1": 1, "xabc": 1})
    await redis.zadd(KEYS.lease, {"abc2": 1})
    await redis.zadd(KEYS.late, {"abc2": 1, "ABC3": 1})
    assert await schedule.find("abc", 9) == ["ABC3", "abc1", "abc2"]
    assert await schedule.find("aBC", 9) == ["ABC3", "abc1", "abc2"]
    assert await schedule.find("abcd", 9) == []
    assert len(await schedule.find("abc", 2)) == 2


@pytest.mark.parametrize("key", [KEYS.due, KEYS.lease, KEYS.late])
async def test_an_id_in_full_is_the_only_one(redis: Redis, schedule: Schedule, key: str) -> None:
    await redis.zadd(key, {"abcd": 1})
    await redis.zadd(KEYS.due, {"abcde": 1})
    assert await schedule.find("abcd", 9) == ["abcd"]


@pytest.mark.parametrize("prefix", ["a*c?", "[a-z", "ab]c", "a\\*b", "\\", "\udcff\udcfe"])
async def test_no_character_has_a_meaning(redis: Redis, schedule: Schedule, prefix: str) -> None:
    member = f"{prefix}-1".encode(errors="surrogateescape")
    await redis.zadd(KEYS.due, {member: 1, "abcd": 1, "bcde": 1})
    assert await schedule.find(prefix, 9) == [f"{prefix}-1"]


async def test_a_text_that_no_id_can_be(schedule: Schedule) -> None:
    with pytest.raises(RedisError):
        await schedule.find("\ud800abc", 9)


async def test_members_that_are_no_ids_are_left_out(redis: Redis, schedule: Schedule) -> None:
    await redis.zadd(KEYS.due, {"x" * 65: 1, "x" * 64: 1})
    assert await schedule.find("xxxx", 9) == ["x" * 64]


async def test_large_sets_are_read_in_pages(redis: Redis, schedule: Schedule) -> None:
    await redis.zadd(KEYS.due, {f"{number:05}": 1 for number in range(5000)})
    assert await schedule.find("0424", 20) == [f"0424{number}" for number in range(10)]
    assert await schedule.find("00", 20) == sorted(await schedule.find("00", 20))


async def test_the_documented_permissions_suffice(redis: Redis, schedule: Schedule, redis_server: RedisTarget) -> None:
    await redis.zadd(KEYS.due, {"abcd1": 1})
    client = redis_for(await user_with(redis, redis_server, *documented("peekaping-producer")), connections=1)
    try:
        assert await Schedule(client).find("abcd", 9) == ["abcd1"]
    finally:
        await client.aclose()
