"""The sink on the standard output: slow readers, readers that end, and disks that are full."""

import asyncio
import fcntl
import os
import select
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from peekaping_producer.errors import OutputUnavailableError
from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.messages.sinks.stdout import StdoutSink
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.receiver import Delivery
from tests.kit.receivers import MemoryReceiver
from tests.kit.waiting import until

PIPE_BYTES = 4096


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe with room for one page."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(reader, False)
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue


def read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 20)
    except BlockingIOError:
        return b""


def messages(*numbers: int) -> list[Message]:
    return [Message(f"{number}", b"%099d" % number) for number in numbers]


def deliveries(*numbers: int) -> list[Delivery]:
    return [Delivery(message) for message in messages(*numbers)]


@asynccontextmanager
async def opened(fd: int) -> AsyncIterator[StdoutSink]:
    sink = StdoutSink(fd=fd)
    await sink.open()
    try:
        yield sink
    finally:
        await sink.close()


async def test_a_slow_reader_gets_all_and_the_consumer_waits_for_it(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    receiver = MemoryReceiver(*messages(*range(1000)))
    task = asyncio.create_task(Consumer(receiver, StdoutSink(fd=writer, batch_size=100), Dependencies(Metrics())).run())
    got = b""

    def all_read() -> bool:
        nonlocal got
        assert len(receiver.acknowledged) * 100 <= len(got) + PIPE_BYTES, "acknowledged what is not written"
        got += read(reader)
        return len(got) == 100_000

    await until(all_read)
    await until(lambda: len(receiver.acknowledged) == 1000)
    assert got == b"".join(message.body + b"\n" for message in messages(*range(1000)))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_reader_that_ends_ends_the_consumer_and_nothing_unwritten_is_acknowledged(
    pipe: tuple[int, int],
) -> None:
    reader, writer = pipe
    receiver = MemoryReceiver(*messages(*range(1000)))
    task = asyncio.create_task(Consumer(receiver, StdoutSink(fd=writer, batch_size=10), Dependencies(Metrics())).run())
    got = b""

    def some_read() -> bool:
        nonlocal got
        got += read(reader)
        return len(got) >= 5000

    await until(some_read)
    os.close(reader)
    await asyncio.wait_for(task, 30)
    assert 0 < len(receiver.acknowledged) * 100 <= len(got) + PIPE_BYTES
    assert receiver.closed
    assert not receiver.held


async def test_a_reader_that_does_not_read_does_not_delay_the_stop(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    receiver = MemoryReceiver(*messages(*range(100)))
    consumer = Consumer(receiver, StdoutSink(fd=writer), Dependencies(Metrics()))
    task = asyncio.create_task(consumer.run())
    await until(lambda: len(receiver.held) == 100)
    assert await consumer.drain(0.05) == 100
    await asyncio.wait_for(task, 30)
    assert (receiver.acknowledged, len(receiver.released)) == ([], 100)
    assert len(read(reader)) <= PIPE_BYTES


async def test_a_line_that_was_begun_is_ended_before_the_next_batch(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    async with opened(writer) as sink:
        call = asyncio.create_task(sink.run(deliveries(*range(60))))
        await until(lambda: call.done() or (sink._written > 0 and not select.select([], [writer], [], 0)[1]))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        begun = -(-sink._written // 100)  # of the lines, which have 100 bytes each
        next_call = asyncio.create_task(sink.run(deliveries(100)))
        got = b""
        while not next_call.done():
            await asyncio.sleep(0.01)
            got += read(reader)
        got += read(reader)
    assert got == b"".join(message.body + b"\n" for message in messages(*range(begun), 100))


async def test_what_was_written_when_a_call_failed_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = os.open(tmp_path / "stdout", os.O_WRONLY | os.O_CREAT)
    write, calls = os.write, 0

    def full(fd: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        if calls == 3:
            raise BlockingIOError
        return write(fd, data[:50])

    batch = deliveries(1, 2)
    async with opened(fd) as sink:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OutputUnavailableError, match="stdout cannot be written: No space left on device"):
            await sink.run(batch)
        await sink.run(batch)
        monkeypatch.undo()
    os.close(fd)
    assert content(tmp_path / "stdout") == b"".join(each.message.body + b"\n" for each in batch)


def content(path: Path) -> bytes:
    return path.read_bytes()


async def test_a_full_disk_is_no_end() -> None:
    with open("/dev/full", "wb") as full:  # noqa: ASYNC230 - a device
        async with opened(full.fileno()) as sink:
            with pytest.raises(OutputUnavailableError, match="No space left on device"):
                await sink.run(deliveries(1))
