"""The file sink: its output after kills, errors, full disks and changes while it writes."""

import asyncio
import contextlib
import errno
import itertools
import os
import re
import resource
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from peekaping_producer.errors import ConfigError, OutputUnavailableError
from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.durability import write_all
from peekaping_producer.messages.sinks import output
from peekaping_producer.messages.sinks.file import FileSink
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.message import Message
from tests.kit.file_faults import CrashError, FileFaults
from tests.kit.file_sink import (
    Batches,
    consume,
    content,
    deliveries,
    journal,
    lines,
    opened,
    remove,
    rename,
    write,
)
from tests.kit.receivers import MemoryReceiver
from tests.kit.waiting import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "output.txt"


async def consume_with(faults: FileFaults, path: Path) -> Batches:
    """Return what is not acknowledged when the process is killed."""
    batches = [deliveries(*range(start, start + 3)) for start in range(0, 18, 3)]
    sink = FileSink(path, dedup=True, kept_ids=6)
    with faults.injected(), contextlib.suppress(CrashError, ConfigError):
        await sink.open()
        await consume(sink, batches)
    await sink.close()
    return batches


@pytest.mark.parametrize("power_lost", [False, True])
async def test_a_kill_at_any_call_loses_and_doubles_nothing(tmp_path: Path, power_lost: bool) -> None:
    for first in itertools.count():
        path = tmp_path / f"{first}.txt"
        faults = FileFaults(first, CrashError(), times=1_000_000)
        left = await consume_with(faults, path)
        if power_lost:
            faults.lose_power(path, journal(path))
        async with opened(path, kept_ids=6) as sink:
            await consume(sink, list(left))
        assert content(path) == lines(*range(18)), f"killed at call {first}"
        if faults.calls <= first:
            break
        assert left, "killed"
    assert first > 20


@pytest.mark.parametrize(("times", "then_crash"), [(1, None), (3, None), (7, None), (1, 0), (1, 1), (2, 0), (2, 3)])
async def test_an_error_of_any_call_loses_and_doubles_nothing(
    tmp_path: Path, times: int, then_crash: int | None
) -> None:
    for first in itertools.count():
        path = tmp_path / f"{first}.txt"
        faults = FileFaults(first, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), times, then_crash=then_crash)
        left = await consume_with(faults, path)
        async with opened(path, kept_ids=6) as sink:  # after a kill
            await consume(sink, left)
            await consume(sink, [deliveries(15, 16, 17)])
        assert content(path) == lines(*range(18)), f"errors from call {first} on"
        if faults.calls <= first:
            break
    assert first > 20


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder with little space, and a call that makes more. Without the rights to mount one: a limit of sizes."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "none", folder], capture_output=True
    ).returncode
    if mounted == 0:
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(64 * 1024))
        try:
            yield folder, ballast.unlink
        finally:
            subprocess.run(["umount", folder], check=True)
        return
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
    try:
        yield folder, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def test_a_full_disk_stops_consuming_until_there_is_space(tmp_path: Path) -> None:
    with small_disk(tmp_path) as (folder, make_space):
        path = folder / "output.txt"
        sent = [Message(f"generation:{number}", b"%05d " % number + bytes(94)) for number in range(600)]
        receiver, dependencies = MemoryReceiver(*sent), Dependencies(Metrics())
        with capture_logs() as logs:
            task = asyncio.create_task(
                Consumer(receiver, FileSink(path, dedup=True, batch_size=100), dependencies).run()
            )
            await until(lambda: "output" in dependencies.troubles)
            acknowledged = len(receiver.acknowledged)
            assert acknowledged < 600
            assert len(content(path).splitlines()) == acknowledged
            assert len(receiver.held) == 100, "the batch is kept, and no other received"
            make_space()
            await until(lambda: len(receiver.acknowledged) == 600)
        assert dependencies.troubles == {}
        assert [each["event"] for each in logs] == ["dependency.failing", "dependency.recovered"]
        assert content(path) == b"".join(message.body + b"\n" for message in sent)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_write_that_hangs_is_reported_until_it_ends(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peekaping_producer.service.dependencies._ASK_EVERY_S", 0.01)
    monkeypatch.setattr("peekaping_producer.messages.sinks.file.SLOW_AFTER_S", 0.02)
    gate, write = threading.Event(), output.OutputFile.append

    def hang(file: output.OutputFile, lines: bytes) -> None:
        gate.wait()
        write(file, lines)

    monkeypatch.setattr(output.OutputFile, "append", hang)
    receiver, dependencies = MemoryReceiver(Message("1", b"line")), Dependencies(Metrics())
    task = asyncio.create_task(Consumer(receiver, FileSink(path), dependencies).run())
    try:
        await until(lambda: "output" in dependencies.troubles)
        assert re.search(rf"{re.escape(str(path))}: no write for \d+ s", dependencies.troubles["output"].reason)
    finally:
        gate.set()
    await until(lambda: receiver.acknowledged == ["1"])
    await until(lambda: not dependencies.troubles)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_canceled_call_whose_lines_are_written_succeeds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise they would be written again."""
    began, gate = threading.Event(), threading.Event()

    def slow(fd: int) -> None:
        began.set()
        gate.wait()

    monkeypatch.setattr(os, "fdatasync", slow)
    async with opened(path, dedup=False) as sink:
        call = asyncio.create_task(sink.run(deliveries(1)))
        await until(began.is_set)
        call.cancel()
        await asyncio.sleep(0)
        assert not call.done()
        gate.set()
        await call
    assert content(path) == lines(1)


@pytest.mark.parametrize("dedup", [False, True])
async def test_lines_of_an_output_that_is_deleted_while_it_is_written_are_not_acknowledged(
    path: Path, dedup: bool
) -> None:
    async with opened(path, dedup=dedup) as sink:
        await sink.run(deliveries(1))
        with (
            patch.object(output, "sync_data", side_effect=lambda _: remove(path)),
            pytest.raises(OutputUnavailableError, match="the file was deleted while it was written"),
        ):
            await sink.run(deliveries(2))
        await sink.run(deliveries(2, 3))
    assert content(path) == lines(2, 3)


async def test_a_kill_after_an_output_was_truncated_while_it_was_written(path: Path) -> None:
    async with opened(path) as sink:
        await sink.run(deliveries(1))

        def truncate_and_write(fd: int, data: bytes) -> None:
            os.truncate(path, 0)
            write_all(fd, data)

        with patch.object(output, "write_all", truncate_and_write):
            await sink.run(deliveries(2))
    await write(path, [2, 3])
    assert content(path) == lines(2, 3)


@pytest.mark.parametrize("times", [1, 2])
async def test_an_error_of_any_call_after_a_rotation_loses_and_doubles_nothing(tmp_path: Path, times: int) -> None:
    for first in itertools.count():
        path = tmp_path / f"{first}.txt"
        faults = FileFaults(first, OSError(errno.EIO, os.strerror(errno.EIO)), times)
        async with opened(path) as sink:
            await sink.run(deliveries(1, 2))
            rotated = rename(path, f"{first}.rotated")
            with faults.injected():
                await consume(sink, [deliveries(3, 4), deliveries(5)])
        await write(path, [3, 4, 5], [6])
        assert content(rotated) + content(path) == lines(1, 2, 3, 4, 5, 6), f"errors from call {first} on"
        if faults.calls <= first:
            break
    assert first > 5
