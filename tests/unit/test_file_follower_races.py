"""The order of the generations of a file that changes, or fails, during a read."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from peekaping_producer.errors import SourceError
from peekaping_producer.messages.sources import generations
from peekaping_producer.messages.sources.checkpoint import Checkpoint
from peekaping_producer.messages.sources.generations import Found
from tests.kit.rotations import Reader, append, copy_and_truncate, rotate
from tests.kit.waiting import wait_until


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


def once_before(name: str, change: Callable[[], None], **condition: bool) -> Any:
    """Patch a function of `generations`: `change` the files before its first call with these arguments."""
    original = getattr(generations, name)
    pending = [change]

    def changed(*arguments: Any, **options: Any) -> Any:
        if pending and options == condition:
            pending.pop()()
        return original(*arguments, **options)

    return patch.object(generations, name, changed)


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
