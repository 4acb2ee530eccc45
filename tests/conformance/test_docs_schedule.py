"""docs/schedule.md: its example runs as it is printed."""

import asyncio
import re
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.schedule.keys import Keys
from peekaping_producer.targets import RedisTarget

KEYS = Keys("jobs")
PAGE = Path(__file__).parents[2] / "docs" / "schedule.md"
TARGET = 'RedisTarget(host="127.0.0.1", port=6379)'


def example() -> str:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return str(block)


def test_the_example_is_short() -> None:
    assert sum(bool(line.strip()) for line in example().splitlines()) <= 20


async def test_the_example_schedules_claims_and_reschedules(
    redis: Redis, redis_server: RedisTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    assert TARGET in example()
    text = example().replace(TARGET, "TARGET")
    try:
        await asyncio.to_thread(exec, compile(text, str(PAGE), "exec"), {"TARGET": redis_server})
        assert {each.decode() for each in await redis.keys()} == {KEYS.due, KEYS.leader, KEYS.probe}
        assert await redis.zcard(KEYS.due) == 2
    finally:
        await redis.flushdb()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "do ['backup', 'report']"
    assert "due=2, leased=0" in lines[1]
