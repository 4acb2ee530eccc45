"""The file source: lines as they are, its files, and what becomes of each line."""

import asyncio
import errno
import os
import stat
from pathlib import Path
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from peekaping_producer.errors import BrokerUnavailableError
from peekaping_producer.messages.dead_letters import read_records
from peekaping_producer.messages.sources import watcher
from peekaping_producer.service.aio import cancel_and_wait
from tests.kit.file_source import Running, append, following, rename, size
from tests.kit.publishers import MemoryPublisher
from tests.kit.waiting import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "input.txt"


async def test_bodies_are_the_lines_without_their_newlines(path: Path) -> None:
    data = b"a\n\nb\r\n\xff\x00\xfe\n  c \n"
    append(path, data)
    async with following(path) as running:
        await running.until_settled(b"a", b"", b"b\r", b"\xff\x00\xfe", b"  c ")
        assert b"".join(body + b"\n" for body in running.publisher.bodies) == data
        generation = running.publisher.messages[0].id.partition(":")[0]
        assert [message.id for message in running.publisher.messages] == [
            f"{generation}:{offset}" for offset in (0, 2, 3, 6, 10)
        ]


async def test_a_partial_line_waits_for_its_end_and_a_restart_sends_no_line_again(path: Path) -> None:
    publisher = MemoryPublisher()
    append(path, b"a\nb")
    async with following(path, publisher) as running:
        await until(lambda: publisher.bodies == [b"a"] and not running.relay.progress().buffered)
        await until(lambda: running.source.lag_bytes == 1)
    append(path, b"b\nc\n")
    async with following(path, publisher) as running:
        await running.until_settled(b"a", b"bb", b"c")
    ids = {message.id.partition(":")[0] for message in publisher.messages}
    assert len(ids) == 1


async def test_new_lines_wake_the_source_before_it_polls(path: Path) -> None:
    append(path, b"a\n")
    with patch.object(watcher, "POLL_EVERY_S", 3600):
        async with following(path) as running:
            await running.until_settled(b"a")
            await until(lambda: running.source._watcher._observer is not None)
            append(path, b"b\n")
            await until(lambda: running.publisher.bodies == [b"a", b"b"])


async def test_a_file_that_cannot_be_watched_is_polled(path: Path) -> None:
    append(path, b"a\n")
    with (
        patch.object(watcher.Observer, "schedule", side_effect=OSError(errno.ENOSPC, "inotify watch limit reached")),  # type: ignore[attr-defined]
        capture_logs() as lines,
    ):
        async with following(path) as running:
            await running.until_settled(b"a")
            append(path, b"b\n")
            await running.until_settled(b"a", b"b")
            append(path, b"c\n")
            await running.until_settled(b"a", b"b", b"c")
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["source.watch_failed"]


async def test_a_busy_file_is_polled_instead_of_watched(path: Path) -> None:
    append(path, b"a\n")
    with patch.object(watcher, "_BUSY_READS", 5), patch.object(watcher, "_BUSY_S", 60):
        async with following(path) as running:
            await until(lambda: running.source._watcher._observer is not None)

            def write_and_look() -> bool:
                append(path, b"b\n")
                return running.source._watcher._observer is None

            await until(write_and_look)
            with patch.object(watcher, "_BUSY_S", 0.1):
                await until(lambda: running.source._watcher._observer is not None)


async def test_lines_that_are_too_long_go_to_the_dead_letters(path: Path) -> None:
    long, longer = b"x" * 11, b"y" * 1_000_000
    append(path, b"a\n" + long + b"\nb\n" + longer[:500_000])
    with capture_logs() as logs:
        async with following(path, max_line_bytes=10) as running:
            await until(lambda: running.publisher.bodies == [b"a", b"b"])
            append(path, longer[500_000:] + b"\n" + b"c\n")
            await running.until_settled(b"a", b"b", b"c")
            assert running.metric("source_dead_letters_total") == 2
    logged = [(line["count"], line["bytes"]) for line in logs if line["event"] == "line.dead_lettered"]
    assert logged == [(1, 11), (1, 1_000_000)], "the second one when the source stops"
    records = list(read_records(path.with_name("input.txt.dead-letters")))
    generation = running.publisher.messages[0].id.partition(":")[0]
    assert [(header.id, header.reason) for header, _ in records] == [
        (f"{generation}:2", "line: expected at most 10 bytes, got 11"),
        (f"{generation}:16", "line: expected at most 10 bytes, got 1000000"),
    ]
    assert [body for _, body in records] == [long, longer]


async def test_what_the_broker_refuses_goes_to_the_dead_letters(path: Path) -> None:
    publisher = MemoryPublisher()
    append(path, b"a\n" + b"b" * 100 + b"\nc\nd\n")
    async with following(path, publisher, max_bytes=50) as running:
        await running.until_settled(b"a", b"c", b"d")
        refused = f"{publisher.messages[0].id.partition(':')[0]}:{size(path)}"
        publisher.refused = {refused: "too odd"}
        append(path, b"odd\ne\n")
        await running.until_settled(b"a", b"c", b"d", b"e")
    records = [(header.reason, body) for header, body in read_records(path.with_name("input.txt.dead-letters"))]
    assert records[0] == ("body: expected at most 50 bytes, the buffer of the relay, got 100", b"b" * 100)
    assert records[1] == ("too odd", b"odd")


async def test_reading_pauses_while_the_broker_is_away(path: Path) -> None:
    publisher = MemoryPublisher()
    publisher.error = BrokerUnavailableError("away")
    append(path, b"".join(b"%d\n" % number for number in range(1000)))
    async with following(path, publisher, max_messages=10, batch_lines=5) as running:
        await until(lambda: running.relay.progress().buffered == 10)
        assert running.source.lag_bytes == size(path)
        publisher.error = None
        await running.until_settled(*(b"%d" % number for number in range(1000)))


async def test_stop_and_drain_end_the_source_after_its_last_checkpoint(path: Path) -> None:
    append(path, b"a\nb\n")
    running = Running(path, MemoryPublisher(), {})
    tasks = [asyncio.create_task(running.relay.run()), asyncio.create_task(running.source.run())]
    await until(lambda: bool(running.publisher.bodies))
    running.source.stop()
    assert await running.relay.drain(within_s=30) == 0
    await asyncio.gather(*tasks)
    assert running.is_settled


async def test_a_drain_that_times_out_ends_the_source(path: Path) -> None:
    publisher = MemoryPublisher()
    publisher.error = BrokerUnavailableError("away")
    append(path, b"a\nb\n")
    running = Running(path, publisher, {})
    relay = asyncio.create_task(running.relay.run())
    source = asyncio.create_task(running.source.run())
    await until(lambda: running.relay.progress().buffered == 2)
    running.source.stop()
    assert await running.relay.drain(within_s=0) == 2
    await source
    await cancel_and_wait(relay)
    publisher.error = None
    async with following(path, publisher) as again:
        await again.until_settled(b"a", b"b")


async def test_the_next_generation_waits_until_the_rotated_file_is_quiet(path: Path) -> None:
    append(path, b"a\n")
    async with following(path, rotate_wait_s=3600) as running:
        await running.until_settled(b"a")
        rotated = rename(path, "input.txt.1")
        append(path, b"c\n")
        append(rotated, b"b\nend")
        await until(lambda: running.publisher.bodies == [b"a", b"b"])
        os.utime(rotated, (0, 0))
        await until(lambda: running.publisher.bodies == [b"a", b"b", b"end", b"c"])


async def test_files_beside_it_that_are_no_generations_are_not_read(path: Path) -> None:
    append(path, b"a\n")
    async with following(path) as running:
        await running.until_settled(b"a")
    rename(path, "input.txt.1")
    for name in ("input.txt.bak", "input.txt.2.gz", "input.txt.new", "input-2.txt", "other.txt.1"):
        append(path.with_name(name), b"not ours\n")
    path.with_name("input.txt.3").mkdir()
    append(path, b"b\n")
    async with following(path, running.publisher) as running:
        await running.until_settled(b"a", b"b")


async def test_a_symbolic_link_is_followed_to_the_generations_beside_its_target(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "logs" / "0.log"
    os.mkdir(target.parent)
    append(target, b"a\n")
    os.symlink(target, path)
    async with following(path) as running:
        await running.until_settled(b"a")
    append(target, b"b\n")
    rename(target, "0.log.20260101-120000")
    append(target, b"c\n")
    async with following(path, running.publisher) as running:
        await running.until_settled(b"a", b"b", b"c")


async def test_the_checkpoint_contains_no_bytes_of_the_file(path: Path) -> None:
    append(path, b"password=secret\n")
    async with following(path) as running:
        await running.until_settled(b"password=secret")
    checkpoint = path.with_name("input.txt.checkpoint")
    assert b"secret" not in checkpoint.read_bytes()
    assert stat.S_IMODE(checkpoint.stat().st_mode) & 0o111 == 0
