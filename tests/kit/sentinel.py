"""Redis behind Sentinel: a master, a replica of it, and sentinels that fail over within seconds; all processes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from peekaping_producer.demo import embedded
from peekaping_producer.demo.embedded import HOST, RedisServer
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.service import child_processes
from peekaping_producer.targets import RedisTarget, Sentinels
from tests.kit import processes
from tests.kit.processes import free_port
from tests.kit.redis import need_a_binary
from tests.kit.waiting import until

NAME = "peekaping"
PASSWORD = "s3ntinel-canary"
"""What the sentinels ask for; the servers they watch ask for nothing."""
DOWN_AFTER_S = 60.0
"""A server that does not answer for so long counts as down: a busy machine alone must not lead to a failover."""
KILLED_AFTER_S = 1.0
"""The same while a killed master has to be noticed."""


class SentinelProcess:
    """One sentinel, which may be killed."""

    def __init__(self, folder: Path, master_port: int) -> None:
        self.port = free_port()
        config = folder / f"sentinel-{self.port}.conf"
        config.write_text(
            f"port {self.port}\nbind {HOST}\nprotected-mode no\ndir {folder}\n"
            f"requirepass {PASSWORD}\nsentinel sentinel-pass {PASSWORD}\n"
            f"sentinel monitor {NAME} {HOST} {master_port} 2\n"
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_S * 1000:.0f}\n"
            f"sentinel failover-timeout {NAME} 5000\n"
        )
        self._log = folder / f"sentinel-{self.port}.log"
        with self._log.open("wb") as log:
            self._process = child_processes.start(
                [embedded.find_binary(), str(config), "--sentinel"], output=log.fileno()
            )

    async def listening(self) -> None:
        """Wait until it takes connections."""
        await asyncio.to_thread(processes.wait_until, lambda: processes.listens(self.port), self._process, self._log)

    def kill(self) -> None:
        if self._process.poll() is None:
            child_processes.end(self._process, grace=1, kill=True)


class WatchedRedis:
    """Two servers, of which one is the master at a time, and the sentinels that see to it."""

    def __init__(self, servers: Sequence[RedisServer], sentinels: Sequence[SentinelProcess]) -> None:
        self.servers = tuple(servers)
        self.sentinels = tuple(sentinels)

    def target(self, *, ports: Sequence[int] | None = None, **changes: str) -> RedisTarget:
        """Where it is in the product's terms; `ports`: the sentinels to name; `changes` of the sentinels' fields."""
        ports = ports or [each.port for each in self.sentinels]
        known = {"master": NAME, "password": PASSWORD, **changes}
        return RedisTarget(sentinels=Sentinels(addresses=tuple((HOST, port) for port in ports), **known))

    @property
    def settings(self) -> dict[str, str]:
        """The same for a replica's environment."""
        sentinels = self.target().sentinels
        return {"REDIS_URL": f"redis+sentinel://{sentinels}/{NAME}/0", "REDIS_SENTINEL_PASSWORD": PASSWORD}

    async def ask(self, *words: str) -> object:
        """Send one command to the first sentinel that runs."""
        for sentinel in self.sentinels:
            with contextlib.suppress(RedisConnectionError):
                async with Redis(host=HOST, port=sentinel.port, password=PASSWORD) as client:
                    return await client.execute_command("SENTINEL", *words)  # type: ignore[no-untyped-call]
        raise AssertionError("no sentinel runs")

    async def master(self) -> RedisServer:
        """The current master, as the sentinels report it."""
        reply = await self.ask("GET-MASTER-ADDR-BY-NAME", NAME)
        assert isinstance(reply, list)
        return next(each for each in self.servers if each.port == int(reply[1]))

    async def fail_over(self, how: str) -> RedisServer:
        """`killed`: end the master. `asked`: let the sentinels swap both. Returns the new master, once it is it."""
        old = await self.master()
        (new,) = (each for each in self.servers if each is not old)
        if how == "killed":
            await self._set_down_after(KILLED_AFTER_S)
            await old.stop(kill=True)

        async def swapped() -> bool:
            """Asked again and again: the sentinels drop a failover for which the replica is not yet fit."""
            if await self._is_master(new):
                return True
            if how == "asked":
                with contextlib.suppress(ResponseError):  # a failover runs already, or no replica is fit yet
                    await self.ask("FAILOVER", NAME)
            return False

        await until(swapped, f"{new.port} is the master", within_s=90)
        if how == "killed":
            await self._set_down_after(DOWN_AFTER_S)
        return new

    async def _set_down_after(self, seconds: float) -> None:
        """Set it in each sentinel that runs."""
        setting = ("down-after-milliseconds", f"{seconds * 1000:.0f}")
        for sentinel in self.sentinels:
            with contextlib.suppress(RedisConnectionError):
                async with Redis(host=HOST, port=sentinel.port, password=PASSWORD) as client:
                    await client.execute_command("SENTINEL", "SET", NAME, *setting)  # type: ignore[no-untyped-call]

    async def _is_master(self, server: RedisServer) -> bool:
        async with Redis(host=HOST, port=server.port) as client:
            role = await client.execute_command("ROLE")  # type: ignore[no-untyped-call]
        return bool(role[0] == b"master") and await self.master() is server

    async def ready(self) -> None:
        """Wait until the replica is in step, and the sentinels have found it and each other."""
        for sentinel in self.sentinels:
            async with Redis(host=HOST, port=sentinel.port, password=PASSWORD) as client:

                async def found_all(client: Redis = client) -> bool:
                    state = (await client.info("sentinel"))["master0"]
                    return bool(
                        (state["status"], state["slaves"], state["sentinels"]) == ("ok", 1, len(self.sentinels))
                    )

                await until(found_all, "the sentinels have found each other", within_s=60)
        await self.in_step()

    async def in_step(self) -> None:
        """Wait until the replica has whatever was written to the master before this call."""
        async with redis_for(self.target(), connections=1) as client:
            await client.set("test:in-step", 1)
            await until(lambda: _acknowledged(client), "the replica is in step", within_s=60)


async def _acknowledged(client: Redis) -> bool:
    return bool(await client.wait(1, 500) >= 1)


@contextlib.asynccontextmanager
async def watched(*, env_of_replica: Mapping[str, str] | None = None) -> AsyncIterator[WatchedRedis]:
    """A master, its replica and three sentinels, for the length of the block."""
    with child_processes.directory("peekaping-sentinel-") as folder:
        async with contextlib.AsyncExitStack() as stack:
            servers: list[RedisServer] = []
            for number in range(2):
                place = folder / str(number)
                place.mkdir()
                args = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
                args += ["--replicaof", HOST, str(servers[0].port)] if servers else []
                env = env_of_replica if servers else None
                server = embedded.redis_server(place, port=free_port(), args=args, env=env)
                servers.append(await stack.enter_async_context(server))
            sentinels = []
            for _ in range(3):
                sentinels.append(SentinelProcess(folder, servers[0].port))
                stack.callback(sentinels[-1].kill)
            for sentinel in sentinels:
                await sentinel.listening()
            redis = WatchedRedis(servers, sentinels)
            await redis.ready()
            yield redis


@pytest_asyncio.fixture
async def watched_redis() -> AsyncIterator[WatchedRedis]:
    """The same, of one test's own."""
    need_a_binary()
    async with watched() as redis:
        yield redis
