"""The file source: lines as they are, its files, and what it refuses."""

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from peekaping_producer.errors import SOURCE, BrokerUnavailableError, ConfigError
from peekaping_producer.messages import durability
from peekaping_producer.messages.dead_letters import read_records
from peekaping_producer.messages.metrics import RelayMetrics
from peekaping_producer.messages.relay import Relay
from peekaping_producer.messages.sources import watcher
from peekaping_producer.messages.sources.file import FileSource
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from tests.kit.publishers import MemoryPublisher
from tests.kit.waiting import until


class Running:
    def __init__(self, path: Path, publisher: MemoryPublisher, options: dict[str, Any]) -> None:
        self.dependencies = Dependencies(Metrics())
        relay_options = {name: options.pop(name) for name in ("max_messages", "max_bytes") if name in options}
        self.registry = CollectorRegistry()
        metrics = RelayMetrics(self.registry)
        self.relay = Relay(publisher, self.dependencies, metrics=metrics, **relay_options)
        options = {"rotate_wait_s": 0.0, **options}
        self.source = FileSource(path, self.relay, self.dependencies, metrics=metrics, **options)
        self.publisher = publisher

    async def until_settled(self, *bodies: bytes) -> None:
        await until(lambda: self.publisher.bodies == list(bodies) and self.is_settled, f"{bodies}")

    @property
    def is_settled(self) -> bool:
        return self.source.lag_bytes == 0 and not self.relay.progress().buffered

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"peekaping_producer_{name}")


@asynccontextmanager
async def following(path: Path, publisher: MemoryPublisher | None = None, **options: Any) -> AsyncIterator[Running]:
    running = Running(path, publisher or MemoryPublisher(), options)
    relay, source = asyncio.create_task(running.relay.run()), asyncio.create_task(running.source.run())
    try:
        yield running
        assert not source.done(), source
    finally:
        await cancel_and_wait(relay, source)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "input.txt"


def rename(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def link_to_itself(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path)


def size(path: Path) -> int:
    return path.stat().st_size


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


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


async def test_a_missing_file_is_reported_and_read_when_it_exists(path: Path) -> None:
    with capture_logs() as lines:
        async with following(path) as running:
            await until(lambda: "source" in running.dependencies.troubles)
            assert "expected a file, got none" in running.dependencies.troubles["source"].reason
            append(path, b"a\n")
            await running.until_settled(b"a")
            assert not running.dependencies.troubles
    events = [line["event"] for line in lines]
    assert events.count("dependency.failing") == 1
    assert events.count("dependency.recovered") == 1


@pytest.mark.parametrize(("make", "kind"), [(Path.mkdir, "a directory"), (os.mkfifo, "a FIFO")])
@pytest.mark.parametrize(("suffix", "name"), [("", "file"), (".dead-letters", "dead letters")])
async def test_what_is_no_regular_file_is_a_clear_error(
    path: Path, suffix: str, name: str, make: Callable[[Path], None], kind: str
) -> None:
    bad = path.with_name(path.name + suffix)
    make(bad)
    with pytest.raises(ConfigError) as error:
        await Running(path, MemoryPublisher(), {}).source.run()
    assert str(error.value) == f"{name}: expected a regular file, got {bad}, {kind}"


async def test_a_file_without_permission_is_a_clear_error(path: Path) -> None:
    append(path, b"a\n")
    refused = PermissionError(errno.EACCES, "Permission denied")  # root is refused nothing
    with (
        patch.object(os, "open", side_effect=refused),
        pytest.raises(ConfigError, match=r"expected a readable file, got .*/input\.txt: Permission denied"),
    ):
        await Running(path, MemoryPublisher(), {}).source.run()


async def test_a_second_relay_on_the_file_is_a_clear_error(path: Path) -> None:
    append(path, b"a\n")
    async with following(path) as running:
        await running.until_settled(b"a")
        with pytest.raises(ConfigError, match=r"expected no other process on .*input\.txt\.checkpoint"):
            await Running(path, MemoryPublisher(), {}).source.run()
    async with following(path):
        pass


async def test_a_directory_for_the_checkpoint_that_does_not_exist_is_a_clear_error(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"checkpoint: expected a writable directory for .*\.lock, got: "):
        await Running(path, MemoryPublisher(), {"checkpoint": path / "missing" / "checkpoint"}).source.run()


@pytest.mark.parametrize("damage", [b"", b"\0" * 200, b"{}\n", b'{"generation":"x"}\n' + b"0" * 32 + b"\n"])
async def test_a_damaged_checkpoint_is_replaced_by_the_copy_before_it(path: Path, damage: bytes) -> None:
    publisher = MemoryPublisher()
    append(path, b"a\n")
    async with following(path, publisher) as running:
        await running.until_settled(b"a")
        append(path, b"b\n")
        await running.until_settled(b"a", b"b")
    checkpoint = path.with_name("input.txt.checkpoint")
    checkpoint.write_bytes(damage)
    append(path, b"c\n")
    with capture_logs() as lines:
        async with following(path, publisher) as running:
            await running.until_settled(b"a", b"b", b"b", b"c")
    assert "checkpoint.damaged" in [line["event"] for line in lines]
    assert publisher.messages[1].id == publisher.messages[2].id
    checkpoint.write_bytes(damage)  # once more: the damaged copy has not replaced the good one
    async with following(path, publisher) as running:
        await running.until_settled(b"a", b"b", b"b", b"c", b"b", b"c")
    checkpoint.write_bytes(damage)
    checkpoint.with_name("input.txt.checkpoint.previous").write_bytes(damage)
    with pytest.raises(ConfigError, match="restore it, or delete all copies"):
        await Running(path, publisher, {}).source.run()


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


async def test_a_full_disk_stops_reading_loses_nothing_and_goes_on(path: Path) -> None:
    append(path, b"".join(b"%d\n" % number for number in range(100)))
    original = durability.write_all
    full = False

    def write(fd: int, data: bytes) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(fd, data)

    with patch.object(durability, "write_all", write), capture_logs() as lines:
        async with following(path, max_unsettled=10, batch_lines=5) as running:
            await until(lambda: running.source._checkpointer.settled is not None)
            full = True
            append(path, b"".join(b"%d\n" % number for number in range(100, 200)))
            await until(lambda: "checkpoint" in running.dependencies.troubles)
            settled = running.source._checkpointer.settled
            assert settled is not None
            await until(lambda: not running.relay.progress().buffered)
            passed = b"".join(body + b"\n" for body in running.publisher.bodies)
            assert passed[settled.offset :].count(b"\n") <= 10
            assert (running.metric("source_checkpoint_failures_total") or 0) > 0
            full = False
            await running.until_settled(*(b"%d" % number for number in range(200)))
    assert [line["event"] for line in lines if "dependency" in line].count("dependency.failing") == 1


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


async def test_links_in_a_circle_are_a_clear_error_at_start_and_while_running(path: Path) -> None:
    link_to_itself(path)
    with pytest.raises(ConfigError, match=r"expected a readable file, got .*input\.txt: Too many levels of symbolic"):
        async with following(path) as running:
            await running.source.run()
    rename(path, "elsewhere")
    append(path, b"one\n")
    async with following(path) as running:
        await running.until_settled(b"one")
        link_to_itself(path)
        await until(lambda: SOURCE in running.dependencies.troubles)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
async def test_what_replaces_the_file_and_is_no_file_is_reported(path: Path, make: Callable[[Path], None]) -> None:
    append(path, b"one\n")
    async with following(path) as running:
        await running.until_settled(b"one")
        rename(path, "input.txt.1")
        make(path)
        await until(lambda: SOURCE in running.dependencies.troubles)
        assert "expected a regular file, got a " in running.dependencies.troubles[SOURCE].reason
        rename(path, "elsewhere")
        append(path, b"two\n")
        await running.until_settled(b"one", b"two")
        await until(lambda: not running.dependencies.troubles)
