"""The file source: files and checkpoints that are missing, damaged or refused."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from peekaping_producer.errors import SOURCE, ConfigError
from peekaping_producer.messages import durability
from tests.kit.file_source import Running, append, following, rename
from tests.kit.publishers import MemoryPublisher
from tests.kit.waiting import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "input.txt"


def link_to_itself(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path)


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
