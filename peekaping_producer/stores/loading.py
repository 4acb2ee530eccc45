"""Loads a batch from any database: one table at a time, so that each monitor waits only for the tables it needs.

`monitors` is read first; if that fails, the load fails. The other tables are side tables: each has its own short time
limit, and is read only for the monitors whose tasks need it. If one cannot be read,

- the last known maintenance windows of the monitor are used, or none: an extra check is better than a missing one;
- the last known proxy is used; without one the monitor waits, since its check would report a false outage;
- push monitors wait: their task cannot be built without the latest heartbeat.

A side table that could not be read is not read again for some seconds. If some of its rows are read, only monitors
that need the others wait. Rows are read with their sizes: large ones are left out first, then read one at a time.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from peekaping_producer.monitors.monitor import Monitor, MonitorDetails, Plan
from peekaping_producer.stores import Loaded
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.load_reader import (
    HEARTBEATS,
    LINKS,
    MONITORS,
    PLANS,
    PROXIES,
    WINDOWS,
    LoadReader,
    TableReader,
)
from peekaping_producer.stores.rows import ROW_READERS, Row, UnreadableError, plan_of
from peekaping_producer.stores.side_table import Rows, SideTable, SideTableRows

T = TypeVar("T")


class Loader:
    """Loads batches. All sessions of a store share one: it keeps the state of the side tables."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        known = dict.fromkeys((LINKS, WINDOWS, PROXIES), limits.cache_bytes)
        known[HEARTBEATS] = 0  # the last known heartbeat would be a wrong one
        self._sides = {name: SideTable(name, limits, clock, size) for name, size in known.items()}

    async def load(self, reader: TableReader, ids: Sequence[str]) -> Loaded:
        """See Session.load: one statement for each table that is needed, unless a read fails."""
        if not ids:
            return Loaded({}, {})
        load_reader = LoadReader(reader, self._limits)
        found = await load_reader.read(MONITORS, ids, self._limits.monitors_s)
        loaded = Loaded({}, found.broken, found.late, {})
        needs = [need for row in found.rows if (need := _try_build(loaded, row[0], _need, row))]
        running = [need for need in needs if need.monitor.active]
        links = await self._sides[LINKS].read(load_reader, (need.monitor.id for need in running))
        window_ids = (str(link[0]) for rows in links.rows.values() for link in rows)
        windows = await self._sides[WINDOWS].read(load_reader, window_ids)
        proxies = await self._sides[PROXIES].read(load_reader, (need.proxy_id for need in running if need.proxy_id))
        pushed = (need.monitor.id for need in running if need.monitor.type == "push")
        heartbeats = await self._sides[HEARTBEATS].read(load_reader, pushed)
        related = _RelatedRows(links, windows, proxies, heartbeats)
        for need in needs:
            if details := _try_build(loaded, need.monitor.id, related.details, need):
                loaded.monitors[need.monitor.id] = details
        loaded.degraded.update(related.degraded())
        return loaded

    async def plans(self, reader: TableReader, ids: Sequence[str]) -> dict[str, Plan]:
        """See Session.plans."""
        found = await LoadReader(reader, self._limits).read(PLANS, ids, self._limits.command_s)
        unread = found.broken | found.late
        return {key: Plan(key, 0, f"unreadable: {reason}") for key, reason in unread.items()} | {
            row[0]: plan_of(row[0], row[2], row[3]) for row in found.rows
        }


class _WaitError(Exception):
    """The monitor's task needs a row that was not read."""


class _Need(NamedTuple):
    monitor: Monitor
    proxy_id: str | None


def _need(row: Row) -> _Need:
    return _Need(ROW_READERS.monitor(*row[2:-1]), str(row[-1]) if row[-1] else None)


def _try_build(loaded: Loaded, monitor_id: str, build: Callable[[Any], T], argument: Any) -> T | None:
    """Return `build(argument)`; record any error as that of this monitor, and return None."""
    try:
        return build(argument)
    except _WaitError as error:
        loaded.waiting[monitor_id] = str(error)
    except UnreadableError as error:
        loaded.broken[monitor_id] = str(error)
    except Exception as error:  # its text may quote the row
        loaded.broken[monitor_id] = f"its row cannot be used ({type(error).__name__})"
    return None


class _RelatedRows:
    """The rows of side tables that a batch needs. Windows and proxies are shared: each becomes one struct."""

    def __init__(
        self, links: SideTableRows, windows: SideTableRows, proxies: SideTableRows, heartbeats: SideTableRows
    ) -> None:
        self._links = links
        self._windows = windows
        self._proxies = proxies
        self._heartbeats = heartbeats
        self._structs: dict[tuple[str, str], Any] = {}

    def degraded(self) -> dict[str, str]:
        """The tables whose last known rows were used, and those for which windows may be missing; with the reason."""
        found = {}
        for table, table_rows in ((LINKS, self._links), (WINDOWS, self._windows), (PROXIES, self._proxies)):
            if table_rows.stale or (table_rows.missing and table != PROXIES):
                found[table] = table_rows.stale or next(iter(table_rows.missing.values()))
        return found

    def details(self, need: _Need) -> MonitorDetails:
        """A monitor with the rows it needs. Raises UnreadableError and _WaitError."""
        monitor, proxy_id = need
        if not monitor.active:
            return MonitorDetails(monitor)
        windows = self._windows_of(monitor.id)
        proxy = beat = None
        if proxy_id and (rows := _rows_of(self._proxies, PROXIES, proxy_id, required=True)):
            proxy = self._shared(PROXIES, proxy_id, ROW_READERS.proxy, rows[0])
        if monitor.type == "push" and (rows := _rows_of(self._heartbeats, HEARTBEATS, monitor.id, required=True)):
            beat = ROW_READERS.heartbeat(*rows[0])
        return MonitorDetails(monitor, proxy, tuple(windows), beat, None if proxy else proxy_id)

    def _windows_of(self, monitor_id: str) -> list[Any]:
        links = _rows_of(self._links, LINKS, monitor_id, required=False)
        if not links:
            return []
        ids = {str(link[0]) for link in links}
        for id_ in ids & self._windows.broken.keys():
            raise UnreadableError(self._windows.broken[id_])
        ordered = ids if len(ids) == 1 else [id_ for id_ in self._windows.rows if id_ in ids]
        return [
            self._shared(WINDOWS, id_, ROW_READERS.window, self._windows.rows[id_][0])
            for id_ in ordered
            if id_ in self._windows.rows
        ]

    def _shared(self, table: str, id_: str, reader: Callable[..., Any], columns: Sequence[Any]) -> Any:
        struct = self._structs.get((table, id_))
        if struct is None:
            struct = self._structs[table, id_] = reader(*columns)
        return struct


def _rows_of(table_rows: SideTableRows, table: str, key: str, *, required: bool) -> Rows:
    """The rows of a key. Raises UnreadableError if they are broken, and _WaitError if required ones are not known."""
    if key in table_rows.broken:
        raise UnreadableError(f"{table}: {table_rows.broken[key]}")
    if required and key in table_rows.missing:
        raise _WaitError(table_rows.missing[key])
    return table_rows.rows.get(key, [])
