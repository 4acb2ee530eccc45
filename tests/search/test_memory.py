"""The in-memory server of the search replies as Redis does to the same commands and scripts, errors included."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from redis import exceptions as driver

from peekaping_producer.errors import RedisError
from tests.kit.invariants import at_once
from tests.search import real
from tests.search.lua import Client, Scripts
from tests.search.memory import Memory

NOW_MS = 1_800_000_000_000
SEED = 11

KEYS = ("string", "hash", "list", "zset", "set", "none")
WORDS = ("a", "b", "c", "1", "-1", "2", "1.5", "nan", "inf", "(1", "-inf", "1e3", "x y", "")
COMMANDS = {
    "GET": "k", "SET": "kw", "DEL": "kk", "EXISTS": "kk", "TYPE": "k", "PTTL": "k",
    "HSET": "kwwww", "HGET": "kw", "HMGET": "kww", "HGETALL": "k", "HEXISTS": "kw", "HINCRBY": "kwn", "HDEL": "kww",
    "LPUSH": "kww", "RPUSH": "kww", "LLEN": "k", "LRANGE": "knn", "LREM": "knw", "LPOS": "kw", "RPOPLPUSH": "kk",
    "SADD": "kww",
    "ZADD": "kfwfw", "ZREM": "kww", "ZSCORE": "kw", "ZMSCORE": "kww", "ZCARD": "k", "ZCOUNT": "kff", "ZRANGE": "knn",
}  # fmt: skip
"""By command, the kinds of its words: key, word, number, float."""
WITH_OPTIONS = (
    "ZADD zset LT 1 a 9 c", "ZADD zset GT 1 a 9 c", "ZADD zset XX 1 a 9 z", "ZADD zset NX 1 a 9 z",
    "ZADD zset CH 3 a 9 y", "ZADD zset NX LT 1 a", "ZADD zset LT", "ZADD zset 1 a 2", "ZADD zset one a",
    "ZRANGE zset -inf 2 BYSCORE", "ZRANGE zset (1 +inf BYSCORE WITHSCORES", "ZRANGE zset 0 -1 WITHSCORES",
    "ZRANGE zset -inf +inf BYSCORE LIMIT 1 1 WITHSCORES", "ZRANGE zset -inf +inf BYSCORE LIMIT 0 -1",
    "ZRANGE zset +inf -inf BYSCORE REV LIMIT 0 2", "ZRANGE zset 0 1 REV", "ZRANGE zset 0 1 LIMIT 0 1",
    "ZRANGE zset x 1", "ZRANGE zset x 1 BYSCORE", "ZRANGE zset 0 1 SOMEHOW",
    "LPOS list a COUNT 0", "LPOS list a COUNT 1", "LPOS list z COUNT 0", "LPOS list a RANK",
    "SET string v PX 0", "SET string v PX x", "SET string v NX", "SET other v NX", "SET string v SOMEHOW",
    "PEXPIRE none 10", "PEXPIRE string -1", "PEXPIRE string x",
    "GET", "HSET hash a", "HMGET hash", "LRANGE list 0", "LRANGE list 0 01", "LREM list x a",
)  # fmt: skip
SCRIPTS = (
    "return {1.9, -1.9, 2^40, 'a', false, true, nil, 4}",
    "return 3.99",
    "return nil",
    "return false",
    "return {{}, {'a', {1}}}",
    "return {ok = 'fine'}",
    "return {err = 'ERR bad'}",
    "return redis.error_reply('ERR worse')",
    "return redis.status_reply('so')",
    "return redis.call('GET', 'none')",
    "return redis.call('SET', 'string', 1.5)",
    "redis.call('SET', 'string', 1795351076550) return redis.call('GET', 'string')",
    "redis.call('SET', 'string', 1795351076550.5) return redis.call('GET', 'string')",
    "redis.call('ZADD', 'zset', 1795351076550.5, 'd') return redis.call('ZSCORE', 'zset', 'd')",
    "redis.call('ZADD', 'zset', 1795351076550 + 513 / 1024, 'd') return redis.call('ZSCORE', 'zset', 'd')",
    "redis.call('ZADD', 'zset', 1e300, 'd') return redis.call('ZMSCORE', 'zset', 'd', 'none')",
    "redis.call('ZADD', 'zset', '-inf', 'd') return redis.call('ZRANGE', 'zset', 0, 0, 'WITHSCORES')",
    "local got = redis.call('HMGET', 'hash', 'a', 'none') return {tostring(got[1]), tostring(got[2])}",
    "return redis.call('TYPE', 'hash')['ok']",
    "return tostring(redis.call('SET', 'string', 'v')['ok'])",
    "return redis.call('HGET', 'list', 'a')",
    "redis.call('SET', 'kept', 'v') redis.call('HGET', 'list', 'a')",
    "return redis.pcall('HGET', 'list', 'a')",
    "return redis.pcall('HGET', 'list', 'a').err",
    "return redis.pcall('HMGET', 'hash', 'a').err == nil",
    "return redis.call('GET', {})",
    "return redis.call('GET', true)",
    "return redis.call('GET')",
    "return redis.call('NONESUCH', 'a')",
    "return none",
    "none = 1",
    "local a = nil; return a.b",
    "return 1 +",
    "return #{unpack(ARGV)}",
    "return {KEYS[1], ARGV[1], KEYS[2] == nil}",
    "return string.format('%.17g', 1795351086550 + 513 / 1024)",
    "return tostring(1795351086550)",
)  # fmt: skip


@pytest.fixture
def memory(blocking_redis: Redis) -> Memory:
    """An in-memory server with the same contents as the real one."""
    memory = Memory()
    memory.now_us = NOW_MS * 1000
    for command in (
        "SET string v", "HSET hash a 1 b 2", "RPUSH list a b a c", "ZADD zset 1 a 2 b 2 c", "SADD set a b",
    ):  # fmt: skip
        memory.call(*command.encode().split())
    real.put(blocking_redis, memory.data, {}, NOW_MS)
    return memory


def test_commands_answer_as_on_a_real_server(blocking_redis: Redis, memory: Memory) -> None:
    rng = random.Random(SEED)
    words: dict[str, Callable[[], str]] = {
        "k": lambda: rng.choice(KEYS),
        "w": lambda: rng.choice(WORDS),
        "n": lambda: rng.choice(("0", "1", "2", "-1", "-2", "5", "-9", "x")),
        "f": lambda: rng.choice(("1", "2.5", "-3", "inf", "-inf", "1e3", "x", "nan")),
    }
    client = Client(Scripts(memory))
    before = memory.snapshot()
    for number in range(3000):
        if number % 20 == 0:
            memory.restore(*before)
            real.put(blocking_redis, memory.data, {}, NOW_MS)
        name = rng.choice(list(COMMANDS))
        assert_same(blocking_redis, client, name, *(words[kind]() for kind in COMMANDS[name]))
        assert real.take(blocking_redis, NOW_MS)[0] == memory.data


@pytest.mark.parametrize("command", WITH_OPTIONS)
def test_options_work_as_on_a_real_server(blocking_redis: Redis, memory: Memory, command: str) -> None:
    assert_same(blocking_redis, Client(Scripts(memory)), *command.split())
    assert real.take(blocking_redis, NOW_MS)[0] == memory.data


@pytest.mark.parametrize("text", SCRIPTS)
@pytest.mark.parametrize("args", [1, 7_900, 8_100])
def test_scripts_run_as_on_a_real_server(blocking_redis: Redis, memory: Memory, text: str, args: int) -> None:
    client = Client(Scripts(memory))
    words = [1, "key", *range(args)]
    assert outcome(lambda: at_once(client.eval(text, *words))) == outcome(lambda: blocking_redis.eval(text, *words))
    assert real.take(blocking_redis, NOW_MS)[0] == memory.data


def test_a_key_ends_with_its_ttl() -> None:
    memory = Memory()
    memory.now_us = NOW_MS * 1000
    memory.call(b"SET", b"key", b"v", b"PX", b"1000")
    memory.now_us += 999_000
    assert (memory.call(b"GET", b"key"), memory.call(b"PTTL", b"key")) == (b"v", 1)
    memory.now_us += 1_000
    assert (memory.call(b"GET", b"key"), memory.call(b"PTTL", b"key")) == (None, -2)


def assert_same(blocking_redis: Redis, client: Client, *words: str) -> None:
    # The command is run by a script: the real client's parsing of replies must not take part.
    script = "return redis.call(unpack(ARGV))"
    assert outcome(lambda: at_once(client.eval(script, 0, *words))) == outcome(
        lambda: blocking_redis.eval(script, 0, *words)
    ), words


def outcome(call: Any) -> Any:
    """The reply, or the error without the script's name and line. Redis and Valkey word three errors differently."""
    try:
        return call()
    except (driver.RedisError, RedisError) as error:
        text = str(error.__cause__ or error).partition(" script: ")[0]
        return text.replace("Redis command", "command").replace("Lua redis lib command", "Command")
