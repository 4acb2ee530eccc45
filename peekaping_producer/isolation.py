"""Keeps one bad item from stopping others: tells its errors from those of a dependency, and finds it by halving.

Everything that handles many items in one call goes through here: a worker's batch, the calls that hand it off, the
pages of sync, hints, and the sweep of the queue.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from peekaping_producer.errors import BatchError, ProducerError, RowsError, StaleTermError, StoreError

T = TypeVar("T")

_MOST_FAILURES_IN_A_ROW = 8
"""Single items that fail one after another, with none that works, mean that it is not the items' fault."""
_SMALLER_BY = 16
"""A batch that could not be read is tried again in parts that are smaller by this factor."""
_FIRST_DELAY_S = 10.0
_COSTLY_BYTES, _FIRST_COSTLY_DELAY_S = 2**22, 60.0
"""Each attempt to read, build and send a large task holds up everything else: by about 0.2 s at 50 MB."""
_MOST_REMEMBERED = 100_000

# What Redis refuses whatever the item is. Found anywhere in the text, since before version 7 the error of a command
# in a script stands inside the script's.
_SERVER_WIDE = re.compile(
    r"\b(LOADING|BUSY|READONLY|MISCONF|NOREPLICAS|OOM|CLUSTERDOWN|MASTERDOWN|NOAUTH|NOPERM|WRONGPASS|NOSCRIPT|UNKILLABLE"
    r"|WRONGTYPE|EXECABORT)\b"
)


def is_of_dependency(error: BaseException) -> bool:
    """Whether an error says that Redis or the database does not do its part, for whatever items."""
    if isinstance(error, ResponseError):
        # The client removes the code of those errors that it has a class for.
        return type(error) is not ResponseError or _SERVER_WIDE.search(str(error)) is not None
    if isinstance(error, RowsError):
        return False
    return isinstance(error, RedisError | StoreError | StaleTermError | OSError | BatchError)


async def isolate(
    items: Sequence[T],
    attempt: Callable[[list[T]], Awaitable[object]],
    set_aside: Callable[[T, Exception], object],
    *,
    is_of_dependency: Callable[[BaseException], bool] = is_of_dependency,
) -> None:
    """Give all `items` to `attempt`, in one call where that works; halve a part that fails until the bad one is alone.

    `attempt` must be safe to repeat for the items of a call that failed. Raises what is a dependency's error, and
    BatchError where single items fail one after another and none works: then it is not theirs.
    """
    parts = [list(items)] if items else []
    failures, works = 0, False
    while parts:
        part = parts.pop()
        try:
            await attempt(part)
        except Exception as error:
            if is_of_dependency(error):
                raise
            if len(part) > 1:
                middle = len(part) // 2
                # The second half next: what failed before is the longest overdue, and so stands at the beginning.
                parts += [part[:middle], part[middle:]]
                continue
            failures += 1
            if failures == _MOST_FAILURES_IN_A_ROW and not works and parts:
                dependency = (
                    "redis"
                    if isinstance(error, RedisError)
                    else "database"
                    if isinstance(error, StoreError)
                    else "producer"
                )
                raise BatchError(f"no item of a batch works: {describe(error)}", dependency) from error
            set_aside(part[0], error)
        else:
            works = True


def describe(error: BaseException) -> str:
    """An error as one line without the values in it: what an unforeseen exception quotes may be a secret."""
    safe = isinstance(error, ResponseError | ProducerError)
    text = str(error).splitlines()[0][:200] if safe and str(error) else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_lost_connection(error: BaseException) -> bool:
    """Whether the connection broke or did not answer in time."""
    return isinstance(error, RedisConnectionError | RedisTimeoutError | OSError)


class Suspects:
    """Monitors whose work failed: how many of them may share a batch, and how long to wait before the next attempt."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._failures: dict[str, int] = {}

    def __len__(self) -> int:
        """How many are set aside."""
        return len(self._failures)

    def groups(self, ids: Iterable[str]) -> Iterator[list[str]]:
        """`ids` in batches: those without a record first and together, the others in parts of their size."""
        if not self._sizes:
            yield list(ids)
            return
        by_size: dict[int, list[str]] = {}
        for each in ids:
            by_size.setdefault(self._sizes.get(each, 0), []).append(each)
        if 0 in by_size:
            yield by_size.pop(0)
        for size in sorted(by_size, reverse=True):
            some = by_size[size]
            yield from (some[start : start + size] for start in range(0, len(some), size))

    def is_alone(self, ids: Sequence[str]) -> bool:
        """Whether this is a single one that failed before, so that it travels alone."""
        return len(ids) == 1 and self._sizes.get(ids[0]) == 1

    def not_read(self, ids: Sequence[str]) -> None:
        """These could not be read together: next time they travel in smaller parts."""
        size = max(len(ids) // _SMALLER_BY, 1)
        for each in ids:
            self._remember(each, size)

    def failed(self, monitor_id: str, *, size: int = 0) -> float:
        """It failed alone, with a task of so many bytes: seconds until the next attempt, more each time."""
        failures = self._failures.get(monitor_id, 0)
        self._remember(monitor_id, 1)
        if len(self._failures) < _MOST_REMEMBERED or failures:
            self._failures[monitor_id] = failures + 1
        first_s = _FIRST_DELAY_S if size < _COSTLY_BYTES else _FIRST_COSTLY_DELAY_S
        return float(first_s * 2 ** min(failures, 10))

    def worked(self, ids: Iterable[str]) -> None:
        """These went well: nothing is held against them."""
        if self._sizes:
            for each in ids:
                self._sizes.pop(each, None)
                self._failures.pop(each, None)

    def _remember(self, monitor_id: str, size: int) -> None:
        if len(self._sizes) < _MOST_REMEMBERED:
            self._sizes[monitor_id] = size
