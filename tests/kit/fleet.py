"""Replicas on one Redis and one database, with their monitors and a consumer of their tasks."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis.asyncio import Redis

from tests.kit.consumer import Consumer
from tests.kit.databases import Database, monitor_row
from tests.kit.replicas import ReplicaProcess, environment, members, replicas
from tests.kit.waiting import until


class Fleet:
    """`started` holds the replicas; they are killed at the end of the test."""

    def __init__(self, redis: Redis, database: Database, folder: Path, started: list[ReplicaProcess]) -> None:
        self.redis = redis
        self._port = redis.connection_pool.connection_kwargs.get(
            "port", 1
        )  # none behind Sentinel, where REDIS_URL counts
        self.database = database
        self.target = database.target
        """The address of the database for the replicas, such as that of a proxy before it."""
        self.consumer = Consumer(redis)
        self.settings: dict[str, str] = {}
        """Of all replicas and commands."""
        self.ids: list[str] = []
        self.started = started
        self.folder = folder

    def environment(self, **settings: str) -> dict[str, str]:
        return environment(self._port, self.target, **self.settings, **settings)

    def start(self, **settings: str) -> ReplicaProcess:
        """One more replica, with these settings beside the addresses."""
        self.started.append(ReplicaProcess(self.folder, self.environment(**settings)))
        return self.started[-1]

    async def monitors(self, count: int, *, interval: int = 1) -> list[str]:
        """Insert active monitors; returns their ids."""
        ids = [self.database.new_id() for _ in range(count)]
        await self.database.insert("monitors", *(monitor_row(id_, interval=interval) for id_ in ids))
        self.ids += ids
        return ids

    async def all_ran(self) -> None:
        """Wait until the consumer has seen every monitor."""
        await until(lambda: self.consumer.monitors() == set(self.ids), "every monitor runs")

    async def goes_on(self, *, ticks: int = 2, within_s: float = 60.0) -> None:
        """Wait until each monitor has run in so many more ticks: the one that was in hand, and one that is new."""
        seen = {id_: self.consumer.count(id_) for id_ in self.ids}
        await until(
            lambda: all(self.consumer.count(id_) >= seen[id_] + ticks for id_ in self.ids),
            "each monitor runs",
            within_s=within_s,
        )

    async def require_whole(self) -> None:
        """No tick was duplicated, and the schedule holds each monitor."""
        assert self.consumer.duplicated() == []
        assert await members(self.redis) == set(self.ids)

    def terminate(self) -> None:
        """Stop all replicas that the test has not ended; they must run, and end with exit code 0."""
        running = [replica for replica in self.started if not replica.asked_to_end]
        assert all(replica.runs for replica in running), "a replica ended by itself"
        assert [replica.terminate() for replica in running] == [0] * len(running)

    async def stop(self) -> None:
        """As terminate(); the event loop, and with it a proxy in front of a server, runs meanwhile."""
        await asyncio.to_thread(self.terminate)


@contextmanager
def fleet_of(redis: Redis, database: Database, folder: Path) -> Iterator[Fleet]:
    """A fleet without replicas at first."""
    with replicas(folder) as started:
        yield Fleet(redis, database, folder, started)
