"""One side table: whether it can be read, and its last known rows."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from peekaping_producer.errors import StoreError, StoreUnavailableError
from peekaping_producer.service.isolation import halves
from peekaping_producer.stores.errors import BadRowsError, NoTimeLeftError, StatementTimeoutError
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.load_reader import LoadReader, ReadResult

Rows = list[Sequence[Any]]
"""The columns of the rows of one key."""

_MAX_LATE_PARTS_IN_A_ROW = 4
"""Parts that time out in a row while none is read: then the whole table is slow."""
_MAX_LATE_PARTS = 12
_MAX_SET_ASIDE = 10_000
_MAX_FAILED_RETRIES = 8
"""In one load: each is a statement."""
ENTRY_BYTES = 350
"""Estimated memory of a row in Python, without its texts."""


class SideTableRows(msgspec.Struct):
    """The rows of some keys of a side table after a read."""

    rows: dict[str, Rows] = {}
    broken: dict[str, str] = {}
    missing: dict[str, str] = {}
    """Keys that were not read and have no last known rows, with the reason."""
    stale: str = ""
    """Why `rows` contains last known rows."""


class _Failure(NamedTuple):
    is_bad: bool
    """Whether the row itself cannot be read; otherwise it was not read in time."""
    reason: str


class SideTable:
    """Reads a side table. After a failure it is not read again for `retry_after_s`."""

    def __init__(self, name: str, limits: Limits, clock: Callable[[], float], cache_bytes: int) -> None:
        self.name = name
        self._limits = limits
        self._clock = clock
        self._known = _LastKnown(cache_bytes)
        self._reason = ""
        self._retry_at = -1.0
        self._lost_connection = False
        self._set_aside: dict[str, _Failure] = {}
        """Keys that failed although others were read; read separately, those first that failed first."""
        self._retry_set_aside_at = -1.0
        self._last_slow_row: str | None = None

    async def read(self, reader: LoadReader, keys: Iterable[str]) -> SideTableRows:
        """Read these keys, or use their last known rows. Raises StoreError if the connection was lost."""
        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return SideTableRows()
        if self._clock() < self._retry_at:
            return self._merge(wanted, ReadResult(late=dict.fromkeys(wanted, self._reason)))
        # After a failure, other loads do not read it until this read has ended.
        self._retry_at = self._next_retry_at() if self._reason else -1.0
        try:
            found = await self._read(reader, wanted)
            self._reason, self._retry_at, self._lost_connection = "", -1.0, False
        except NoTimeLeftError as error:
            found = ReadResult(late=dict.fromkeys(wanted, f"{self.name}: {error}"))
        except StoreError as error:
            self._back_off(error)
            if isinstance(error, BadRowsError):  # so that the next read begins with other rows
                self._record(error.keys, _Failure(False, self._reason))
            found = ReadResult(late=dict.fromkeys(wanted, self._reason))
        return self._merge(wanted, found)

    def postpone(self, reason: str) -> None:
        """Do not read it for `retry_after_s`: it has just failed, as `reason` states."""
        self._reason, self._retry_at = reason, self._next_retry_at()

    def _back_off(self, error: StoreError) -> None:
        """Delay the next read. The first lost connection is attributed to the database, not to the table."""
        self._retry_at = -1.0
        is_timeout = isinstance(error, StatementTimeoutError)
        is_lost = isinstance(error, StoreUnavailableError) and not (is_timeout or error.connection_usable)
        if is_lost and not self._lost_connection:
            self._lost_connection = True
            raise error
        self._reason = f"{self.name}: {error}"
        self._retry_at = self._next_retry_at()

    def _next_retry_at(self) -> float:
        return self._clock() + self._limits.retry_after_s

    async def _read(self, reader: LoadReader, keys: list[str]) -> ReadResult:
        """Read the table, then the rows set aside. Raises StatementTimeoutError or BadRowsError if no row was read."""
        may_retry = self._clock() >= self._retry_set_aside_at
        wanted = set(keys)
        aside = {key: failure for key, failure in self._set_aside.items() if key in wanted}
        asked = [key for key in keys if key not in aside] if aside else keys
        found = ReadResult()
        if asked:
            try:
                found = await reader.read(self.name, asked, self._limits.side_table_s)
                self._last_slow_row = None
            except StatementTimeoutError as error:
                found = await self._around_slow_rows(reader, asked, error)
        for key, reason in found.broken.items():
            self._record([key], _Failure(True, reason))
        await self._retry(reader, aside, _MAX_FAILED_RETRIES if may_retry else 0, found)
        return found

    async def _retry(
        self, reader: LoadReader, aside: dict[str, _Failure], failures_left: int, found: ReadResult
    ) -> None:
        """Read rows set aside one at a time, until one times out or `failures_left` are bad; the others fail unread."""
        for key, failure in aside.items():
            if failures_left > 0:
                try:
                    row = await reader.read(self.name, [key], self._limits.retry_part_s)
                except StatementTimeoutError:
                    self._record([key], failure)
                    failures_left = 0
                else:
                    self._set_aside.pop(key, None)
                    found.add(row)
                    if key in row.broken:
                        self._record([key], _Failure(True, row.broken[key]))
                        failures_left -= 1
                    continue
            (found.broken if failure.is_bad else found.late)[key] = failure.reason

    async def _around_slow_rows(self, reader: LoadReader, keys: list[str], error: StatementTimeoutError) -> ReadResult:
        """Find the rows that delay the others. Raises StatementTimeoutError if every part times out.

        Not by isolate(): each attempt costs time, so that large parts come first, and a part may remain unread.
        """
        if len(keys) == 1:
            if self._last_slow_row not in {None, keys[0]}:
                raise error  # two different rows in a row: the table is slow
            self._last_slow_row = keys[0]
            return self._record_slow(keys, error)
        found, parts, answered, attempts = ReadResult(), deque(halves(keys)), False, 0
        while parts:
            part = parts.popleft()
            try:
                found.add(await reader.read(self.name, part, self._limits.retry_part_s))
                answered = True
            except StatementTimeoutError as again:
                attempts += 1
                no_time = isinstance(again, NoTimeLeftError)
                if not answered and (attempts == _MAX_LATE_PARTS_IN_A_ROW or no_time):
                    raise error from None
                if len(part) > 1 and attempts < _MAX_LATE_PARTS and not no_time:
                    parts += halves(part)
                else:
                    found.add(self._record_slow(part, error))
        if not answered:
            raise error
        self._last_slow_row = None
        return found

    def _record_slow(self, keys: Sequence[str], error: StatementTimeoutError) -> ReadResult:
        reason = f"{self.name}: {error}"
        self._record(keys, _Failure(False, reason))
        return ReadResult(late=dict.fromkeys(keys, reason))

    def _record(self, keys: Iterable[str], failure: _Failure) -> None:
        """Set the rows of these keys aside, behind those that are to be read before them."""
        for key in keys:
            self._set_aside.pop(key, None)
            self._set_aside[key] = failure
        self._retry_set_aside_at = self._next_retry_at()
        while len(self._set_aside) > _MAX_SET_ASIDE:
            del self._set_aside[next(iter(self._set_aside))]

    def _merge(self, keys: list[str], found: ReadResult) -> SideTableRows:
        """Store what was read, and add the last known rows of what was not."""
        result = SideTableRows(broken=found.broken)
        sizes: dict[str, int] = {}
        for row in found.rows:
            result.rows.setdefault(row[0], []).append(row[2:])
            sizes[row[0]] = sizes.get(row[0], 0) + row[1]
        for key in keys:
            if key not in found.late:
                self._known.put(key, result.rows.get(key), sizes.get(key, 0))
            elif (rows := self._known.get(key)) is None:
                result.missing[key] = found.late[key]
            else:
                result.rows[key] = rows
                result.stale = found.late[key]
        return result


class _LastKnown:
    """The latest rows by key, up to `max_bytes`; the oldest entry is removed first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rows: dict[str, tuple[int, Rows]] = {}
        self._bytes = 0

    def get(self, key: str) -> Rows | None:
        known = self._rows.get(key)
        return None if known is None else known[1]

    def put(self, key: str, rows: Rows | None, size: int) -> None:
        """Store the rows of a key; None removes them."""
        if key in self._rows:
            self._bytes -= self._rows.pop(key)[0]
        if rows is None:
            return
        size += ENTRY_BYTES * len(rows)
        self._rows[key] = size, rows
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._bytes -= self._rows.pop(next(iter(self._rows)))[0]
