"""What a bench needs to run: a Redis-compatible server and Postgres, its own or those of REDIS_URL and DATABASE_URL."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

from peekaping_producer import embedded
from tests.servers.postgres import PASSWORD, USER, postgres_running


@asynccontextmanager
async def servers() -> AsyncIterator[dict[str, str]]:
    """The environment that points a producer at them; both are empty, or will be emptied."""
    if "REDIS_URL" in os.environ and "DATABASE_URL" in os.environ:
        yield {name: os.environ[name] for name in ("REDIS_URL", "DATABASE_URL")}
        return
    async with embedded.redis_server() as redis:
        with postgres_running("max_connections=200", "shared_buffers=512MB") as postgres:
            yield {
                "REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
                "DATABASE_URL": f"postgres://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{postgres.port}/postgres",
            }
