"""The order of the generations of a file, whatever happens between two reads."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from peekaping_producer.messages.sources import generations
from peekaping_producer.messages.sources.checkpoint import Checkpoint
from peekaping_producer.messages.sources.generations import Found
from peekaping_producer.messages.sources.lines import READ_BYTES, LongLine
from tests.kit.rotations import Reader, append, copy, copy_and_truncate, rotate


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
