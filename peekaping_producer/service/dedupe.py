"""Deduplicates log messages."""

from collections.abc import Hashable


class Deduplicator:
    """Remembers the last `most` keys; older ones count as new again."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._seen: dict[Hashable, None] = {}

    def is_new(self, key: Hashable) -> bool:
        """Whether `key` has not been seen before."""
        if key in self._seen:
            return False
        if len(self._seen) >= self._most:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = None
        return True
