"""The part of Redis that the scripts use, in memory, with a clock that is set from outside.

The commands and options are those of the scripts and of asynq's consumers; whatever else is asked is refused like an
unknown command, so that a script cannot come to depend on something this module only pretends to do.
"""

from collections.abc import Callable

from tests.search import sorted_sets
from tests.search.keyspace import (
    OK,
    SYNTAX,
    CommandError,
    Hash,
    Keyspace,
    Reply,
    Status,
    Zset,
    between,
    int_of,
    pairs_of,
)

# Strings and keys.


def _get(memory: Keyspace, key: bytes) -> Reply:
    return memory.get(key, bytes)


def _set(memory: Keyspace, key: bytes, value: bytes, *options: bytes) -> Reply:
    ends = None
    rest = list(options)
    while rest:
        option = rest.pop(0).upper()
        if option in (b"PX", b"EX") and rest:
            lives = int_of(rest.pop(0)) * (1 if option == b"PX" else 1000)
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


def _del(memory: Keyspace, *keys: bytes) -> Reply:
    return sum(memory.delete(key) for key in keys)


def _exists(memory: Keyspace, *keys: bytes) -> Reply:
    return sum(key in memory.data for key in keys)


def _pexpire(memory: Keyspace, key: bytes, lives: bytes) -> Reply:
    ms = int_of(lives)
    if key not in memory.data:
        return 0
    if ms <= 0:
        memory.delete(key)
    else:
        memory.ends[key] = memory.now_us // 1000 + ms
    return 1


def _pttl(memory: Keyspace, key: bytes) -> Reply:
    if key not in memory.data:
        return -2
    return memory.ends[key] - memory.now_us // 1000 if key in memory.ends else -1


def _time(memory: Keyspace) -> Reply:
    return [b"%d" % (memory.now_us // 1_000_000), b"%d" % (memory.now_us % 1_000_000)]


def _type(memory: Keyspace, key: bytes) -> Reply:
    names: dict[type, bytes] = {bytes: b"string", list: b"list", dict: b"hash", Zset: b"zset", frozenset: b"set"}
    return Status(names[type(memory.data[key])] if key in memory.data else b"none")


# Hashes.


def _hset(memory: Keyspace, key: bytes, *flat: bytes) -> Reply:
    pairs = pairs_of(flat, CommandError("ERR wrong number of arguments for 'hset' command"))
    before = memory.get(key, dict) or {}
    after = {**before, **dict(pairs)}
    memory.put(key, after)
    return len(after) - len(before)


def _hget(memory: Keyspace, key: bytes, field: bytes) -> Reply:
    return (memory.get(key, dict) or {}).get(field)


def _hmget(memory: Keyspace, key: bytes, *fields: bytes) -> Reply:
    found = memory.get(key, dict) or {}
    return [found.get(field) for field in fields]


def _hgetall(memory: Keyspace, key: bytes) -> Reply:
    return [part for pair in (memory.get(key, dict) or {}).items() for part in pair]


def _hincrby(memory: Keyspace, key: bytes, field: bytes, by: bytes) -> Reply:
    added = int_of(by)
    before: Hash = memory.get(key, dict) or {}
    try:
        after = int_of(before.get(field, b"0")) + added
    except CommandError:
        raise CommandError("ERR hash value is not an integer") from None
    memory.put(key, {**before, field: b"%d" % after})
    return after


def _hexists(memory: Keyspace, key: bytes, field: bytes) -> Reply:
    return int(field in (memory.get(key, dict) or {}))


def _hdel(memory: Keyspace, key: bytes, *fields: bytes) -> Reply:
    before: Hash = memory.get(key, dict) or {}
    after = {field: value for field, value in before.items() if field not in fields}
    memory.put(key, after)
    return len(before) - len(after)


# Lists.


def _lpush(memory: Keyspace, key: bytes, *values: bytes) -> Reply:
    after = [*reversed(values), *(memory.get(key, list) or [])]
    memory.put(key, after)
    return len(after)


def _rpush(memory: Keyspace, key: bytes, *values: bytes) -> Reply:
    after = [*(memory.get(key, list) or []), *values]
    memory.put(key, after)
    return len(after)


def _llen(memory: Keyspace, key: bytes) -> Reply:
    return len(memory.get(key, list) or [])


def _lrange(memory: Keyspace, key: bytes, start: bytes, stop: bytes) -> Reply:
    first, last = int_of(start), int_of(stop)
    return list(between(memory.get(key, list) or [], first, last))


def _lrem(memory: Keyspace, key: bytes, count: bytes, value: bytes) -> Reply:
    most = int_of(count)
    before: list[bytes] = memory.get(key, list) or []
    at = [index for index, each in enumerate(before) if each == value]
    gone = set(at if most == 0 else at[:most] if most > 0 else at[most:])
    memory.put(key, [each for index, each in enumerate(before) if index not in gone])
    return len(gone)


def _lpos(memory: Keyspace, key: bytes, value: bytes, *options: bytes) -> Reply:
    if options and (len(options) != 2 or options[0].upper() != b"COUNT"):
        raise SYNTAX
    at = [index for index, each in enumerate(memory.get(key, list) or []) if each == value]
    if not options:
        return at[0] if at else None
    count = int_of(options[1])
    return at[:count] if count else at


def _rpoplpush(memory: Keyspace, source: bytes, target: bytes) -> Reply:
    before: list[bytes] = memory.get(source, list) or []
    if not before:
        return None
    memory.get(target, list)
    memory.put(source, before[:-1])
    _lpush(memory, target, before[-1])
    return before[-1]


# Sets.


def _sadd(memory: Keyspace, key: bytes, *members: bytes) -> Reply:
    before: frozenset[bytes] = memory.get(key, frozenset) or frozenset()
    memory.put(key, before | set(members))
    return len(before | set(members)) - len(before)


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
    **sorted_sets.COMMANDS,
}
"""By name: the least number of words, and the function."""


class Memory(Keyspace):
    """One database, and its commands."""

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
            self.expire()
        return command(self, *args[1:])
