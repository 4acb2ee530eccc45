"""Keeps one bad item from stopping others: tells its errors from those of a dependency, and finds it by halving.

Everything that handles many items in one call goes through here: a worker's batch, the calls that hand it off, the
pages of sync, hints, and the sweep of the queue.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from peekaping_producer.errors import PRODUCER, BatchError, DependencyError, ItemError, ProducerError, StaleTermError

T = TypeVar("T")

_MOST_FAILURES_IN_A_ROW = 8
"""Single items that fail one after another, with none that works, mean that it is not the items' fault."""
_SMALLER_BY = 16
"""A batch that could not be read is tried again in parts that are smaller by this factor."""
_FIRST_DELAY_S = 10.0
_COSTLY_BYTES, _FIRST_COSTLY_DELAY_S = 2**22, 60.0
"""Each attempt to read, build and send a large task holds up everything else: by about 0.2 s at 50 MB."""
LONGEST_DELAY_S = 60.0
"""How far ahead a claimed monitor may be postponed after a failed attempt."""
FORGET_AFTER_S = 900.0
_MOST_REMEMBERED = 100_000
_UNLIMITED = 2**31
"""A size that no batch has."""


def is_of_dependency(error: BaseException) -> bool:
    """Whether a call failed for a reason that concerns every item. All others may be the fault of a single one."""
    return isinstance(error, DependencyError | StaleTermError) and not isinstance(error, ItemError)


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
            set_aside(part[0], error)
            if failures == _MOST_FAILURES_IN_A_ROW and not works and parts:
                works = await _first_works(parts, attempt)
                if not works:
                    raise BatchError(f"no item of a batch works: {describe(error)}", _origin(error)) from error
        else:
            works = True


async def _first_works(parts: list[list[T]], attempt: Callable[[list[T]], Awaitable[object]]) -> bool:
    """Whether the part at the other end works, which is then done: those that failed were only the worst."""
    try:
        await attempt(parts[0])
    except Exception:  # whatever it is, it is seen again where the part's turn comes
        return False
    del parts[0]
    return True


def _origin(error: Exception) -> str:
    return error.dependency if isinstance(error, DependencyError) else PRODUCER


def describe(error: BaseException) -> str:
    """An error as one line without the values in it: what an unforeseen exception quotes may be a secret."""
    text = str(error).splitlines()[0][:200] if isinstance(error, ProducerError) and str(error) else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class _Record(msgspec.Struct):
    size: int
    """How many such monitors may share a batch."""
    failures: int
    at: float
    """time.monotonic() of the latest one."""


class Suspects:
    """Monitors whose work failed: how many of them may share a batch, and how long to wait before the next attempt.

    What has not failed again for FORGET_AFTER_S is forgotten: the monitor is gone, or works on another replica.
    """

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def __len__(self) -> int:
        """How many are set aside."""
        self._forget()
        return sum(each.failures > 0 for each in self._records.values())

    def groups(self, ids: Iterable[str]) -> Iterator[list[str]]:
        """`ids` in batches: those without a record first and together, the others in parts of their size."""
        if not self._records:
            yield list(ids)
            return
        by_size: dict[int, list[str]] = {}
        for each in ids:
            record = self._records.get(each)
            by_size.setdefault(record.size if record else _UNLIMITED, []).append(each)
        for size in sorted(by_size, reverse=True):
            some = by_size[size]
            yield from (some[start : start + size] for start in range(0, len(some), size))

    def is_alone(self, ids: Sequence[str]) -> bool:
        """Whether this is a single one that failed before, so that it travels alone."""
        return len(ids) == 1 and ids[0] in self._records and self._records[ids[0]].size == 1

    def not_read(self, ids: Sequence[str]) -> None:
        """These could not be read together: next time they travel in smaller parts."""
        size = max(len(ids) // _SMALLER_BY, 1)
        for each in ids:
            self._remember(each, size)

    def failed(self, monitor_id: str, *, alone: bool = True, size: int = 0) -> float:
        """It failed, with a task of so many bytes: seconds until the next attempt, more each time.

        `alone`: it stops others of its batch, so that it has to travel alone. Others may be told apart within a batch.
        """
        failures = self._remember(monitor_id, 1 if alone else _UNLIMITED, failures=1)
        first_s = _FIRST_DELAY_S if size < _COSTLY_BYTES else _FIRST_COSTLY_DELAY_S
        return min(first_s * float(2 ** min(failures - 1, 10)), LONGEST_DELAY_S)

    def worked(self, ids: Iterable[str]) -> None:
        """These went well: their records end."""
        if self._records:
            for each in ids:
                self._records.pop(each, None)

    def _remember(self, monitor_id: str, size: int, *, failures: int = 0) -> int:
        """Returns how often it has failed by now."""
        record = self._records.pop(monitor_id, None) or _Record(_UNLIMITED, 0, 0.0)
        self._records[monitor_id] = _Record(min(record.size, size), record.failures + failures, time.monotonic())
        while len(self._records) > _MOST_REMEMBERED:
            del self._records[next(iter(self._records))]
        return record.failures + failures

    def _forget(self) -> None:
        """The oldest stand first."""
        since = time.monotonic() - FORGET_AFTER_S
        while self._records and (oldest := next(iter(self._records))) and self._records[oldest].at < since:
            del self._records[oldest]
