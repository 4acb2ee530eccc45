"""The reads of one load: in one statement where possible, around bad rows, and large rows one at a time."""

import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from peekaping_producer.stores.errors import BadRowsError, LateError, NoTimeLeftError
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.rows import Row

MONITORS, PLANS = "monitors", "plans"
LINKS, WINDOWS, PROXIES, HEARTBEATS = "monitor_maintenances", "maintenances", "proxies", "heartbeats"
TABLES = (MONITORS, PLANS, LINKS, WINDOWS, PROXIES, HEARTBEATS)
"""What a Source reads; plans are a few columns of `monitors`."""

_MOST_FAILURES = 20
"""Single rows that fail one after another while none is read: then the fault is not theirs."""


class Source(Protocol):
    """One connection, as far as a load uses it."""

    async def fetch(self, table: str, keys: Sequence[str], most: int, within_s: float) -> list[Row]:
        """The rows of up to 1,000 keys, each as (key, size, *columns); keys without rows are left out.

        - `size` is that of the row's texts in bytes; where it is more than `most` the columns are not filled in.
        - monitors, by id: the fields of Monitor, then the proxy's id as stored
        - plans, by monitor id: active, interval
        - monitor_maintenances, by monitor id: the window's id
        - maintenances, by id, only active ones, the latest changed first: the fields of MaintenanceWindow
        - proxies, by id: the fields of Proxy
        - heartbeats, by monitor id, the latest one: the fields of Heartbeat

        Raises LateError after `within_s` seconds (CanceledError where that keeps the connection), BadRowsError,
        StoreUnavailableError where the connection broke, and StoreError where the table cannot be read at all.
        """
        ...


class Found(msgspec.Struct):
    """What a read of some keys found: rows, and the keys without, with the reason."""

    rows: list[Row] = []
    broken: dict[str, str] = {}
    late: dict[str, str] = {}

    def add(self, other: "Found") -> None:
        """Add what was found for other keys."""
        self.rows += other.rows
        self.broken |= other.broken
        self.late |= other.late


class Batch:
    """The reads of one load, and what is left for it: time, and bytes for rows that are read alone."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self._source = source
        self._limits = limits
        self._ends_at = time.monotonic() + limits.command_s
        self._bytes_left = limits.alone_bytes

    async def read(self, table: str, keys: Sequence[str], within_s: float) -> Found:
        """Read `table`. Raises as Source.fetch does, but only where not one key was answered."""
        found = Found()
        most = min(self._limits.share_bytes, self._limits.batch_bytes // max(len(keys), 1))
        rows = await self._around_bad_rows(table, keys, most, within_s, found)
        found.rows = [row for row in rows if row[1] <= most]
        if len(found.rows) < len(rows):
            for row in sorted((row for row in rows if row[1] > most), key=lambda row: row[1]):
                await self._alone(table, row[0], row[1], within_s, found)
        return found

    async def _around_bad_rows(
        self, table: str, keys: Sequence[str], most: int, within_s: float, found: Found
    ) -> list[Row]:
        """Halve what fails until the bad rows are alone; only they are left out."""
        parts, rows, works = [keys], [], False
        while parts:
            part = parts.pop()
            try:
                rows += await self._fetch(table, part, most, within_s)
                works = True
            except BadRowsError as error:
                if len(part) > 1:
                    parts += halves(part)
                    continue
                found.broken[part[0]] = str(error)
                if not works and len(found.broken) >= _MOST_FAILURES and parts:
                    raise
            except LateError as error:
                if not works:
                    raise
                found.late |= dict.fromkeys((key for some in (part, *parts) for key in some), str(error))
                break
        return rows

    async def _alone(self, table: str, key: str, size: int, within_s: float, found: Found) -> None:
        largest = self._limits.alone_bytes
        if size <= largest and size <= self._bytes_left:
            try:
                rows = await self._around_bad_rows(table, [key], self._bytes_left, within_s, found)
            except LateError as error:
                found.late[key] = f"{table}: a large row: {error}"
                return
            size = max((row[1] for row in rows), default=0)  # not known before where it is stored compressed
            if size <= self._bytes_left:
                self._bytes_left -= size
                found.rows += rows
                return
        if size > largest:
            found.broken[key] = f"{table}: expected at most {largest} bytes in a row, got more"
        else:
            found.late[key] = f"{table}: a large row, which is read when other large rows leave room"

    async def _fetch(self, table: str, keys: Sequence[str], most: int, within_s: float) -> list[Row]:
        left_s = self._ends_at - time.monotonic()
        try:
            if left_s > 0.01:
                return await self._source.fetch(table, keys, most, min(within_s, left_s))
        except LateError as error:
            if left_s >= within_s:
                raise
            raise NoTimeLeftError(str(error)) from None
        raise NoTimeLeftError("no answer in time: the time for the batch is over")


def halves(keys: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The first and the second half."""
    middle = len(keys) // 2
    return keys[:middle], keys[middle:]
