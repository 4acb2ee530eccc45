"""Saying a thing once."""

from collections.abc import Hashable


class Deduplicator:
    """Remembers the last `most` keys it was asked about; a forgotten one counts as new."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._seen: dict[Hashable, None] = {}

    def is_new(self, key: Hashable) -> bool:
        """Whether `key` is asked about for the first time."""
        if key in self._seen:
            return False
        if len(self._seen) >= self._most:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = None
        return True
