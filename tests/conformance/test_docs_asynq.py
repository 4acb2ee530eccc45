"""docs/asynq.md: its example runs as it is printed."""

import asyncio
import re
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.targets import RedisTarget
from tests.kit.asynq_worker import QueueView

PAGE = Path(__file__).parents[2] / "docs" / "asynq.md"
TARGET = 'RedisTarget(host="127.0.0.1", port=6379)'


async def test_the_example_publishes_and_processes(
    redis: Redis, redis_server: RedisTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert TARGET in example
    names = {"SERVER": redis_server}
    await asyncio.to_thread(exec, compile(example.replace(TARGET, "SERVER"), str(PAGE), "exec"), names)
    assert capsys.readouterr().out.splitlines() == [
        "PublishResult(settled=2, refused={})",
        "mail:send order-1 attempt 1 of 4",
        "mail:send order-2 attempt 1 of 4",
    ]
    assert await QueueView(redis, "mail").states() == {"completed": ["order-1", "order-2"]}
    assert await redis.hget("asynq:{mail}:t:order-1", "result") == b"sent"
    assert await redis.zcard("asynq:servers") == 0
