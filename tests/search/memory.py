"""The part of Redis that the scripts use, in memory, with a clock that is set from outside.

A snapshot costs one shallow copy: no value is ever changed in place, every write stores a new one. The commands and
options are those of the scripts and of asynq's consumers; whatever else is asked is refused like an unknown command,
so that a script cannot come to depend on something this module only pretends to do.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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


class Memory:
    """One database. `data` and `ends` (ms, of keys with a TTL) can be copied out and restored."""

    def __init__(self) -> None:
        self.data: dict[bytes, Any] = {}
        self.ends: dict[bytes, int] = {}
        self.now_us = 0
        """TIME, in µs."""

    def snapshot(self) -> tuple[dict[bytes, Any], dict[bytes, int]]:
        return dict(self.data), dict(self.ends)

    def restore(self, data: Mapping[bytes, Any], ends: Mapping[bytes, int]) -> None:
        self.data, self.ends = dict(data), dict(ends)

    def call(self, *args: bytes) -> Reply:
        """Run one command; raises CommandError."""
        name = args[0].upper()
        found = _COMMANDS.get(name)
        if found is None:
            raise CommandError("ERR Unknown command called from script")
        least, command = found
        if len(args) < least:
            raise CommandError("ERR Wrong number of args calling command from script")
        if self.ends:
            self._expire()
        return command(self, *args[1:])

    def _expire(self) -> None:
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


def _float(text: bytes) -> float:
    try:
        value = float(text)
    except ValueError:
        raise NOT_A_FLOAT from None
    if math.isnan(value) or b"_" in text or text != text.strip():
        raise NOT_A_FLOAT
    return value


def _int(text: bytes) -> int:
    if not text.removeprefix(b"-").isdigit() or (text.lstrip(b"-").startswith(b"0") and text != b"0"):
        raise NOT_AN_INTEGER
    return int(text)


def _pairs(flat: Sequence[bytes], odd: CommandError) -> Iterable[tuple[bytes, bytes]]:
    if len(flat) % 2 or not flat:
        raise odd
    return list(pairwise(flat))[::2]


def _stretch(items: Sequence[Any], start: int, stop: int) -> Sequence[Any]:
    """The index of LRANGE and ZRANGE: both ends are included, and negative ones count from the end."""
    size = len(items)
    start = max(start + size, 0) if start < 0 else start
    stop = stop + size if stop < 0 else stop
    return items[start : stop + 1] if stop >= 0 else items[:0]


# Strings and keys.


def _get(memory: Memory, key: bytes) -> Reply:
    return memory.get(key, bytes)


def _set(memory: Memory, key: bytes, value: bytes, *options: bytes) -> Reply:
    ends = None
    rest = list(options)
    while rest:
        option = rest.pop(0).upper()
        if option in (b"PX", b"EX") and rest:
            lives = _int(rest.pop(0)) * (1 if option == b"PX" else 1000)
            if lives <= 0:
                raise CommandError("ERR invalid expire time in 'set' command")
            ends = memory.now_us // 1000 + lives
        elif option == b"NX":
            if key in memory.data:
                return None
        else:
            raise SYNTAX
    memory.data[key] = value
    memory.ends.pop(key, None)
    if ends is not None:
        memory.ends[key] = ends
    return OK


def _del(memory: Memory, *keys: bytes) -> Reply:
    return sum(memory.delete(key) for key in keys)


def _exists(memory: Memory, *keys: bytes) -> Reply:
    return sum(key in memory.data for key in keys)


def _pexpire(memory: Memory, key: bytes, lives: bytes) -> Reply:
    ms = _int(lives)
    if key not in memory.data:
        return 0
    if ms <= 0:
        memory.delete(key)
    else:
        memory.ends[key] = memory.now_us // 1000 + ms
    return 1


def _pttl(memory: Memory, key: bytes) -> Reply:
    if key not in memory.data:
        return -2
    return memory.ends[key] - memory.now_us // 1000 if key in memory.ends else -1


def _time(memory: Memory) -> Reply:
    return [b"%d" % (memory.now_us // 1_000_000), b"%d" % (memory.now_us % 1_000_000)]


def _type(memory: Memory, key: bytes) -> Reply:
    names: dict[type, bytes] = {bytes: b"string", list: b"list", dict: b"hash", Zset: b"zset", frozenset: b"set"}
    return Status(names[type(memory.data[key])] if key in memory.data else b"none")


# Hashes.


def _hset(memory: Memory, key: bytes, *flat: bytes) -> Reply:
    pairs = _pairs(flat, CommandError("ERR wrong number of arguments for 'hset' command"))
    before = memory.get(key, dict) or {}
    after = {**before, **dict(pairs)}
    memory.put(key, after)
    return len(after) - len(before)


def _hget(memory: Memory, key: bytes, field: bytes) -> Reply:
    return (memory.get(key, dict) or {}).get(field)


def _hmget(memory: Memory, key: bytes, *fields: bytes) -> Reply:
    found = memory.get(key, dict) or {}
    return [found.get(field) for field in fields]


def _hgetall(memory: Memory, key: bytes) -> Reply:
    return [part for pair in (memory.get(key, dict) or {}).items() for part in pair]


def _hincrby(memory: Memory, key: bytes, field: bytes, by: bytes) -> Reply:
    added = _int(by)
    before: Hash = memory.get(key, dict) or {}
    try:
        after = _int(before.get(field, b"0")) + added
    except CommandError:
        raise CommandError("ERR hash value is not an integer") from None
    memory.put(key, {**before, field: b"%d" % after})
    return after


def _hexists(memory: Memory, key: bytes, field: bytes) -> Reply:
    return int(field in (memory.get(key, dict) or {}))


def _hdel(memory: Memory, key: bytes, *fields: bytes) -> Reply:
    before: Hash = memory.get(key, dict) or {}
    after = {field: value for field, value in before.items() if field not in fields}
    memory.put(key, after)
    return len(before) - len(after)


# Lists.


def _lpush(memory: Memory, key: bytes, *values: bytes) -> Reply:
    after = [*reversed(values), *(memory.get(key, list) or [])]
    memory.put(key, after)
    return len(after)


def _rpush(memory: Memory, key: bytes, *values: bytes) -> Reply:
    after = [*(memory.get(key, list) or []), *values]
    memory.put(key, after)
    return len(after)


def _llen(memory: Memory, key: bytes) -> Reply:
    return len(memory.get(key, list) or [])


def _lrange(memory: Memory, key: bytes, start: bytes, stop: bytes) -> Reply:
    first, last = _int(start), _int(stop)
    return list(_stretch(memory.get(key, list) or [], first, last))


def _lrem(memory: Memory, key: bytes, count: bytes, value: bytes) -> Reply:
    most = _int(count)
    before: list[bytes] = memory.get(key, list) or []
    at = [index for index, each in enumerate(before) if each == value]
    gone = set(at if most == 0 else at[:most] if most > 0 else at[most:])
    memory.put(key, [each for index, each in enumerate(before) if index not in gone])
    return len(gone)


def _lpos(memory: Memory, key: bytes, value: bytes, *options: bytes) -> Reply:
    if options and (len(options) != 2 or options[0].upper() != b"COUNT"):
        raise SYNTAX
    at = [index for index, each in enumerate(memory.get(key, list) or []) if each == value]
    if not options:
        return at[0] if at else None
    count = _int(options[1])
    return at[:count] if count else at


def _rpoplpush(memory: Memory, source: bytes, target: bytes) -> Reply:
    before: list[bytes] = memory.get(source, list) or []
    if not before:
        return None
    memory.get(target, list)
    memory.put(source, before[:-1])
    _lpush(memory, target, before[-1])
    return before[-1]


# Sets and sorted sets.


def _sadd(memory: Memory, key: bytes, *members: bytes) -> Reply:
    before: frozenset[bytes] = memory.get(key, frozenset) or frozenset()
    memory.put(key, before | set(members))
    return len(before | set(members)) - len(before)


def _zget(memory: Memory, key: bytes) -> Zset:
    return memory.get(key, Zset) or Zset()  # type: ignore[return-value]


def _sorted(members: Zset) -> list[tuple[bytes, float]]:
    return sorted(members.items(), key=lambda each: (each[1], each[0]))


def _zadd(memory: Memory, key: bytes, *args: bytes) -> Reply:
    flags = set()
    while args and args[0].upper() in (b"NX", b"XX", b"LT", b"GT", b"CH"):
        flags.add(args[0].upper())
        args = args[1:]
    if b"NX" in flags and flags & {b"XX", b"LT", b"GT"}:
        raise CommandError("ERR GT, LT, and/or NX options at the same time are not compatible")
    pairs = [(_float(score), member) for score, member in _pairs(args, SYNTAX)]
    after = Zset(_zget(memory, key))
    added = changed = 0
    for score, member in pairs:
        before = after.get(member)
        if before is None:
            if b"XX" in flags:
                continue
            added += 1
        elif (
            b"NX" in flags
            or (b"LT" in flags and score >= before)
            or (b"GT" in flags and score <= before)
            or score == before
        ):
            continue
        else:
            changed += 1
        after[member] = score
    memory.put(key, after)
    return added + changed if b"CH" in flags else added


def _zrem(memory: Memory, key: bytes, *members: bytes) -> Reply:
    before = _zget(memory, key)
    after = Zset((member, score) for member, score in before.items() if member not in members)
    memory.put(key, after)
    return len(before) - len(after)


def _zscore(memory: Memory, key: bytes, member: bytes) -> Reply:
    score = _zget(memory, key).get(member)
    return None if score is None else number(score)


def _zmscore(memory: Memory, key: bytes, *members: bytes) -> Reply:
    scores = _zget(memory, key)
    return [number(scores[member]) if member in scores else None for member in members]


def _zcard(memory: Memory, key: bytes) -> Reply:
    return len(_zget(memory, key))


def _bound(text: bytes) -> tuple[float, bool]:
    """A score, and whether it is excluded."""
    try:
        return _float(text.removeprefix(b"(")), text.startswith(b"(")
    except CommandError:
        raise CommandError("ERR min or max is not a float") from None


def _within(memory: Memory, key: bytes, least: bytes, most: bytes) -> list[tuple[bytes, float]]:
    (low, above), (high, below) = _bound(least), _bound(most)
    return [
        (member, score)
        for member, score in _sorted(_zget(memory, key))
        if (score > low if above else score >= low) and (score < high if below else score <= high)
    ]


def _zcount(memory: Memory, key: bytes, least: bytes, most: bytes) -> Reply:
    return len(_within(memory, key, least, most))


def _zrange(memory: Memory, key: bytes, start: bytes, stop: bytes, *options: bytes) -> Reply:
    rest = [option.upper() for option in options]
    with_scores = by_score = backwards = False
    limit: tuple[int, int] | None = None
    while rest:
        option = rest.pop(0)
        if option == b"WITHSCORES":
            with_scores = True
        elif option == b"BYSCORE":
            by_score = True
        elif option == b"REV":
            backwards = True
        elif option == b"LIMIT" and len(rest) >= 2:
            limit = _int(rest.pop(0)), _int(rest.pop(0))
        else:
            raise SYNTAX
    if limit and not by_score:
        raise CommandError("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
    if by_score:
        found: Sequence[tuple[bytes, float]] = _within(memory, key, *((stop, start) if backwards else (start, stop)))
        found = found[::-1] if backwards else found
        if limit:
            found = found[limit[0] :] if limit[1] < 0 else found[limit[0] : limit[0] + limit[1]]
    else:
        first, last = _int(start), _int(stop)
        found = _stretch(_sorted(_zget(memory, key))[:: -1 if backwards else 1], first, last)
    if not with_scores:
        return [member for member, _ in found]
    return [part for member, score in found for part in (member, number(score))]


def _zscan(memory: Memory, key: bytes, _cursor: bytes, *_options: bytes) -> Reply:
    flat = [part for member, score in _sorted(_zget(memory, key)) for part in (member, number(score))]
    return [b"0", flat]


_COMMANDS: dict[bytes, tuple[int, Callable[..., Reply]]] = {
    b"GET": (2, _get),
    b"SET": (3, _set),
    b"DEL": (2, _del),
    b"EXISTS": (2, _exists),
    b"PEXPIRE": (3, _pexpire),
    b"PTTL": (2, _pttl),
    b"TIME": (1, _time),
    b"TYPE": (2, _type),
    b"HSET": (4, _hset),
    b"HGET": (3, _hget),
    b"HMGET": (3, _hmget),
    b"HGETALL": (2, _hgetall),
    b"HINCRBY": (4, _hincrby),
    b"HEXISTS": (3, _hexists),
    b"HDEL": (3, _hdel),
    b"LPUSH": (3, _lpush),
    b"RPUSH": (3, _rpush),
    b"LLEN": (2, _llen),
    b"LRANGE": (4, _lrange),
    b"LREM": (4, _lrem),
    b"LPOS": (3, _lpos),
    b"RPOPLPUSH": (3, _rpoplpush),
    b"SADD": (3, _sadd),
    b"ZADD": (4, _zadd),
    b"ZREM": (3, _zrem),
    b"ZSCORE": (3, _zscore),
    b"ZMSCORE": (3, _zmscore),
    b"ZCARD": (2, _zcard),
    b"ZCOUNT": (4, _zcount),
    b"ZRANGE": (4, _zrange),
    b"ZSCAN": (3, _zscan),
}
"""By name: the least number of words, and the function."""
