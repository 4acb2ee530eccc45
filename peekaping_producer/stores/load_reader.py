"""The reads of one load: in one statement if possible, around bad rows, and large rows one at a time."""

import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from peekaping_producer.errors import BatchError
from peekaping_producer.service.isolation import isolate
from peekaping_producer.stores.errors import BadRowsError, NoTimeLeftError, StatementTimeoutError
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.rows import Row

MONITORS, PLANS = "monitors", "plans"
LINKS, WINDOWS, PROXIES, HEARTBEATS = "monitor_maintenances", "maintenances", "proxies", "heartbeats"
"""What a TableReader reads; plans are columns of `monitors`."""
SIDE_TABLES = (LINKS, WINDOWS, PROXIES, HEARTBEATS)


class TableReader(Protocol):
    """The method of a session that a load uses."""

    async def fetch(self, table: str, keys: Sequence[str], max_bytes: int, timeout_s: float) -> list[Row]:
        """Return the rows of up to 1,000 keys, each as (key, size, *columns); keys without rows are left out.

        - `size` is that of the row's texts in bytes; if it is more than `max_bytes` the columns are not filled in.
        - monitors, by id: the fields of Monitor, then the proxy's id as stored
        - plans, by monitor id: active, interval
        - monitor_maintenances, by monitor id: the window's id
        - maintenances, by id, only active ones, the latest changed first: the fields of MaintenanceWindow
        - proxies, by id: the fields of Proxy
        - heartbeats, by monitor id, the latest one: the fields of Heartbeat

        Raises StatementTimeoutError after `timeout_s` seconds (StatementCanceledError if the connection stays usable),
        BadRowsError, StoreUnavailableError if the connection broke, StoreRefusedError if the table cannot be read.
        """
        ...


class ReadResult(msgspec.Struct):
    """The rows of some keys, and the keys that were not read, with the reason."""

    rows: list[Row] = []
    broken: dict[str, str] = {}
    late: dict[str, str] = {}

    def add(self, other: "ReadResult") -> None:
        """Add the result for other keys."""
        self.rows += other.rows
        self.broken |= other.broken
        self.late |= other.late


class LoadReader:
    """Reads the tables of one load within its limits of time and of bytes for large rows."""

    def __init__(self, reader: TableReader, limits: Limits) -> None:
        self._reader = reader
        self._limits = limits
        self._ends_at = time.monotonic() + limits.command_s
        self._bytes_left = limits.large_rows_bytes

    async def read(self, table: str, keys: Sequence[str], timeout_s: float) -> ReadResult:
        """Read `table`. Raises as TableReader.fetch does, but only if no key was read."""
        found = ReadResult()
        max_bytes = min(self._limits.row_bytes, self._limits.batch_bytes // max(len(keys), 1))
        rows = await self._around_bad_rows(table, keys, max_bytes, timeout_s, found)
        found.rows = [row for row in rows if row[1] <= max_bytes]
        if len(found.rows) < len(rows):
            for row in sorted((row for row in rows if row[1] > max_bytes), key=lambda row: row[1]):
                await self._read_large_row(table, row[0], row[1], timeout_s, found)
        return found

    async def _around_bad_rows(
        self, table: str, keys: Sequence[str], max_bytes: int, timeout_s: float, found: ReadResult
    ) -> list[Row]:
        """Leave out only the bad rows of a failed statement. Raises BadRowsError if every row seems to be bad."""
        rows: list[Row] = []
        read: list[str] = []
        bad: dict[str, str] = {}

        async def attempt(part: list[str]) -> None:
            rows.extend(await self._fetch(table, part, max_bytes, timeout_s))
            read.extend(part)

        def set_aside(key: str, error: Exception) -> None:
            bad[key] = str(error)

        try:
            await isolate(keys, attempt, set_aside, is_of_dependency=lambda error: not isinstance(error, BadRowsError))
        except BatchError as error:
            raise BadRowsError(str(error.__cause__), bad) from None
        except StatementTimeoutError as error:
            if not read:
                raise
            found.late |= dict.fromkeys(set(keys) - set(read) - bad.keys(), str(error))
        found.broken |= bad
        return rows

    async def _read_large_row(self, table: str, key: str, size: int, timeout_s: float, found: ReadResult) -> None:
        if size <= min(self._limits.large_rows_bytes, self._bytes_left):
            try:
                rows = await self._around_bad_rows(table, [key], self._bytes_left, timeout_s, found)
            except StatementTimeoutError as error:
                found.late[key] = f"{table}: a large row: {error}"
                return
            size = max((row[1] for row in rows), default=0)  # not known before if it is stored compressed
            if size <= self._bytes_left:
                self._bytes_left -= size
                found.rows += rows
                return
        limit = self._limits.large_rows_bytes
        if size > limit:
            found.broken[key] = f"expected at most {limit} bytes in a row, got more"
        else:
            found.late[key] = f"{table}: a large row, postponed until other large rows have been read"

    async def _fetch(self, table: str, keys: Sequence[str], max_bytes: int, timeout_s: float) -> list[Row]:
        left_s = self._ends_at - time.monotonic()
        try:
            if left_s > 0.01:
                return await self._reader.fetch(table, keys, max_bytes, min(timeout_s, left_s))
        except StatementTimeoutError as error:
            if left_s >= timeout_s:
                raise
            raise NoTimeLeftError(str(error)) from None
        raise NoTimeLeftError("no answer in time: the time limit of the batch was exceeded")
