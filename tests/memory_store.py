"""A MonitorStore in memory, for tests of the loops: its rows may change and it may fail at any step."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from peekaping_producer.errors import StoreUnavailableError
from peekaping_producer.monitors.monitor import Monitor, MonitorDetails, Plan
from peekaping_producer.stores import Loaded
from peekaping_producer.stores.rows import plan_of


def monitor(monitor_id: str, interval: int = 60, *, active: bool = True, timeout: int = 16) -> Monitor:
    return Monitor(monitor_id, f"name of {monitor_id}", "http", interval, timeout, 0, 60, 0, active, "{}")


@dataclass
class MemoryStore:
    """Ids are any text that starts with "m"."""

    rows: dict[str, Monitor] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    degraded: dict[str, str] = field(default_factory=dict)
    away: bool = False
    reads: list[str] = field(default_factory=list)

    def put(self, *monitors: Monitor) -> None:
        self.rows.update({each.id: each for each in monitors})

    async def open(self) -> None:
        self._read("open")

    @asynccontextmanager
    async def session(self) -> AsyncIterator["MemoryStore"]:
        self._read("session")
        yield self

    def _read(self, what: str) -> None:
        self.reads.append(what)
        if self.away:
            raise StoreUnavailableError("the database is away")

    async def load(self, ids: list[str]) -> Loaded:
        self._read("load")
        unread = self.broken | self.waiting
        checks = {each: MonitorDetails(self.rows[each]) for each in ids if each in self.rows and each not in unread}
        broken, waiting = ({each: some[each] for each in ids if each in some} for some in (self.broken, self.waiting))
        return Loaded(checks, broken, waiting, dict(self.degraded))

    async def plans(self, ids: list[str]) -> dict[str, Plan]:
        self._read("plans")
        rows = (self.rows[each] for each in ids if each in self.rows)
        return {row.id: plan_of(row.id, row.active, row.interval) for row in rows}

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        self._read("page_of_plans")
        active = sorted(row.id for row in self.rows.values() if row.active and (after is None or row.id > after))
        return [plan_of(each, True, self.rows[each].interval) for each in active[:limit]]

    def is_id(self, text: str) -> bool:
        return text.startswith("m")

    async def ping(self) -> None:
        self._read("ping")

    async def close(self) -> None: ...
