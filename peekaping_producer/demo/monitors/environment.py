"""What the demo runs: Redis, a database with monitors, their target, two replicas."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from peekaping_producer.demo.embedded import HOST, free_port
from peekaping_producer.demo.monitors.page import page_of
from peekaping_producer.demo.monitors.replica import Replica
from peekaping_producer.demo.monitors.target import open_target
from peekaping_producer.demo.redis import client, open_redis, origin
from peekaping_producer.migrate import migrate
from peekaping_producer.monitors.monitor import Monitor
from peekaping_producer.redis_client.client import Client
from peekaping_producer.service import child_processes
from peekaping_producer.settings import Settings
from peekaping_producer.targets import DatabaseTarget

REPLICAS = 2


class Environment(msgspec.Struct, frozen=True):
    """The running parts."""

    redis: Client
    redis_text: str
    """Address and kind of the Redis server, for the output."""
    monitors: list[Monitor]
    replicas: list[Replica]
    page: str
    """The address of the page of a replica that runs."""


@asynccontextmanager
async def open_environment(given: Settings | None) -> AsyncIterator[Environment]:
    """Start everything for the duration of the `async with`; no process and no file outlives it.

    Redis is that of the `given` settings, or an embedded server for None. Raises ProducerError.
    """
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(child_processes.directory("peekaping-demo-"))
        settings = await stack.enter_async_context(open_redis(directory, given))
        redis = await stack.enter_async_context(client(settings))
        monitors = await stack.enter_async_context(open_target())
        database = DatabaseTarget(dialect="sqlite", name=str(directory / "demo.sqlite"))
        await migrate(database)
        _insert(database.name, monitors)
        of_demo = {"DB_TYPE": "sqlite", "DB_NAME": database.name, "SHUTDOWN_GRACE": "5", "LEASE_TTL": "10"}
        env = settings.as_environment("redis") | of_demo
        ports = [free_port() for _ in range(REPLICAS)]
        replicas = [
            Replica(f"replica {number}", directory, env | {"UI_ADDR": f"{HOST}:{port}"})
            for number, port in enumerate(ports, 1)
        ]
        page = await stack.enter_async_context(page_of(ports))
        for replica in replicas:
            stack.push_async_callback(replica.stop)
            replica.start()
        yield Environment(redis, origin(given, settings), monitors, replicas, page)


def _insert(path: str, monitors: list[Monitor]) -> None:
    columns = Monitor.__struct_fields__
    statement = f"INSERT INTO monitors ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
    connection = sqlite3.connect(path)
    with connection:
        connection.executemany(statement, [msgspec.structs.astuple(monitor) for monitor in monitors])
    connection.close()
