"""Writes the state of the in-memory server to a real one, and reads it back."""

from collections.abc import Mapping
from typing import Any

from redis import Redis

from tests.search.keyspace import Zset

CLOCK_KEY = b"test:clock"


def put(server: Redis, data: Mapping[bytes, Any], ends: Mapping[bytes, int], now_ms: int) -> None:
    """Make the database contain exactly this; the clock of the tests is set to `now_ms`."""
    with server.pipeline(transaction=False) as pipe:
        pipe.flushdb()
        pipe.set(CLOCK_KEY, now_ms)
        for key, value in data.items():
            if type(value) is Zset:
                pipe.zadd(key, value)
            elif isinstance(value, dict):
                pipe.hset(key, mapping=value)
            elif isinstance(value, list):
                pipe.rpush(key, *value)
            elif isinstance(value, frozenset):
                pipe.sadd(key, *value)
            else:
                pipe.set(key, value)
            if key in ends:
                pipe.pexpire(key, ends[key] - now_ms)
        pipe.execute()


def take(server: Redis, now_ms: int) -> tuple[dict[bytes, Any], dict[bytes, int]]:
    """The contents of the database, and the ends of keys with a TTL."""
    data: dict[bytes, Any] = {}
    ends: dict[bytes, int] = {}
    keys: list[Any] = server.keys()
    for key in sorted(set(keys) - {CLOCK_KEY}):
        kind = server.type(key)
        if kind == b"zset":
            data[key] = Zset(server.zrange(key, 0, -1, withscores=True))
        elif kind == b"hash":
            data[key] = server.hgetall(key)
        elif kind == b"list":
            data[key] = server.lrange(key, 0, -1)
        elif kind == b"set":
            data[key] = frozenset(server.smembers(key))
        else:
            data[key] = server.get(key)
        if (left := server.pttl(key)) >= 0:
            ends[key] = now_ms + left
    return data, ends
