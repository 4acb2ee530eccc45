"""The monitors that failed on one replica: shared by its workers."""

import time
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from peekaping_producer.schedule import MAX_DELAY_S
from peekaping_producer.service.chunks import chunks

_SPLIT_FACTOR = 16
"""A batch that could not be read is retried in parts that are smaller by this factor."""
_FIRST_DELAY_S = 10.0
_COSTLY_BYTES, _FIRST_COSTLY_DELAY_S = 2**22, 60.0
"""Each attempt to read, build and send a large task blocks the event loop: for about 0.2 s at 50 MB."""
FORGET_AFTER_S = 900.0
_MAX_RECORDS = 100_000
_UNLIMITED = 2**31
"""Larger than any batch."""


class _Record(msgspec.Struct):
    size: int
    """The largest batch that this monitor may be in."""
    failures: int
    at: float
    """time.monotonic() of the latest one."""


class Suspects:
    """Monitors whose work failed: the size of the batches they may be in, and the delay before the next attempt.

    A record ends after FORGET_AFTER_S without another failure: the monitor is gone, or runs on another replica.
    """

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def __len__(self) -> int:
        """The number of monitors that are set aside."""
        self._forget()
        return sum(record.failures > 0 for record in self._records.values())

    def groups(self, ids: Iterable[str]) -> Iterator[list[str]]:
        """Split `ids` into batches: first those without a record, together; then the others in parts of their size."""
        if not self._records:
            yield list(ids)
            return
        by_size: dict[int, list[str]] = {}
        for monitor_id in ids:
            record = self._records.get(monitor_id)
            by_size.setdefault(record.size if record else _UNLIMITED, []).append(monitor_id)
        for size in sorted(by_size, reverse=True):
            yield from chunks(by_size[size], size)

    def is_alone(self, ids: Sequence[str]) -> bool:
        """Whether this is a single monitor that failed before and must be handled alone."""
        return len(ids) == 1 and ids[0] in self._records and self._records[ids[0]].size == 1

    def record_unread(self, ids: Sequence[str]) -> None:
        """Record that these could not be read together: next time they are read in smaller parts."""
        size = max(len(ids) // _SPLIT_FACTOR, 1)
        for monitor_id in ids:
            self._remember(monitor_id, size)

    def record_failure(self, monitor_id: str, *, alone: bool = True, size: int = 0) -> float:
        """Record a failure with a task of `size` bytes; return the seconds until the next attempt, more each time.

        `alone`: the monitor stops others in its batch, so it must be handled alone.
        """
        failures = self._remember(monitor_id, 1 if alone else _UNLIMITED, failures=1)
        first_s = _FIRST_DELAY_S if size < _COSTLY_BYTES else _FIRST_COSTLY_DELAY_S
        return min(first_s * float(2 ** min(failures - 1, 10)), MAX_DELAY_S)

    def record_success(self, ids: Iterable[str]) -> None:
        """Remove the records of monitors that succeeded."""
        if self._records:
            for monitor_id in ids:
                self._records.pop(monitor_id, None)

    def _remember(self, monitor_id: str, size: int, *, failures: int = 0) -> int:
        """Return the number of its failures so far."""
        record = self._records.pop(monitor_id, None) or _Record(_UNLIMITED, 0, 0.0)
        self._records[monitor_id] = _Record(min(record.size, size), record.failures + failures, time.monotonic())
        while len(self._records) > _MAX_RECORDS:
            del self._records[next(iter(self._records))]
        return record.failures + failures

    def _forget(self) -> None:
        """Remove old records, which are the first."""
        since = time.monotonic() - FORGET_AFTER_S
        while self._records and (oldest := next(iter(self._records))) and self._records[oldest].at < since:
            del self._records[oldest]
