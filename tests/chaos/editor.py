"""An editor that creates, edits, pauses, resumes and deletes monitors all the time, and publishes events.

Some events are left out on purpose: a sync must find these edits.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from peekaping_producer.monitors.events import CHANNEL_PREFIX
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.targets import DatabaseTarget
from tests.chaos import history
from tests.chaos.background import Background
from tests.chaos.history import Recorder
from tests.chaos.timing import Timing
from tests.kit import databases
from tests.kit.databases import Row, SqlDatabase, monitor_row, new_id

EDITS_EVERY_S = 1.0
EVENTS_LOST = 0.2


class Editor(Background):
    """Edits rows one at a time, and records each edit."""

    def __init__(
        self,
        database: SqlDatabase,
        connect: Callable[[], Redis],
        recorder: Recorder,
        chance: random.Random,
        timing: Timing,
    ) -> None:
        self.database = database
        self.chance = chance
        self._connect = connect
        self._timing = timing
        self._recorder = recorder
        self._turn = asyncio.Lock()
        self._rows: dict[str, int] = {}
        """Every row, and its interval while it runs, 0 while it is paused."""
        self._touched_at: dict[str, float] = {}

    def running(self) -> set[str]:
        """The monitors that are to be in the schedule."""
        return {each for each, interval in self._rows.items() if interval > 0}

    def plans(self, ids: Iterable[str]) -> list[Plan]:
        """Their intervals."""
        return [Plan(monitor_id, self._rows[monitor_id]) for monitor_id in ids]

    def settled(self, monitor_id: str) -> bool:
        """Whether its last edit is so old that the schedule must agree with it."""
        return time.monotonic() - self._touched_at.get(monitor_id, 0.0) > self._timing.settles_s

    @asynccontextmanager
    async def at_rest(self) -> Any:
        """No other edits for the length of the block."""
        async with self._turn:
            yield

    async def create(self, count: int, *, interval: int | None = None, **columns: Any) -> list[str]:
        """`count` active monitors, in one statement, without events; returns their ids."""

        def interval_of_one() -> int:
            return self.chance.choice(self._timing.intervals) if interval is None else interval

        made = [monitor_row(new_id(), interval=interval_of_one(), **columns) for _ in range(count)]
        await self.database.insert("monitors", *made)
        self._note(made)
        return [str(each["id"]) for each in made]

    async def delete(self, ids: Iterable[str]) -> None:
        """Those of them that are still there, in one statement, without events."""
        gone = [each for each in ids if each in self._rows]
        listed = ", ".join(f"'{each}'" for each in gone)
        await self.database.execute(f"DELETE FROM monitors WHERE id IN ({listed})")
        for each in gone:
            del self._rows[each]
        self._record(gone, 0)

    def touched(self, ids: Iterable[str]) -> None:
        """Count these as edited: a fault has changed their due times, which the next sync corrects."""
        by_interval: dict[int, list[str]] = {}
        for each in ids:
            by_interval.setdefault(self._rows[each], []).append(each)
        for interval, some in by_interval.items():
            self._record(some, interval)

    async def publish(self, type_: str, payload: object) -> None:
        """Publish an event as the API server does after a write; it is lost while Redis is away."""
        with suppress(RedisError, OSError):
            async with self._connect() as redis:
                await redis.publish(CHANNEL_PREFIX + type_, json.dumps({"type": type_, "payload": payload}))

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EDITS_EVERY_S)
            async with self._turn:
                try:
                    await self._edit()
                except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    self.database = await self._reconnected()

    async def _reconnected(self) -> SqlDatabase:
        target: DatabaseTarget = self.database.target
        while True:
            try:
                return await databases.connect_sql(target)
            except (asyncpg.PostgresError, OSError):
                await asyncio.sleep(0.5)

    async def _edit(self) -> None:
        some = self.chance.choice(list(self._rows))
        published = self.chance.random() >= EVENTS_LOST
        match self.chance.choice(("create", "edit", "edit", "pause or resume", "delete")):
            case "create":
                (some,) = await self.create(1)
                event: tuple[str, object] = ("monitor.created", {"id": some})
            case "delete":
                await self.delete([some])
                event = ("monitor.deleted", some)
            case "edit":
                await self._update(some, self.chance.choice(self._timing.intervals))
                event = ("monitor.updated", {"id": some})
            case _:
                await self._update(some, 0 if self._rows[some] else self.chance.choice(self._timing.intervals))
                event = ("monitor.updated", {"id": some})
        if published:
            await self.publish(*event)

    async def _update(self, monitor_id: str, interval: int) -> None:
        if interval:
            await self.database.update("monitors", monitor_id, active=True, interval=interval)
        else:
            await self.database.update("monitors", monitor_id, active=False)
        self._rows[monitor_id] = interval
        self._record([monitor_id], interval)

    def _note(self, rows: Iterable[Row]) -> None:
        by_interval: dict[int, list[str]] = {}
        for each in rows:
            self._rows[str(each["id"])] = each["interval"]
            by_interval.setdefault(each["interval"], []).append(str(each["id"]))
        for interval, ids in by_interval.items():
            self._record(ids, interval)

    def _record(self, ids: list[str], interval: int) -> None:
        self._touched_at.update(dict.fromkeys(ids, time.monotonic()))
        self._recorder.write(history.RowLine(monitors=ids, interval=interval, runs=interval > 0))
