"""Whole replicas whose stderr does not flow: their work, their probes and their stop go on."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.redis_client.client import redis_for
from tests.kit.asynq_peer import PENDING
from tests.kit.databases import SqlDatabase, new_id
from tests.kit.processes import HOST, free_port
from tests.kit.redis import target_of
from tests.kit.replicas import environment, row
from tests.kit.waiting import until


@pytest.fixture
async def server(private_redis: RedisServer) -> AsyncIterator[Redis]:
    async with redis_for(target_of(private_redis), connections=5) as client:
        yield client


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of 4 KiB: 15 lines at debug."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    os.close(reader)
    os.close(writer)


async def alive(port: int) -> bool:
    try:
        async with ClientSession() as session, session.get(f"http://{HOST}:{port}/livez") as response:
            return response.status == 200
    except ClientError:
        return False


async def works_and_stops(
    server: Redis,
    database: SqlDatabase,
    start: Callable[[dict[str, str]], subprocess.Popen[bytes]],
    port: int,
    before_the_stop: Callable[[], object] = lambda: None,
) -> None:
    """Enough batches that their lines would fill the pipe many times; then a probe, and a stop in time."""
    ids = [new_id() for _ in range(100)]
    await database.insert("monitors", *(row(each, interval=1) for each in ids))
    redis_port = server.connection_pool.connection_kwargs["port"]
    env = environment(redis_port, database.target, METRICS_ADDR=f"{HOST}:{port}", CLAIM_BATCH="5", LOG_LEVEL="debug")

    async def some_are_pending() -> bool:
        return int(await server.llen(PENDING)) >= 50

    process = start(env)
    try:
        for _ in range(4):  # many lines, where 15 fit
            await until(some_are_pending)
            await server.delete(PENDING)
        assert await alive(port)
        before_the_stop()
        asked_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 20) == 0
        assert time.monotonic() - asked_at < 15
    finally:
        process.kill()
        process.wait()


def run(
    env: dict[str, str], folder: Path, redirected: str = "", stderr: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "peekaping_producer", "run"]
    return subprocess.Popen(["sh", "-c", f'exec "$@" {redirected}', "sh", *command], env=env, cwd=folder, stderr=stderr)


async def test_a_log_that_nobody_reads_stops_nothing(
    server: Redis, postgres_only: SqlDatabase, pipe: tuple[int, int], tmp_path: Path
) -> None:
    await works_and_stops(server, postgres_only, lambda env: run(env, tmp_path, stderr=pipe[1]), free_port())


@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-", "0<&- 1>&- 2>&-"])
async def test_a_log_that_cannot_be_written_stops_nothing(
    server: Redis, postgres_only: SqlDatabase, redirected: str, tmp_path: Path
) -> None:
    await works_and_stops(server, postgres_only, lambda env: run(env, tmp_path, redirected), free_port())


async def test_a_reader_that_comes_back_gets_all_that_waited(
    server: Redis, postgres_only: SqlDatabase, pipe: tuple[int, int], tmp_path: Path
) -> None:
    reader, writer = pipe
    got = bytearray()

    async def read() -> None:
        while some := await asyncio.to_thread(os.read, reader, 65536):
            got.extend(some)

    reading: list[asyncio.Task[None]] = []
    await works_and_stops(
        server,
        postgres_only,
        lambda env: run(env, tmp_path, stderr=writer),
        free_port(),
        before_the_stop=lambda: reading.append(asyncio.create_task(read())),
    )
    os.set_blocking(reader, False)
    os.write(writer, b"{}\n")  # wakes the reader
    await until(lambda: got.endswith(b"{}\n"))
    reading[0].cancel()
    lines = [json.loads(line) for line in got.decode().splitlines()][:-1]
    assert lines[-1]["event"] == "producer.stopped"
    assert sum(line["event"] == "claim.handed_off" for line in lines) > 20, "more than fit"
    assert [line["timestamp"] for line in lines] == sorted(line["timestamp"] for line in lines)
