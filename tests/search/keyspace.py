"""The keys of a Redis in memory: typed values that a snapshot copies cheaply, and the words of commands.

A snapshot costs one shallow copy: no value is ever changed in place, every write stores a new one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

Hash = dict[bytes, bytes]
ZSet = dict[bytes, float]
Value = bytes | list[bytes] | Hash | ZSet | frozenset[bytes]
Reply = Any
"""int, bytes, None, list of these, or Status; errors are raised."""
V = TypeVar("V", bytes, list[bytes], Hash, ZSet, frozenset[bytes])


class CommandError(Exception):
    """An error reply; the message is what Redis sends."""


class Status(bytes):
    """A simple string, such as OK."""


class Zset(dict[bytes, float]):
    """A sorted set; its type distinguishes it from a hash."""


OK = Status(b"OK")
WRONG_TYPE = CommandError("WRONGTYPE Operation against a key holding the wrong kind of value")
SYNTAX = CommandError("ERR syntax error")
NOT_A_FLOAT = CommandError("ERR value is not a valid float")
NOT_AN_INTEGER = CommandError("ERR value is not an integer or out of range")


class Keyspace:
    """The keys of one database. `data` and `ends` (ms, of keys with a TTL) can be copied out and restored."""

    def __init__(self) -> None:
        self.data: dict[bytes, Any] = {}
        self.ends: dict[bytes, int] = {}
        self.now_us = 0
        """TIME, in µs."""

    def snapshot(self) -> tuple[dict[bytes, Any], dict[bytes, int]]:
        return dict(self.data), dict(self.ends)

    def restore(self, data: Mapping[bytes, Any], ends: Mapping[bytes, int]) -> None:
        self.data, self.ends = dict(data), dict(ends)

    def expire(self) -> None:
        """Delete the keys whose time has come."""
        for key in [key for key, end in self.ends.items() if end <= self.now_us // 1000]:
            self.delete(key)

    def delete(self, key: bytes) -> bool:
        self.ends.pop(key, None)
        return self.data.pop(key, None) is not None

    def get(self, key: bytes, kind: type[V]) -> V | None:
        value = self.data.get(key)
        if value is not None and type(value) is not kind:
            raise WRONG_TYPE
        return value

    def put(self, key: bytes, value: Value) -> None:
        """Store a collection; an empty one removes its key."""
        if value:
            self.data[key] = value
        else:
            self.delete(key)


def number(text: float) -> bytes:
    """A double as Redis prints it."""
    if math.isinf(text):
        return b"inf" if text > 0 else b"-inf"
    return b"%d" % text if text == int(text) and abs(text) < 1e17 else repr(float(text)).encode()


def float_of(text: bytes) -> float:
    try:
        value = float(text)
    except ValueError:
        raise NOT_A_FLOAT from None
    if math.isnan(value) or b"_" in text or text != text.strip():
        raise NOT_A_FLOAT
    return value


def int_of(text: bytes) -> int:
    if not text.removeprefix(b"-").isdigit() or (text.lstrip(b"-").startswith(b"0") and text != b"0"):
        raise NOT_AN_INTEGER
    return int(text)


def pairs_of(flat: Sequence[bytes], odd: CommandError) -> Iterable[tuple[bytes, bytes]]:
    if len(flat) % 2 or not flat:
        raise odd
    return list(pairwise(flat))[::2]


def between(items: Sequence[Any], start: int, stop: int) -> Sequence[Any]:
    """The index of LRANGE and ZRANGE: both ends are included, and negative ones count from the end."""
    size = len(items)
    start = max(start + size, 0) if start < 0 else start
    stop = stop + size if stop < 0 else stop
    return items[start : stop + 1] if stop >= 0 else items[:0]
