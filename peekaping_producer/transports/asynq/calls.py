"""Divides tasks into calls of Redis, and judges the errors of calls with a large task."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from peekaping_producer.errors import RedisUnavailableError
from peekaping_producer.service.isolation import is_of_dependency

T = TypeVar("T")

MAX_PER_CALL = 1000
"""Tasks in one call: a script stops every other client of Redis for 1 to 10 ms then."""
CALL_BYTES = 4 * 1024 * 1024
"""The total size of the messages in one call, at most, unless a single one is larger."""
LARGE_BYTES = 256 * 1024
"""A message of this size is sent alone: Redis, or a proxy, may refuse it, and must not refuse others with it."""


def calls_of(tasks: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield the tasks of each call, in order. `size_of` returns the bytes of one."""
    call: list[T] = []
    total = 0
    for task in tasks:
        size = size_of(task)
        is_large = size >= LARGE_BYTES
        if call and (is_large or len(call) == MAX_PER_CALL or total + size > CALL_BYTES):
            yield call
            call, total = [], 0
        if is_large:
            yield [task]
            continue
        call.append(task)
        total += size
    if call:
        yield call


def concerns_every_call(error: BaseException) -> bool:
    """Whether an error of a call with one large message would fail other calls too.

    A lost connection may be due to the size: Redis refuses what is too large by closing the connection, mostly before
    its reason is read.
    """
    return is_of_dependency(error) and not isinstance(error, RedisUnavailableError)
