"""docs/consumer.md and docs/file-sink.md: their examples run as they are printed."""

import asyncio
import re
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.targets import RedisTarget
from tests.kit.asynq_worker import QueueView

DOCS = Path(__file__).parents[2] / "docs"
TARGET = 'RedisTarget(host="127.0.0.1", port=6379)'


async def run_example(page: str, server: RedisTarget) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    assert TARGET in example
    code = compile(example.replace(TARGET, "SERVER"), page, "exec")
    await asyncio.to_thread(exec, code, {"SERVER": server})


async def test_the_example_of_a_consumer(
    redis: Redis, redis_server: RedisTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    await run_example("consumer.md", redis_server)
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("job-")]
    assert sorted(printed) == ["job-1 40", "job-3 42"]
    assert await QueueView(redis, "jobs").states() == {"archived": ["job-2"]}


async def test_the_example_of_a_file_sink(
    redis: Redis,
    redis_server: RedisTarget,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    await run_example("file-sink.md", redis_server)
    assert capsys.readouterr().out == "one\ntwo\nthree\n"
    assert await QueueView(redis, "lines").states() == {}
