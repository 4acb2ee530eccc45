"""What a bench runs on: a Redis-compatible server and a database, its own or those of REDIS_URL and DATABASE_URL."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from peekaping_producer import embedded
from peekaping_producer.settings import load_settings
from peekaping_producer.targets import DatabaseTarget
from tests.e2e import replicas
from tests.servers import mongo, mysql, postgres, processes

STORES = ("postgres", "mysql", "sqlite", "mongo")
_BOTH = ("REDIS_URL", "DATABASE_URL")


@asynccontextmanager
async def servers(store: str = "postgres") -> AsyncIterator[tuple[dict[str, str], DatabaseTarget]]:
    """The environment that points a producer at them, and the database; both servers are the bench's to empty."""
    if given := {name: os.environ[name] for name in _BOTH if name in os.environ}:
        if len(given) < len(_BOTH):
            raise SystemExit(f"got {', '.join(given)} alone: set both of {' and '.join(_BOTH)}, or neither")
        target = load_settings({"database"}, environ=given).database_target()
        if target.dialect != store:
            raise SystemExit(f"DATABASE_URL: got {target.dialect}, takes what --store says ({store})")
        print("REDIS_URL and DATABASE_URL are set: all that is in these two will be deleted.")
        yield given, target
        return
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(embedded.redis_server())
        match store:
            case "postgres":
                options = ("max_connections=200", "shared_buffers=512MB", "max_wal_size=8GB")
                target = stack.enter_context(postgres.postgres_running(*options)).target
            case "mysql":
                target = stack.enter_context(mysql.mysql_running("--innodb-buffer-pool-size=1G")).target
            case "mongo":
                target = stack.enter_context(mongo.mongo_running()).target
            case _:
                folder = stack.enter_context(processes.directory("peekaping-bench-"))
                target = DatabaseTarget(dialect="sqlite", name=str(folder / "bench.db"))
        yield replicas.environment(redis.port, target), target
