"""Keeps one bad item from stopping the others: separates its errors from a dependency's, and finds it by halving.

What handles many items in one call uses this: a worker's batch, the calls that hand it off, the pages of sync, hints,
the sweep of the queue, and the settling of asynq tasks. The relay has to keep the order: see messages.publishing.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from peekaping_producer.errors import PRODUCER, BatchError, DependencyError, ItemError, ProducerError, StaleTermError
from peekaping_producer.service.text import one_line

T = TypeVar("T")

MAX_CONSECUTIVE_FAILURES = 8
"""After this many failures of single items without a success, the items are not the cause."""


def is_of_dependency(error: BaseException) -> bool:
    """Whether the reason of an error concerns every item. Otherwise a single item may be the cause."""
    return isinstance(error, DependencyError | StaleTermError) and not isinstance(error, ItemError)


async def isolate(
    items: Sequence[T],
    attempt: Callable[[list[T]], Awaitable[object]],
    set_aside: Callable[[T, Exception], object],
    *,
    is_of_dependency: Callable[[BaseException], bool] = is_of_dependency,
) -> None:
    """Pass all `items` to `attempt`, in one call if that succeeds; halve a part that fails until the bad item is alone.

    `set_aside` receives each bad item and its error. `attempt` must be safe to repeat for the items of a failed call.
    Raises an error for which `is_of_dependency` is true, and BatchError if single items fail in a row and none
    succeeds.
    """
    parts = [list(items)] if items else []
    failures, works = 0, False
    while parts:
        part = parts.pop()
        try:
            await attempt(part)
        except Exception as error:  # any error of one item; it is set aside
            if is_of_dependency(error):
                raise
            if len(part) > 1:
                # The second half next: items that failed before are the longest overdue, so they come first.
                parts += halves(part)
                continue
            failures += 1
            set_aside(part[0], error)
            if failures == MAX_CONSECUTIVE_FAILURES and not works and parts:
                works = await _any_works(parts, attempt, is_of_dependency)
                if not works:
                    raise BatchError(f"every item of a batch fails: {describe(error)}", _origin(error)) from error
        else:
            works = True


def halves(items: list[T]) -> tuple[list[T], list[T]]:
    """Return the first and the second half."""
    middle = len(items) // 2
    return items[:middle], items[middle:]


async def _any_works(
    parts: list[list[T]],
    attempt: Callable[[list[T]], Awaitable[object]],
    is_of_dependency: Callable[[BaseException], bool],
) -> bool:
    """Whether the part at the other end succeeds, or one item of any part: then only the items tried so far are bad.

    What succeeded is removed from `parts`.
    """
    for part, size in [(parts[0], len(parts[0])), *((part, 1) for part in parts if len(part) > 1)]:
        try:
            await attempt(part[:size])
        except Exception as error:  # raised again when this part is next
            if is_of_dependency(error):
                return False
        else:
            del part[:size]
            parts[:] = filter(None, parts)
            return True
    return False


def _origin(error: Exception) -> str:
    return error.dependency if isinstance(error, DependencyError) else PRODUCER


def describe(error: BaseException) -> str:
    """The error as one line; of an unforeseen one the type only, since its text may contain a secret."""
    text = one_line(str(error)) if isinstance(error, ProducerError) else ""
    return text or type(error).__name__
