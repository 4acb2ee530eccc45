"""Replicas with a blocked or closed stderr: their work, their probes and their stop go on."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.kit import http
from tests.kit.asynq_peer import PENDING
from tests.kit.fleet import Fleet
from tests.kit.processes import HOST, free_port
from tests.kit.replicas import RUN
from tests.kit.waiting import until


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of 4 KiB: 15 lines at debug."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    os.close(reader)
    os.close(writer)


async def works_and_stops(
    fleet: Fleet,
    *,
    redirected: str = "",
    stderr: int = subprocess.DEVNULL,
    before_the_stop: Callable[[], object] = lambda: None,
) -> None:
    """Enough batches that their lines would fill the pipe many times; then a probe, and a stop in time."""
    await fleet.monitors(100)
    address = f"{HOST}:{free_port()}"
    env = fleet.environment(METRICS_ADDR=address, CLAIM_BATCH="5", LOG_LEVEL="debug")

    async def some_are_pending() -> bool:
        return int(await fleet.redis.llen(PENDING)) >= 50

    argv = ["sh", "-c", f'exec "$@" {redirected}', "sh", *RUN]
    process = subprocess.Popen(argv, env=env, cwd=fleet.folder, stderr=stderr)  # noqa: ASYNC220
    try:
        for _ in range(4):  # many lines, where 15 fit
            await until(some_are_pending)
            await fleet.redis.delete(PENDING)
        assert (await http.get(address, "/livez"))[0] == 200
        before_the_stop()
        asked_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 60) == 0
        assert time.monotonic() - asked_at < 25, "SHUTDOWN_GRACE, and some seconds"
    finally:
        process.kill()
        process.wait()


async def test_a_log_without_a_reader_stops_nothing(fleet: Fleet, pipe: tuple[int, int]) -> None:
    await works_and_stops(fleet, stderr=pipe[1])


@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-", "0<&- 1>&- 2>&-"])
async def test_a_log_that_cannot_be_written_stops_nothing(fleet: Fleet, redirected: str) -> None:
    await works_and_stops(fleet, redirected=redirected)


async def test_a_reader_that_comes_back_receives_all_lines(fleet: Fleet, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    got = bytearray()

    async def read() -> None:
        while some := await asyncio.to_thread(os.read, reader, 65536):
            got.extend(some)

    reading: list[asyncio.Task[None]] = []
    await works_and_stops(fleet, stderr=writer, before_the_stop=lambda: reading.append(asyncio.create_task(read())))
    os.set_blocking(reader, False)
    os.write(writer, b"{}\n")  # wakes the reader
    await until(lambda: got.endswith(b"{}\n"))
    reading[0].cancel()
    lines = [json.loads(line) for line in got.decode().splitlines()][:-1]
    assert lines[-1]["event"] == "producer.stopped"
    assert sum(line["event"] == "claim.handed_off" for line in lines) > 20, "more than fit"
    assert [line["timestamp"] for line in lines] == sorted(line["timestamp"] for line in lines)
