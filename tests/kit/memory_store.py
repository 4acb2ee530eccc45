"""A MonitorStore in memory, for tests of the loops: its rows may change and it may fail at any step."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from peekaping_producer.errors import StoreRefusedError, StoreUnavailableError
from peekaping_producer.monitors.maintenance import MaintenanceWindow
from peekaping_producer.monitors.monitor import Heartbeat, Monitor, Plan, Proxy, RecentHeartbeat
from peekaping_producer.stores import FoundMonitor, Loaded, Session
from peekaping_producer.stores.catalogue import Catalogue, WindowsRead
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.load_reader import MONITORS, WINDOWS
from peekaping_producer.stores.loading import Loader
from peekaping_producer.stores.rows import Row as Columns
from peekaping_producer.stores.rows import plan_of, recent_heartbeats_of
from peekaping_producer.stores.store import words_of
from peekaping_producer.targets import DatabaseTarget
from tests.kit.databases import Database, Row


def monitor(monitor_id: str, interval: int = 60, *, active: bool = True, timeout: int = 16) -> Monitor:
    return Monitor(monitor_id, f"name of {monitor_id}", "http", interval, timeout, 0, 60, 0, active, "{}")


@dataclass
class MemoryStore:
    """Ids are any text that starts with "m". Reads are loads as every store does them; here they never suspend."""

    rows: dict[str, Monitor] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    degraded: dict[str, str] = field(default_factory=dict)
    away: bool = False
    reads: list[str] = field(default_factory=list)
    others: dict[str, dict[str, Row]] = field(default_factory=lambda: defaultdict(dict))
    """The rows of the side tables, by table and id; and `proxy_id` of monitors."""
    gone: set[str] = field(default_factory=set)
    """Tables that are not there."""
    limits: Limits = field(default_factory=Limits)
    connections: int = 100
    is_open: bool = True

    def __post_init__(self) -> None:
        self._loader = Loader(self.limits)
        self._places = asyncio.Semaphore(self.connections)

    def put(self, *monitors: Monitor) -> None:
        self.rows.update({row.id: row for row in monitors})

    async def open(self) -> dict[str, str]:
        self._read("open")
        self.is_open = True
        return dict(self.degraded)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        self._read("session")
        self.require_open()
        try:
            async with asyncio.timeout(self.limits.acquire_s):
                await self._places.acquire()
        except TimeoutError:
            raise StoreUnavailableError("no answer in time: all connections are in use") from None
        try:
            yield MemorySession(self)
        finally:
            self._places.release()

    def require_open(self) -> None:
        if not self.is_open:
            raise StoreUnavailableError("the store is not open")

    def _read(self, what: str) -> None:
        self.reads.append(what)
        if self.away:
            raise StoreUnavailableError("the database is away")

    async def load(self, ids: list[str]) -> Loaded:
        self._read("load")
        broken, waiting = (
            {id_: reasons[id_] for id_ in ids if id_ in reasons} for reasons in (self.broken, self.waiting)
        )
        loaded = await self._loader.load(self, [id_ for id_ in ids if id_ not in broken | waiting])
        return Loaded(
            loaded.monitors, loaded.broken | broken, loaded.waiting | waiting, loaded.degraded | self.degraded
        )

    async def plans(self, ids: list[str]) -> dict[str, Plan]:
        self._read("plans")
        return await self._loader.plans(self, ids)

    async def windows(self, limit: int) -> WindowsRead:
        self._read("windows")
        ids = [key for key, row in self.others[WINDOWS].items() if row["active"]]
        return await self._loader.windows(self, ids[:limit])

    async def catalogue(self) -> Catalogue:
        self._read("catalogue")
        return Catalogue("memory", (), ())

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        self._read("page_of_plans")
        active = sorted(row.id for row in self.rows.values() if row.active and (after is None or row.id > after))
        return [plan_of(id_, True, self.rows[id_].interval) for id_ in active[:limit]]

    async def find(self, text: str, limit: int) -> list[FoundMonitor]:
        self._read("find")
        by_id = [row for row in self.rows.values() if len(text) >= 4 and row.id.startswith(text)]
        words = [word.lower() for word in words_of(text)]
        by_name = [row for row in self.rows.values() if text and all(word in row.name.lower() for word in words)]
        found = sorted(by_id or by_name, key=lambda row: (row.name != text, len(row.name), row.name, row.id))
        return [FoundMonitor(plan_of(row.id, row.active, row.interval), row.name) for row in found[:limit]]

    async def recent_heartbeats(self, monitor_id: str, limit: int) -> list[RecentHeartbeat]:
        self._read("recent_heartbeats")
        beats = [row for row in self.others["heartbeats"].values() if row["monitor_id"] == monitor_id]
        latest = sorted(beats, key=lambda row: str(row["time"]), reverse=True)[:limit]
        return recent_heartbeats_of(_values(RecentHeartbeat, row) for row in latest)

    async def latest_heartbeats(self, ids: list[str]) -> dict[str, RecentHeartbeat]:
        found = {id_: await self.recent_heartbeats(id_, 1) for id_ in ids}
        return {id_: beats[0] for id_, beats in found.items() if beats}

    def is_id(self, text: str) -> bool:
        return text.startswith("m")

    async def ping(self) -> None:
        self._read("ping")
        self.require_open()
        await self.fetch(MONITORS, [], 0, 0)

    async def close(self) -> None:
        self.is_open = False

    async def fetch(self, table: str, keys: Sequence[str], max_bytes: int, timeout_s: float) -> list[Columns]:
        """See TableReader."""
        if table in self.gone:
            raise StoreRefusedError(f"no such table: {table}; run `peekaping-producer migrate`")
        if table == WINDOWS:  # the latest changed first
            times = {key: str(row["updated_at"]) for key, row in self.others[table].items()}
            keys = sorted(sorted(times.keys() & set(keys)), key=lambda key: times[key], reverse=True)
        rows = [(key, *columns) for key in keys for columns in self._columns(table, key)]
        return [(row[0], sum(len(value) for value in row if isinstance(value, str)), *row[1:]) for row in rows]

    def _columns(self, table: str, key: str) -> Iterable[Sequence[Any]]:
        rows = self.others[table]
        match table:
            case "monitors":
                proxy_id = rows.get(key, {}).get("proxy_id")
                return [(*msgspec.structs.astuple(self.rows[key]), proxy_id)] if key in self.rows else []
            case "plans":
                return [(self.rows[key].active, self.rows[key].interval)] if key in self.rows else []
            case "monitor_maintenances":
                return [(link["maintenance_id"],) for link in rows.values() if link["monitor_id"] == key]
            case "maintenances":
                return [_values(MaintenanceWindow, rows[key])] if key in rows and rows[key]["active"] else []
            case "proxies":
                return [_values(Proxy, rows[key])] if key in rows else []
            case _:
                beats = [row for row in rows.values() if row["monitor_id"] == key]
                return [_values(Heartbeat, max(beats, key=lambda row: str(row["time"])))] if beats else []


class MemorySession:
    """Suspends in each read, as on a real connection."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def load(self, ids: list[str]) -> Loaded:
        await self._turn()
        return await self._store.load(ids)

    async def plans(self, ids: list[str]) -> dict[str, Plan]:
        await self._turn()
        return await self._store.plans(ids)

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        await self._turn()
        return await self._store.page_of_plans(after, limit)

    async def find(self, text: str, limit: int) -> list[FoundMonitor]:
        await self._turn()
        return await self._store.find(text, limit)

    async def recent_heartbeats(self, monitor_id: str, limit: int) -> list[RecentHeartbeat]:
        await self._turn()
        return await self._store.recent_heartbeats(monitor_id, limit)

    async def latest_heartbeats(self, ids: list[str]) -> dict[str, RecentHeartbeat]:
        await self._turn()
        return await self._store.latest_heartbeats(ids)

    async def windows(self, limit: int) -> WindowsRead:
        await self._turn()
        return await self._store.windows(limit)

    async def catalogue(self) -> Catalogue:
        await self._turn()
        return await self._store.catalogue()

    async def ping(self) -> None:
        await self._turn()
        await self._store.ping()

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        self._store.require_open()


class MemoryDatabase(Database):
    """What the tests of every store write with, here into the tables of stores in memory."""

    def __init__(self, target: DatabaseTarget) -> None:
        self.target = target
        self._store = MemoryStore()

    @classmethod
    async def connect(cls, target: DatabaseTarget) -> "MemoryDatabase":
        return cls(target)

    def store(self, limits: Limits, connections: int) -> MemoryStore:
        """A store on these tables, not opened yet."""
        mine = self._store
        options: Any = {"limits": limits, "connections": connections, "is_open": False}
        return MemoryStore(mine.rows, others=mine.others, gone=mine.gone, **options)

    def new_id(self) -> str:
        return f"m{super().new_id()}"

    async def insert(self, table: str, *rows: Row) -> None:
        for row in rows:
            self._store.others[table][row["id"]] = row
            if table == MONITORS:
                self._store.put(Monitor(*_values(Monitor, row | {"config": row["config"] or ""})))

    async def update(self, table: str, id_: str, **columns: Any) -> None:
        await self.insert(table, self._store.others[table][id_] | columns)

    async def delete(self, table: str, id_: str) -> None:
        del self._store.others[table][id_]
        self._store.rows.pop(id_, None)

    async def rename(self, table: str, to: str) -> None:
        self._store.gone.add(table)
        self._store.gone.discard(to)

    async def schema(self) -> object:
        return sorted(self._store.gone)

    async def filled(self) -> list[str]:
        return [table for table, rows in self._store.others.items() if rows]

    async def clear(self) -> None:
        self._store.others.clear()
        self._store.rows.clear()

    async def close(self) -> None: ...


def _values(struct: type[msgspec.Struct], row: Row) -> list[Any]:
    return [row[name] for name in struct.__struct_fields__]
