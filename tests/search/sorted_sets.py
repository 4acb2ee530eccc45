"""The commands of sorted sets, as far as the scripts use them."""

from collections.abc import Callable, Sequence

from tests.search.keyspace import (
    SYNTAX,
    CommandError,
    Keyspace,
    Reply,
    Zset,
    between,
    float_of,
    int_of,
    number,
    pairs_of,
)


def _zget(memory: Keyspace, key: bytes) -> Zset:
    return memory.get(key, Zset) or Zset()  # type: ignore[return-value]


def _sorted(members: Zset) -> list[tuple[bytes, float]]:
    return sorted(members.items(), key=lambda each: (each[1], each[0]))


def _zadd(memory: Keyspace, key: bytes, *args: bytes) -> Reply:
    flags = set()
    while args and args[0].upper() in (b"NX", b"XX", b"LT", b"GT", b"CH"):
        flags.add(args[0].upper())
        args = args[1:]
    if b"NX" in flags and flags & {b"XX", b"LT", b"GT"}:
        raise CommandError("ERR GT, LT, and/or NX options at the same time are not compatible")
    pairs = [(float_of(score), member) for score, member in pairs_of(args, SYNTAX)]
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


def _zrem(memory: Keyspace, key: bytes, *members: bytes) -> Reply:
    before = _zget(memory, key)
    after = Zset((member, score) for member, score in before.items() if member not in members)
    memory.put(key, after)
    return len(before) - len(after)


def _zscore(memory: Keyspace, key: bytes, member: bytes) -> Reply:
    score = _zget(memory, key).get(member)
    return None if score is None else number(score)


def _zmscore(memory: Keyspace, key: bytes, *members: bytes) -> Reply:
    scores = _zget(memory, key)
    return [number(scores[member]) if member in scores else None for member in members]


def _zcard(memory: Keyspace, key: bytes) -> Reply:
    return len(_zget(memory, key))


def _bound(text: bytes) -> tuple[float, bool]:
    """A score, and whether it is excluded."""
    try:
        return float_of(text.removeprefix(b"(")), text.startswith(b"(")
    except CommandError:
        raise CommandError("ERR min or max is not a float") from None


def _within(memory: Keyspace, key: bytes, least: bytes, most: bytes) -> list[tuple[bytes, float]]:
    (low, above), (high, below) = _bound(least), _bound(most)
    return [
        (member, score)
        for member, score in _sorted(_zget(memory, key))
        if (score > low if above else score >= low) and (score < high if below else score <= high)
    ]


def _zcount(memory: Keyspace, key: bytes, least: bytes, most: bytes) -> Reply:
    return len(_within(memory, key, least, most))


def _zrange(memory: Keyspace, key: bytes, start: bytes, stop: bytes, *options: bytes) -> Reply:
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
            limit = int_of(rest.pop(0)), int_of(rest.pop(0))
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
        first, last = int_of(start), int_of(stop)
        found = between(_sorted(_zget(memory, key))[:: -1 if backwards else 1], first, last)
    if not with_scores:
        return [member for member, _ in found]
    return [part for member, score in found for part in (member, number(score))]


def _zscan(memory: Keyspace, key: bytes, _cursor: bytes, *_options: bytes) -> Reply:
    flat = [part for member, score in _sorted(_zget(memory, key)) for part in (member, number(score))]
    return [b"0", flat]


COMMANDS: dict[bytes, tuple[int, Callable[..., Reply]]] = {
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
