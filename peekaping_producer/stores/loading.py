"""Loads a batch from any database: one table at a time, so that each monitor waits only for the tables it needs.

`monitors` is read first; if that fails, the load fails. The other tables are side tables: each has its own short time
limit, and is read only for the monitors whose tasks need it. If one cannot be read,

- the last known maintenance windows of the monitor are used, or none: an extra check is better than a missing one;
- the last known proxy is used; without one the monitor waits, since its check would report a false outage;
- push monitors wait: their task cannot be built without the latest heartbeat.

A side table that could not be read is not read again for some seconds. If some of its rows are read, only monitors
that need the others wait. A row that cannot be used although the table answers is left out, and its monitors run
without that window, proxy or heartbeat, as by the Go producer: such a row may stay as it is for years.

Rows are read with their sizes: large ones are left out first, then read one at a time.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from peekaping_producer.monitors.monitor import Monitor, MonitorDetails, Plan
from peekaping_producer.stores.catalogue import WindowsRead
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
from peekaping_producer.stores.protocol import Loaded
from peekaping_producer.stores.rows import ROW_READERS, Row, UnreadableError, plan_of
from peekaping_producer.stores.side_table import SideTable, SideTableRows

T = TypeVar("T")


class Loader:
    """Loads batches. All sessions of a store share one: it keeps the state of the side tables."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        known = dict.fromkeys((LINKS, WINDOWS, PROXIES), limits.cache_bytes)
        known[HEARTBEATS] = 0  # the last known heartbeat would be a wrong one
        self._sides = {name: SideTable(name, limits, clock, size) for name, size in known.items()}

    def postpone(self, late: Mapping[str, str]) -> None:
        """Do not read these side tables for a while: they did not answer; with the reasons."""
        for name, reason in late.items():
            self._sides[name].postpone(reason)

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
        related = _Related(
            _RelatedTable(LINKS, "monitor.bad_maintenance", links, str),
            _RelatedTable(WINDOWS, "monitor.bad_maintenance", windows, ROW_READERS.window),
            _RelatedTable(PROXIES, "monitor.bad_proxy", proxies, ROW_READERS.proxy),
            _RelatedTable(HEARTBEATS, "monitor.bad_heartbeat", heartbeats, ROW_READERS.heartbeat),
        )
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

    async def windows(self, reader: TableReader, ids: Sequence[str]) -> WindowsRead:
        """See Session.windows."""
        found = await LoadReader(reader, self._limits).read(WINDOWS, ids, self._limits.command_s)
        windows, broken = [], found.broken | found.late
        for row in found.rows:
            try:
                windows.append(ROW_READERS.window(*row[2:]))
            except Exception as error:  # as in _try_build
                broken[str(row[0])] = _reason_of(error)
        return WindowsRead(tuple(windows), broken)


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
    except Exception as error:  # a row may contain anything; it breaks its own monitor only
        loaded.broken[monitor_id] = _reason_of(error)
    return None


def _reason_of(error: Exception) -> str:
    if isinstance(error, UnreadableError):
        return str(error)
    return f"its row cannot be used ({type(error).__name__})"  # the error's text may quote the row


class _RelatedTable:
    """The rows of one side table that a batch needs. A row that several monitors need becomes one struct."""

    def __init__(self, name: str, anomaly: str, rows: SideTableRows, read: Callable[..., Any]) -> None:
        """`anomaly`: the kind that is reported for a monitor with a row that cannot be used."""
        self.name = name
        self.rows = rows
        self._anomaly = anomaly
        self._read = read
        self._made: dict[str, tuple[list[Any], str]] = {}

    def structs(self, key: str, problems: list[tuple[str, str]]) -> list[Any]:
        """The rows of a key as structs; if one cannot be used, none, and an anomaly is added to `problems`."""
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._make(key)
        structs, reason = made
        if reason:
            problems.append((self._anomaly, reason))
        return structs

    def _make(self, key: str) -> tuple[list[Any], str]:
        if key in self.rows.broken:
            return [], f"{self.name}: {key!r}: {self.rows.broken[key]}"
        try:
            return [self._read(*columns) for columns in self.rows.rows.get(key, ())], ""
        except UnreadableError as error:  # it names the row
            return [], str(error)
        except Exception as error:  # a row may contain anything; its monitors run without it
            return [], f"{self.name}: {key!r}: {_reason_of(error)}"

    def required(self, key: str, problems: list[tuple[str, str]]) -> Any:
        """The struct of a key, None without a row that can be used. Raises _WaitError if the row is not known."""
        if key in self.rows.missing:
            raise _WaitError(self.rows.missing[key])
        return next(iter(self.structs(key, problems)), None)


class _Related(NamedTuple):
    links: _RelatedTable
    windows: _RelatedTable
    proxies: _RelatedTable
    heartbeats: _RelatedTable

    def degraded(self) -> dict[str, str]:
        """The tables whose last known rows were used, and those for which windows may be missing; with the reason."""
        found = {}
        for table in (self.links, self.windows, self.proxies):
            rows = table.rows
            if rows.stale or (rows.missing and table is not self.proxies):
                found[table.name] = rows.stale or next(iter(rows.missing.values()))
        return found

    def details(self, need: _Need) -> MonitorDetails:
        """A monitor with the rows it needs. Raises _WaitError."""
        monitor, proxy_id = need
        if not monitor.active:
            return MonitorDetails(monitor)
        problems: list[tuple[str, str]] = []
        windows = self._windows_of(monitor.id, problems)
        proxy = beat = None
        if proxy_id:
            proxy = self.proxies.required(proxy_id, problems)
        if monitor.type == "push":
            beat = self.heartbeats.required(monitor.id, problems)
        exists = proxy_id in self.proxies.rows.rows or proxy_id in self.proxies.rows.broken
        return MonitorDetails(monitor, proxy, windows, beat, None if exists else proxy_id, tuple(problems))

    def _windows_of(self, monitor_id: str, problems: list[tuple[str, str]]) -> tuple[Any, ...]:
        ids = set(self.links.structs(monitor_id, problems))
        if not ids:
            return ()
        rows = self.windows.rows
        ordered = ids if len(ids) == 1 else [id_ for id_ in (*rows.rows, *rows.broken) if id_ in ids]
        return tuple(window for id_ in ordered for window in self.windows.structs(id_, problems))
