"""Used by every scenario: servers, their monitors, replicas, and the kernel's figures of a process."""

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from redis.asyncio import Redis

from bench.dataset import CONFIG
from bench.servers import servers
from peekaping_producer.brokers.asynq_keys import PENDING
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.targets import DatabaseTarget
from tests.kit import databases, postgres
from tests.kit.commands import MINIMAL
from tests.kit.databases import monitor_row, new_id
from tests.kit.replicas import replicas

DAY_S = 86_400
_CHUNK = 5000
_LEADER_TTL_MS = 50_000
"""Below MAX_LEADER_TTL_S, so replicas do not take the key over."""
WITHOUT_DOTENV = Path(__file__).parent
"""A replica reads `.env` in its working directory; one in the checkout may name servers in production."""
STALLED_S = 60.0
"""A wait ends after this time without progress."""
Process = subprocess.Popen[bytes]


class BenchHarness:
    """A Redis and a database with the tables; the scenarios empty both."""

    def __init__(self, environment: dict[str, str], database: DatabaseTarget) -> None:
        self.environment = environment
        self.database = database
        self.redis_url = environment.get("REDIS_URL") or f"redis://127.0.0.1:{environment['REDIS_PORT']}/0"
        self.redis = Redis.from_url(self.redis_url)
        self._leading: asyncio.Task[None] | None = None

    async def fill(self, count: int, *, interval: int = 60) -> list[str]:
        """Empty both; create `count` active http monitors in the database only; return their ids."""
        await self.resign()
        await self.redis.flushdb()
        if self.database.dialect == "postgres":
            ids = [new_id() for _ in range(count)]
            await _copy_to_postgres(self.database, ids, interval)
        else:
            async with databases.connected(self.database) as database:
                ids = [database.new_id() for _ in range(count)]
                await database.clear()
                for start in range(0, count, _CHUNK):
                    await database.insert("monitors", *(_row(each, interval) for each in ids[start : start + _CHUNK]))
        return ids

    async def schedule(self, due: Mapping[str, float]) -> None:
        """Put monitors into due, by id their due times in ms."""
        items = list(due.items())
        for start in range(0, len(items), _CHUNK):
            await self.redis.zadd(KEYS.due, dict(items[start : start + _CHUNK]))

    async def schedule_later(self, ids: list[str], *, interval: int = DAY_S) -> None:
        """Put them all into due at the next tick of `interval`, as a sync would find them."""
        tick_ms = (now_ms() // (interval * 1000) + 1) * interval * 1000
        await self.schedule(dict.fromkeys(ids, tick_ms))

    async def lead(self) -> None:
        """Keep the leader key until `resign`, so that no replica syncs."""
        await self.resign()
        await self.redis.set(KEYS.leader, "bench/1", px=_LEADER_TTL_MS)
        self._leading = asyncio.create_task(self._keep_leading())

    async def resign(self) -> None:
        """Delete the leader key."""
        if self._leading:
            await cancel_and_wait(self._leading)
            self._leading = None
        await self.redis.delete(KEYS.leader)

    async def _keep_leading(self) -> None:
        while True:
            await asyncio.sleep(_LEADER_TTL_MS / 5000)
            await self.redis.pexpire(KEYS.leader, _LEADER_TTL_MS)

    async def close(self) -> None:
        """Disconnect from Redis."""
        if self._leading:
            await cancel_and_wait(self._leading)
        await self.redis.aclose()

    async def connected(self, producers: Sequence[Process]) -> None:
        """Wait until all of them are connected to Redis and idle."""

        port = self.redis.connection_pool.connection_kwargs["port"]

        async def connected() -> int:  # of each: one alone has more connections than two need
            return sum(connections(each, port) >= 2 for each in producers)

        await reaches(len(producers), connected, "producers connected", producers)

    async def all_handed_off(self, count: int, producers: Sequence[Process]) -> None:
        """Wait until `count` tasks are pending and no claim is open."""

        async def settled() -> int:
            return await self.pending() - int(await self.redis.zcard(KEYS.lease))

        await reaches(count, settled, "monitors handed off", producers)

    async def pending(self) -> int:
        """The number of pending tasks."""
        return int(await self.redis.llen(PENDING))

    @asynccontextmanager
    async def replicas(self, count: int = 1, **settings: str) -> AsyncIterator[list[Process]]:
        """`count` replicas at the default log level; killed at the end of the block if they still run."""
        environments = [self.environment_of_commands(**settings)] * count
        with replicas(WITHOUT_DOTENV, *environments, logs=False) as running:
            yield [each.process for each in running]

    async def cost_of(self, replica: Process, watch_s: float) -> tuple[float, float]:
        """The commands a second of all clients, and the CPU of this replica in % of a core, for so long."""
        cpu_before, began_at = cpu_s(replica), time.monotonic()
        commands = 0
        async with self.redis.monitor() as monitor:
            with suppress(TimeoutError):
                async with asyncio.timeout(watch_s):
                    async for command in monitor.listen():
                        commands += command["client_type"] != "lua"
        took_s = time.monotonic() - began_at
        return commands / took_s, 100 * (cpu_s(replica) - cpu_before) / took_s

    def environment_of_commands(self, **settings: str) -> dict[str, str]:
        """The environment of the producer's commands, so that they use both servers."""
        return {**MINIMAL, "METRICS_ADDR": "off", **self.environment, **settings}


@asynccontextmanager
async def harness(store: str = "postgres", *, flush_given_servers: bool = False) -> AsyncIterator[BenchHarness]:
    """Servers of its own, or the given ones; see `servers`."""
    async with servers(store, flush_given_servers=flush_given_servers) as (environment, database):
        made = BenchHarness(environment, database)
        try:
            yield made
        finally:
            await made.close()


async def reaches(
    enough: int,
    count: Callable[[], Awaitable[int]],
    what: str,
    producers: Sequence[Process],
    every_s: float = 0.02,
) -> None:
    """Wait for `count`. AssertionError where a producer ends, or without progress, as after a lost tick."""
    seen, since = -1, time.monotonic()
    while (now := await count()) < enough:
        if ended := [each.returncode for each in producers if each.poll() is not None]:
            raise AssertionError(f"a producer ended by itself (exit code {ended[0]}): run it by hand to see the reason")
        if now != seen:
            seen, since = now, time.monotonic()
        assert time.monotonic() - since < STALLED_S, f"no progress for {STALLED_S:g} s at {now:,} of {enough:,} {what}"
        await asyncio.sleep(every_s)


def _row(monitor_id: str, interval: int) -> databases.Row:
    return monitor_row(monitor_id, interval=interval, config=CONFIG)


async def _copy_to_postgres(database: DatabaseTarget, ids: list[str], interval: int) -> None:
    """By COPY: a million rows by INSERT take a minute."""
    connection = await postgres.connect(database)
    await connection.execute("TRUNCATE monitors CASCADE")
    await connection.copy_records_to_table(
        "monitors", columns=list(_row("", interval)), records=(tuple(_row(each, interval).values()) for each in ids)
    )
    await connection.execute("ANALYZE monitors")
    await connection.close()


def now_ms() -> int:
    """The local clock in ms, which Redis uses, too."""
    return int(time.time() * 1000)


def memory_mb(process: Process, name: str = "VmRSS") -> float:
    """VmRSS (now) or VmHWM (at its peak) of a process, in MB of 1,000,000 bytes."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"/proc/{process.pid}/status has no {name}")


def connections(process: Process, port: int) -> int:
    """The number of TCP connections of a process to a port."""
    here = Path(f"/proc/{process.pid}")
    sockets = set()
    with suppress(OSError):  # it may close one meanwhile, or end
        sockets = {os.readlink(each) for each in (here / "fd").iterdir()}
    tables = [(here / "net" / name).read_text() for name in ("tcp", "tcp6")]
    return len(set().union(*(_inodes_connected_to(port, table) for table in tables)) & sockets)


def _inodes_connected_to(port: int, table: str) -> set[str]:
    """The sockets of a table of /proc/net. A set: the kernel may list one several times while others come and go."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{port:04X}")}


def cpu_s(process: Process) -> float:
    """CPU seconds that a process has used, in ticks of 0.01 s."""
    return cpu_s_of(process.pid)


def cpu_s_of(pid: int) -> float:
    """The same by its process id; 0 if it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
