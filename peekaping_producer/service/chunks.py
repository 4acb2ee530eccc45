"""Lists in parts of bounded size; itertools.batched needs Python 3.12."""

from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


def chunks(items: list[T], size: int) -> Iterator[list[T]]:
    """Yield `items` in lists of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))
