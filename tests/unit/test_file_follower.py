"""The order of the generations of a file, whatever happens between two reads, or during one."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from peekaping_producer.errors import SourceError
from peekaping_producer.messages.metrics import RelayMetrics
from peekaping_producer.messages.sources import generations
from peekaping_producer.messages.sources.checkpoint import Checkpoint
from peekaping_producer.messages.sources.follower import Follower
from peekaping_producer.messages.sources.generations import Found
from peekaping_producer.messages.sources.lines import READ_BYTES, Lines, LongLine
from tests.kit.waiting import wait_until


class Reader:
    """Reads a file as its source does, one call after another."""

    def __init__(self, path: Path, rotate_wait_s: float = 0.0) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self._registry = CollectorRegistry()
        self._lost = RelayMetrics(self._registry).source_losses
        self._rotate_wait_s = rotate_wait_s
        self.start()

    def start(self, checkpoint: Checkpoint | None = None) -> None:
        self.follower = Follower(self.path, max_line_bytes=100, rotate_wait_s=self._rotate_wait_s, lost=self._lost)
        self.follower.checkpoint = checkpoint

    def restart(self) -> None:
        """As after a kill: all that was read is settled."""
        checkpoint = self.follower.generation.place
        self.follower.close()
        self.start(checkpoint)

    def read(self) -> list[bytes]:
        """Return all lines up to now."""
        while item := self.follower.read():
            assert isinstance(item, Lines)
            self.lines += item.lines
        return self.lines

    @property
    def losses(self) -> float | None:
        return self._registry.get_sample_value("peekaping_producer_source_losses_total")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def reader(path: Path) -> Iterator[Reader]:
    reader = Reader(path)
    yield reader
    reader.follower.close()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
    os.utime(path, (1, 1))  # no order can be derived from times: all files are of one tick of the clock


def free_name(path: Path) -> Path:
    """Move the older files on, as logrotate does."""
    for number in range(9, 0, -1):
        if (old := path.with_name(f"{path.name}.{number}")).exists():
            old.rename(path.with_name(f"{path.name}.{number + 1}"))
    return path.with_name(f"{path.name}.1")


def rotate(path: Path) -> Path:
    rotated = free_name(path)
    path.rename(rotated)
    path.touch()
    os.utime(path, (1, 1))
    return rotated


def copy(path: Path) -> Path:
    name = free_name(path)
    shutil.copyfile(path, name)
    os.utime(name, (1, 1))
    return name


def copy_and_truncate(path: Path) -> None:
    copy(path)
    os.truncate(path, 0)
    os.utime(path, (1, 1))


def once_before(name: str, change: Callable[[], None], **condition: bool) -> Any:
    """Patch a function of `generations`: `change` the files before its first call with these arguments."""
    original = getattr(generations, name)
    pending = [change]

    def changed(*arguments: Any, **options: Any) -> Any:
        if pending and options == condition:
            pending.pop()()
        return original(*arguments, **options)

    return patch.object(generations, name, changed)


ROTATIONS = pytest.mark.parametrize("rotate", [rotate, copy_and_truncate])


@ROTATIONS
def test_several_rotations_between_two_reads(reader: Reader, path: Path, rotate: Callable[[Path], None]) -> None:
    append(path, b"a\n")
    assert reader.read() == [b"a"]
    append(path, b"b\n")
    for line in (b"c\n", b"d\n", b"e\n"):
        rotate(path)
        append(path, line)
    assert reader.read() == [b"a", b"b", b"c", b"d", b"e"]
    assert reader.losses == 0


@ROTATIONS
@pytest.mark.parametrize("restarted", [False, True])
def test_rotations_before_the_first_line_of_a_file_was_read(
    reader: Reader, path: Path, rotate: Callable[[Path], None], restarted: bool
) -> None:
    assert reader.read() == []
    for first, second in ((b"a\n", b"b\n"), (b"c\n", b"d\n")):
        if restarted:
            reader.restart()
        append(path, first)
        rotate(path)
        append(path, second)
        rotate(path)
        reader.read()
    assert reader.lines == [b"a", b"b", b"c", b"d"]
    assert reader.losses == 0


@pytest.mark.parametrize("restarted", [False, True])
def test_rotations_after_a_truncation_without_a_copy(reader: Reader, path: Path, restarted: bool) -> None:
    append(path, b"a\n")
    rotate(path)
    append(path, b"b\n")
    reader.follower.close()
    reader = Reader(path)
    assert reader.read() == [b"b"]
    os.truncate(path, 0)
    append(path, b"c\n")
    rotate(path)
    append(path, b"d\n")
    if restarted:
        reader.restart()
    with capture_logs() as logs:
        assert reader.read() == [b"b", b"c", b"d"]
    warnings = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert warnings == ["source.generation_missing" if restarted else "source.truncated"]
    assert reader.losses == 1
    reader.follower.close()


@pytest.mark.parametrize("restarted", [False, True])
def test_a_file_that_rotation_deleted(reader: Reader, path: Path, restarted: bool) -> None:
    append(path, b"a\n")
    rotate(path)
    append(path, b"b\n")
    assert reader.read() == [b"b"]
    rotate(path)
    append(path, b"c\n")
    rotate(path)
    append(path, b"d\n")
    for number in (2, 3):
        path.with_name(f"log.{number}").unlink()
    if restarted:
        reader.restart()
    with capture_logs() as logs:
        assert reader.read() == [b"b", b"c", b"d"]
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["source.generation_missing"]
    assert reader.losses == 1


def test_a_file_that_was_read_and_is_compressed_is_no_loss(reader: Reader, path: Path) -> None:
    append(path, b"a\n")
    assert reader.read() == [b"a"]
    rotate(path).unlink()
    append(path, b"b\n")
    assert reader.read() == [b"a", b"b"]
    assert reader.losses == 0


def test_a_new_file_that_has_the_inode_of_an_older_one_is_not_older(path: Path) -> None:
    files = [
        Found(path.with_name("log.2"), inode=1, size=1, modified_ns=1, is_current=False),
        Found(path.with_name("log.1"), inode=2, size=1, modified_ns=2, is_current=False),
        Found(path, inode=1, size=1, modified_ns=3, is_current=True),
    ]
    assert generations.after(files, Checkpoint("", 9, 0, 0, "", 0, "", ((1, 1),))) == files[1:]
    assert generations.after(files, Checkpoint("", 9, 0, 0, "", 0, "", ((1, 2),))) == files


def test_the_oldest_of_the_copies_with_the_same_bytes_is_read_on(reader: Reader, path: Path) -> None:
    append(path, b"head\n")
    assert reader.read() == [b"head"]
    append(path, b"a\n")
    copy_and_truncate(path)
    append(path, b"head\nb\n")
    copy_and_truncate(path)
    append(path, b"c\n")
    assert reader.read() == [b"head", b"a", b"head", b"b", b"c"]


def test_lines_that_were_read_after_the_copy_are_not_read_in_it_again(reader: Reader, path: Path) -> None:
    append(path, b"a\n")
    assert reader.read() == [b"a"]
    copy(path)
    append(path, b"b\n")
    assert reader.read() == [b"a", b"b"]
    os.truncate(path, 0)
    assert reader.read() == [b"a", b"b"]
    append(path, b"c\n")
    with capture_logs() as logs:
        assert reader.read() == [b"a", b"b", b"c"]
    assert not [line for line in logs if line["log_level"] == "warning"]
    assert reader.losses == 0


def test_a_rotation_while_the_directory_is_read(reader: Reader, path: Path) -> None:
    append(path, b"a\n")
    assert reader.read() == [b"a"]
    rotate(path)
    append(path, b"b\n")

    def rotate_again() -> None:
        rotate(path)
        append(path, b"c\n")

    with once_before("_find", rotate_again, is_current=True):
        assert reader.read() == [b"a", b"b", b"c"]


def test_a_truncation_while_the_next_file_is_opened(reader: Reader, path: Path) -> None:
    append(path, b"a\n")
    assert reader.read() == [b"a"]
    rotate(path)
    append(path, b"b\n")
    original = Found.open

    def truncate(file: Found) -> int:
        if reader.lines == [b"a"] and not path.with_name("log.2").exists():
            copy_and_truncate(path)
            append(path, b"c\n")
        return original(file)

    with patch.object(Found, "open", truncate):
        assert reader.read() == [b"a", b"b", b"c"]


def test_a_truncation_while_the_file_of_the_checkpoint_is_opened(reader: Reader, path: Path) -> None:
    append(path, b"a\n")
    assert reader.read() == [b"a"]
    reader.restart()
    original = Checkpoint.matches

    def matches(checkpoint: Checkpoint, fd: int) -> bool:
        result = original(checkpoint, fd)
        if not path.with_name("log.1").exists():
            append(path, b"b\n")
            copy_and_truncate(path)
            append(path, b"long\n")
        return result

    with patch.object(Checkpoint, "matches", matches):
        assert reader.read() == [b"a", b"b", b"long"]


def test_a_line_that_is_written_between_the_last_read_and_the_rotation(reader: Reader, path: Path) -> None:
    append(path, b"a\n")
    assert reader.read() == [b"a"]
    original = os.pread

    def write_and_rotate(fd: int, size: int, offset: int) -> bytes:
        data = original(fd, size, offset)
        if not data and not path.with_name("log.1").exists():
            append(path, b"b\n")
            rotate(path)
            append(path, b"c\n")
        return data

    with patch.object(os, "pread", write_and_rotate):
        assert reader.read() == [b"a"]
    assert reader.read() == [b"a", b"b", b"c"]


def test_a_rotated_file_is_read_until_the_next_one_has_its_first_byte(reader: Reader, path: Path) -> None:
    append(path, b"a\n")
    assert reader.read() == [b"a"]
    rotated = rotate(path)
    assert reader.read() == [b"a"]
    append(rotated, b"b\n")
    assert reader.read() == [b"a", b"b"]
    append(rotated, b"c\n")
    append(path, b"d\n")
    assert reader.read() == [b"a", b"b", b"c", b"d"]


def test_a_rotated_file_without_a_byte_is_waited_for(path: Path) -> None:
    reader = Reader(path, rotate_wait_s=60)
    append(path, b"a\n")
    assert reader.read() == [b"a"]
    rotate(path)
    path.touch()
    rotated = rotate(path)
    os.utime(rotated)
    append(path, b"c\n")
    assert reader.read() == [b"a"]
    append(rotated, b"b\n")
    assert reader.read() == [b"a", b"b", b"c"]
    reader.follower.close()


def test_files_with_numbers_and_dates_keep_the_order_of_the_numbers_within_one_tick(reader: Reader, path: Path) -> None:
    append(path.with_name("log-20260101"), b"old\n")
    append(path, b"a\n")
    assert reader.read() == [b"a"]
    for line in (b"b\n", b"c\n", b"d\n"):
        rotate(path)
        append(path, line)
    assert reader.read() == [b"a", b"b", b"c", b"d"]


LONG = b"x" * 3 * READ_BYTES


def read_long(reader: Reader, path: Path) -> LongLine:
    append(path, LONG + b"\n")
    line = reader.follower.read()
    assert isinstance(line, LongLine)
    return line


@pytest.mark.parametrize("pieces_before", [0, 1, 2])
def test_the_bytes_of_a_long_line_are_read_in_the_copy_after_a_truncation(
    reader: Reader, path: Path, pieces_before: int
) -> None:
    pieces = reader.follower.pieces(read_long(reader, path))
    first = [next(pieces) for _ in range(pieces_before)]
    copy_and_truncate(path)
    append(path, b"a\n")
    copy_and_truncate(path)
    assert b"".join([*first, *pieces]) == LONG
    assert reader.read() == [b"a"]


def test_the_bytes_of_a_long_line_are_not_read_in_a_file_that_was_overwritten(reader: Reader, path: Path) -> None:
    line = read_long(reader, path)
    assert b"".join(reader.follower.pieces(line)) == LONG
    path.write_bytes(b"y" * 2 * len(LONG))
    assert list(reader.follower.pieces(line)) == []


WRITER = """
import sys
from pathlib import Path

path = Path(sys.argv[1])
for number in range(90):
    with path.open("ab") as file:
        file.write(b"%d\\n" % number)
    if number % 3:
        for older in range(number, 0, -1):
            if (old := path.with_name(f"log.{older}")).exists():
                old.rename(path.with_name(f"log.{older + 1}"))
        path.rename(path.with_name("log.1"))
"""


def test_a_process_that_rotates_as_fast_as_it_can(path: Path) -> None:
    reader = Reader(path)
    reader.read()
    process = subprocess.Popen([sys.executable, "-c", WRITER, path])
    try:
        wait_until(lambda: len(reader.read()) >= 90 or process.poll() not in (None, 0))
    finally:
        process.kill()
        process.wait()
    assert reader.lines == [b"%d" % number for number in range(90)]
    assert reader.losses == 0
    reader.follower.close()


def test_names_that_never_stay_are_an_error(reader: Reader, path: Path) -> None:
    append(path, b"a\n")
    assert reader.read() == [b"a"]
    rotate(path)
    append(path, b"b\n")
    with (
        patch.object(generations, "confirm", side_effect=generations.NamesChangedError),
        pytest.raises(SourceError, match="expected names that stay, got files that are renamed all the time"),
    ):
        reader.read()
    assert reader.read() == [b"a", b"b"]


@pytest.mark.parametrize("failing_read", range(1, 8))
def test_a_file_that_cannot_be_read_leaves_no_descriptor_open(reader: Reader, path: Path, failing_read: int) -> None:
    append(path, b"a\n")
    assert reader.read() == [b"a"]
    reader.restart()
    reads, pread = 0, os.pread

    def read(*arguments: Any) -> bytes:
        nonlocal reads
        reads += 1
        if reads == failing_read:
            raise OSError(errno.EIO, "Input/output error")
        return pread(*arguments)

    before = len(os.listdir("/dev/fd"))
    with patch.object(os, "pread", read), pytest.raises(SourceError, match="Input/output error"):
        reader.read()
    assert len(os.listdir("/dev/fd")) == before + reader.follower.is_open
    assert reader.read() == [b"a"]
