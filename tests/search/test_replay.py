"""Scripts do the same on a real server as on the in-memory one of the search."""

import random
from typing import Any

import pytest
from redis import Redis

from peekaping_producer.brokers.asynq_keys import ASYNQ_PRELUDE
from peekaping_producer.redis_client.script import CLOCK
from peekaping_producer.schedule import PRELUDE
from tests.kit.clock import TEST_CLOCK
from tests.search import real
from tests.search.explore import Scope, Search
from tests.search.world import ScriptCall

SEED = 7
SAMPLES = 3000
SLOW_MS = 2000
"""Keys with a TTL age in real time on the real server."""


@pytest.fixture(scope="module")
def explored() -> Search:
    search = Search(Scope(monitors=2, edits=1, faults=1, acts=2, most=20_000))
    search.run()
    return search


def test_a_real_server_answers_the_same(blocking_redis: Redis, explored: Search) -> None:
    redis = explored.redis
    shas = {
        sha: blocking_redis.script_load(TEST_CLOCK + text.removeprefix(CLOCK))
        for sha, text in redis.texts.items()
        if text.startswith(CLOCK)
    }
    assert len(redis.calls) > SAMPLES
    for call in random.Random(SEED).sample([call for call in redis.calls if call.sha in shas], SAMPLES):
        data, ends, now_ms = redis.state(call.before)
        real.put(blocking_redis, data, ends, now_ms)
        reply = blocking_redis.evalsha(shas[call.sha], len(call.keys), *call.keys, *call.args)
        found, living = real.take(blocking_redis, now_ms)
        assert same(reply, call.reply), told(explored, call, reply)
        expected = redis.state(call.after)[1]
        assert living.keys() == expected.keys(), told(explored, call, living)
        assert all(0 <= end - living[key] <= SLOW_MS for key, end in expected.items()), told(explored, call, living)
        assert redis.number_of(found, expected, now_ms) == call.after, told(explored, call, found)


def same(reply: Any, expected: Any) -> bool:
    """Equal, but for what is left of a TTL (from seconds to an hour), which may be a little smaller."""
    if isinstance(expected, list):
        return len(reply) == len(expected) and all(map(same, reply, expected))
    if isinstance(expected, int) and 1000 < expected <= 3_600_000:
        return bool(0 <= expected - reply <= SLOW_MS)
    return bool(reply == expected)


def told(explored: Search, call: ScriptCall, found: Any) -> str:
    text = (
        explored.redis.texts[call.sha]
        .removeprefix(CLOCK)
        .removeprefix(ASYNQ_PRELUDE)
        .removeprefix(PRELUDE)
        .partition("\n")[0]
    )
    return f"{text}\n{call}\n{explored.redis.state(call.before)}\nthere: {found}"
