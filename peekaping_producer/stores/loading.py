"""How a batch is loaded, whatever the database: one table at a time, so that each monitor waits only for what it needs.

`monitors` is read first, and without it there is no load. The other tables are side tables: each has a short limit of
its own, and is read only for the monitors whose tasks need it. Where one does not answer,

- maintenance windows are the last known ones of the monitor, or none: a check too many is better than silence;
- a proxy is the last known one; without any the monitor waits, since the check would report a false outage;
- push monitors wait: their task cannot be built without the latest heartbeat.

A side table that did not answer is left alone for some seconds. If it answers for some rows, only the others wait.
Rows are read with their sizes: large ones are left out at first and then read one at a time.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from peekaping_producer.monitors.monitor import Monitor, MonitorDetails, Plan
from peekaping_producer.stores import Loaded
from peekaping_producer.stores.batch import HEARTBEATS, LINKS, MONITORS, PLANS, PROXIES, WINDOWS, Batch, Source
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.rows import CHECKED, Row, UnreadableError, plan_of
from peekaping_producer.stores.side_table import Answer, Rows, SideTable

T = TypeVar("T")


class Loader:
    """What a store's sessions share: the state of its side tables."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        known = dict.fromkeys((LINKS, WINDOWS, PROXIES), limits.known_bytes)
        known[HEARTBEATS] = 0  # the last known heartbeat would be a wrong one
        self._sides = {name: SideTable(name, limits, clock, size) for name, size in known.items()}

    async def load(self, source: Source, ids: Sequence[str]) -> Loaded:
        """See Session.load: one statement for each table that is needed, unless something fails."""
        if not ids:
            return Loaded({}, {})
        batch = Batch(source, self._limits)
        found = await batch.read(MONITORS, ids, self._limits.monitors_s)
        loaded = Loaded({}, found.broken, found.late, {})
        needs = [need for row in found.rows if (need := _guarded(loaded, row[0], _need, row))]
        running = [need for need in needs if need.monitor.active]
        links = await self._sides[LINKS].ask(batch, (need.monitor.id for need in running))
        window_ids = (str(link[0]) for rows in links.rows.values() for link in rows)
        windows = await self._sides[WINDOWS].ask(batch, window_ids)
        proxies = await self._sides[PROXIES].ask(batch, (need.proxy_id for need in running if need.proxy_id))
        pushed = (need.monitor.id for need in running if need.monitor.type == "push")
        heartbeats = await self._sides[HEARTBEATS].ask(batch, pushed)
        parts = _Parts(links, windows, proxies, heartbeats)
        for need in needs:
            if details := _guarded(loaded, need.monitor.id, parts.details, need):
                loaded.checks[need.monitor.id] = details
        loaded.degraded.update(parts.degraded())
        return loaded

    async def plans(self, source: Source, ids: Sequence[str]) -> dict[str, Plan]:
        """See Session.plans."""
        found = await Batch(source, self._limits).read(PLANS, ids, self._limits.command_s)
        unread = found.broken | found.late
        return {key: Plan(key, 0, f"unreadable: {reason}") for key, reason in unread.items()} | {
            row[0]: plan_of(row[0], row[2], row[3]) for row in found.rows
        }


class _WaitError(Exception):
    """The monitor's task needs what was not read."""


class _Need(NamedTuple):
    monitor: Monitor
    proxy_id: str | None


def _need(row: Row) -> _Need:
    return _Need(CHECKED.monitor(*row[2:-1]), str(row[-1]) if row[-1] else None)


def _guarded(loaded: Loaded, id_: str, make: Callable[[Any], T], of: Any) -> T | None:
    """What `make` returns for one monitor. Whatever it raises keeps only this monitor from running."""
    try:
        return make(of)
    except _WaitError as error:
        loaded.waiting[id_] = str(error)
    except UnreadableError as error:
        loaded.broken[id_] = str(error)
    except Exception as error:  # its text may quote the row
        loaded.broken[id_] = f"its row cannot be used ({type(error).__name__})"
    return None


class _Parts:
    """What the monitors of a batch need. Windows and proxies are shared by many: each becomes one struct."""

    def __init__(self, links: Answer, windows: Answer, proxies: Answer, heartbeats: Answer) -> None:
        self._links = links
        self._windows = windows
        self._proxies = proxies
        self._heartbeats = heartbeats
        self._structs: dict[tuple[str, str], Any] = {}

    def degraded(self) -> dict[str, str]:
        """The tables whose last known rows were used, and those that left out windows by not answering."""
        found = {}
        for table, answer in ((LINKS, self._links), (WINDOWS, self._windows), (PROXIES, self._proxies)):
            if answer.stale or (answer.missing and table != PROXIES):
                found[table] = answer.stale or next(iter(answer.missing.values()))
        return found

    def details(self, need: _Need) -> MonitorDetails:
        """A monitor with what it needs. Raises UnreadableError and _WaitError."""
        monitor, proxy_id = need
        if not monitor.active:
            return MonitorDetails(monitor)
        windows = self._windows_of(monitor.id)
        proxy = beat = None
        if proxy_id and (rows := _of(self._proxies, PROXIES, proxy_id, required=True)):
            proxy = self._shared(PROXIES, proxy_id, CHECKED.proxy, rows[0])
        if monitor.type == "push" and (rows := _of(self._heartbeats, HEARTBEATS, monitor.id, required=True)):
            beat = CHECKED.heartbeat(*rows[0])
        return MonitorDetails(monitor, proxy, tuple(windows), beat, None if proxy else proxy_id)

    def _windows_of(self, monitor_id: str) -> list[Any]:
        links = _of(self._links, LINKS, monitor_id, required=False)
        if not links:
            return []
        ids = {str(link[0]) for link in links}
        for id_ in ids & self._windows.broken.keys():
            raise UnreadableError(self._windows.broken[id_])
        ordered = ids if len(ids) == 1 else [id_ for id_ in self._windows.rows if id_ in ids]
        return [
            self._shared(WINDOWS, id_, CHECKED.window, self._windows.rows[id_][0])
            for id_ in ordered
            if id_ in self._windows.rows
        ]

    def _shared(self, table: str, id_: str, reader: Callable[..., Any], columns: Sequence[Any]) -> Any:
        struct = self._structs.get((table, id_))
        if struct is None:
            struct = self._structs[table, id_] = reader(*columns)
        return struct


def _of(answer: Answer, table: str, key: str, *, required: bool) -> Rows:
    """A key's rows. Raises UnreadableError where they are broken, and _WaitError where required ones are not known."""
    if key in answer.broken:
        raise UnreadableError(f"{table}: {answer.broken[key]}")
    if required and key in answer.missing:
        raise _WaitError(answer.missing[key])
    return answer.rows.get(key, [])
