"""Everything that a fault may touch: servers, replicas with their proxies, consumer, editor and sampler."""

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from peekaping_producer.demo import embedded
from peekaping_producer.demo.embedded import HOST, RedisServer
from peekaping_producer.migrate import migrate
from peekaping_producer.targets import DatabaseTarget
from tests.chaos import clocks
from tests.chaos.clocks import SettableClock
from tests.chaos.consumer import FaultyConsumer
from tests.chaos.editor import Editor
from tests.chaos.fleet import Member, fleet
from tests.chaos.history import Recorder
from tests.chaos.sampler import Sampler
from tests.chaos.timing import Timing
from tests.kit import databases, processes
from tests.kit.postgres import PostgresServer
from tests.kit.replicas import leader_pid
from tests.kit.sentinel import WatchedRedis, watched
from tests.kit.waiting import until

REPLICAS = 3
SLACK_S = 10.0
STAYS_WELL_S = 1.0
"""Faults follow each other so closely only where each is seen to be over."""


@dataclass
class ChaosWorld:
    """The parts of a run, for the faults to use."""

    timing: Timing
    chance: random.Random
    folder: Path
    recorder: Recorder
    database: DatabaseTarget
    settings: dict[str, str]
    redis: RedisServer
    """The master, as long as no failover came."""
    watched: WatchedRedis | None
    clock: SettableClock | None
    """Of `redis`; None where clocks cannot be set."""
    members: list[Member] = field(default_factory=list)
    consumer: FaultyConsumer = field(init=False)
    editor: Editor = field(init=False)
    sampler: Sampler = field(init=False)

    def connect(self) -> Redis:
        """A client that speaks to the master directly, past every proxy."""
        return Redis(
            host=HOST, port=self.redis.port, socket_timeout=5, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0)
        )

    async def leader(self) -> Member:
        """Wait until a replica leads, and return it."""
        found: list[Member] = []

        async def one_leads() -> bool:
            async with self.connect() as redis:
                pid = await leader_pid(redis)
            found[:] = [member for member in self.members if member.runs and member.pid == pid]
            return bool(found)

        await until(one_leads, "one of the replicas leads", within_s=60)
        return found[0]

    def any_member(self) -> Member:
        """One of the replicas, by chance."""
        return self.chance.choice(self.members)

    async def healed(self, within_s: float) -> float:
        """Seconds until everything had recovered for STAYS_WELL_S; `within_s` where it did not."""
        began_at, well_at, seen = time.monotonic(), math.inf, None
        while time.monotonic() - began_at < within_s:
            await asyncio.sleep(0.05)
            look = self.sampler.latest
            if look is None or look is seen or look.at < began_at:
                continue
            seen = look
            well_at = min(well_at, look.at) if self.sampler.problem() is None else math.inf
            if look.at - well_at >= STAYS_WELL_S and look.pending == 0:
                return well_at - began_at
        return within_s

    async def all_ran(self) -> None:
        """Wait until each monitor has run once more, but no longer than it may take; the checker decides."""
        since, longest_s = time.monotonic(), self.timing.heals_s + max(self.timing.intervals) + SLACK_S

        def have_run() -> bool:
            return all(self.consumer.latest.get(each, 0.0) > since for each in self.editor.running())

        with suppress(AssertionError):
            await until(have_run, within_s=longest_s)

    async def queue_empty(self) -> None:
        """Wait until the consumer has taken every task, so that no fault inherits those of the one before."""
        self.consumer.at_work.set()
        with suppress(AssertionError):  # the check of the history finds a wait that is too long
            await until(lambda: self.sampler.latest is not None and self.sampler.latest.pending == 0)


@asynccontextmanager
async def world(
    folder: Path, recorder: Recorder, timing: Timing, chance: random.Random, monitors: int, *, sentinels: bool
) -> AsyncIterator[ChaosWorld]:
    """A healthy world: every monitor in the schedule, and three replicas, one of which leads."""
    async with AsyncExitStack() as stack:
        place = stack.enter_context(processes.directory("peekaping-chaos-"))
        redis, watched_redis, clock = await _redis(stack, place, sentinels=sentinels)
        postgres = stack.enter_context(processes.running(PostgresServer, "max_connections=300", "shared_buffers=256MB"))
        await migrate(postgres.target)
        settings = {"LEASE_TTL": str(timing.lease_ttl_s), "SYNC_INTERVAL": str(timing.sync_s)}
        if watched_redis:
            settings |= watched_redis.settings
        here = ChaosWorld(timing, chance, folder, recorder, postgres.target, settings, redis, watched_redis, clock)
        database = await databases.connect_sql(postgres.target)
        await database.let_proxies_dangle()
        here.editor = Editor(database, here.connect, recorder, chance, timing)
        await here.editor.create(monitors)
        here.members = await stack.enter_async_context(
            fleet(REPLICAS, folder, recorder, redis_port=redis.port, database=postgres.target, settings=settings)
        )
        here.consumer = await stack.enter_async_context(FaultyConsumer(here.connect, recorder))
        here.sampler = await stack.enter_async_context(Sampler(here.connect, here.editor, recorder))
        await until(lambda: here.sampler.problem() is None, "every monitor is in the schedule", within_s=120)
        await stack.enter_async_context(here.editor)
        yield here
        for member in here.members:
            await member.stop()


async def _redis(
    stack: AsyncExitStack, place: Path, *, sentinels: bool
) -> tuple[RedisServer, WatchedRedis | None, SettableClock | None]:
    """One server whose clock can be set, or a master with its replica and sentinels."""
    clock = SettableClock(place, "redis") if clocks.library() else None
    if sentinels:
        found = await stack.enter_async_context(watched(env_of_replica=clock and clock.environment))
        return await found.master(), found, clock
    folder = place / "redis"
    folder.mkdir()
    arguments = ("--appendonly", "yes", "--appendfsync", "no")
    port = processes.free_port()
    server = embedded.redis_server(folder, port=port, args=arguments, env=clock and clock.environment)
    return await stack.enter_async_context(server), None, clock
