"""The dead letters of a source: whole records, whatever interrupts a write."""

import errno
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from peekaping_producer.errors import CheckpointError, SourceError
from peekaping_producer.messages import dead_letters, durability
from peekaping_producer.messages.dead_letters import LOG_EVERY_S, DeadLetterLog, DeadLetters, read_records

AT = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dead-letters"


def append(path: Path, *bodies: bytes) -> None:
    letters = DeadLetters(path, lambda: AT)
    for body in bodies:
        letters.append("id", "reason", len(body), [body[:2], body[2:]])
    letters.close()


def test_records_contain_any_bytes(path: Path) -> None:
    bodies = [b"", b"a\nb", b"\x00\xff\n\n", b'{"id":"x"}\n']
    append(path, *bodies)
    append(path, b"after reopening")
    assert [body for _, body in read_records(path)] == [*bodies, b"after reopening"]
    first = path.read_bytes().splitlines()[0]
    assert first == b'{"id":"id","reason":"reason","bytes":0,"at":"2026-01-31T00:00:00.000+00:00"}'


def test_a_record_that_a_kill_cut_off_is_removed(path: Path) -> None:
    append(path, b"first")
    size_of_first = len(path.read_bytes())
    append(path, b"second")
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        append(path, b"third")
        kept = [b"first"] if size >= size_of_first else []
        assert [body for _, body in read_records(path)] == [*kept, b"third"], size


def test_what_is_no_record_is_left(path: Path) -> None:
    path.write_bytes(b"a note\n")
    append(path, b"body")
    assert path.read_bytes().startswith(b"a note\n{")


def test_a_full_disk_leaves_no_part_of_a_record(path: Path) -> None:
    append(path, b"first")
    before = path.read_bytes()
    letters = DeadLetters(path)

    def write_half(fd: int, data: bytes) -> None:
        durability.write_all(fd, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        patch.object(dead_letters, "write_all", write_half),
        pytest.raises(CheckpointError, match="dead-letters cannot be written: No space left on device"),
    ):
        letters.append("id", "reason", 6, [b"second"])
    assert path.read_bytes() == before
    letters.append("id", "reason", 6, [b"second"])
    letters.close()
    assert [body for _, body in read_records(path)] == [b"first", b"second"]


def test_a_file_that_is_renamed_or_deleted_while_it_is_used_is_created_again(path: Path) -> None:
    letters = DeadLetters(path)
    letters.append("id", "reason", 5, [b"first"])
    renamed = path.rename(path.with_name("renamed"))
    letters.append("id", "reason", 6, [b"second"])
    assert [body for _, body in read_records(renamed)] == [b"first"]
    assert [body for _, body in read_records(path)] == [b"second"]
    path.unlink()
    letters.append("id", "reason", 5, [b"third"])
    assert [body for _, body in read_records(path)] == [b"third"]
    letters.close()


def test_a_file_that_was_replaced_by_a_fifo_is_an_error_until_it_is_gone(path: Path) -> None:
    letters = DeadLetters(path)
    letters.append("id", "reason", 5, [b"first"])
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="it is no regular file"):
        letters.append("id", "reason", 6, [b"second"])
    path.unlink()
    letters.append("id", "reason", 6, [b"second"])
    assert [body for _, body in read_records(path)] == [b"second"]
    letters.close()


def test_a_record_in_a_file_that_is_deleted_while_it_is_written_is_not_on_disk(path: Path) -> None:
    letters = DeadLetters(path)

    def pieces() -> Iterator[bytes]:
        path.unlink()
        yield b"body"

    with pytest.raises(CheckpointError, match="the file was deleted while it was written"):
        letters.append("id", "reason", 4, pieces())
    letters.append("id", "reason", 4, [b"body"])
    letters.close()
    assert [body for _, body in read_records(path)] == [b"body"]


def test_a_line_that_cannot_be_read_leaves_no_part_of_a_record(path: Path) -> None:
    letters = DeadLetters(path)
    letters.append("id", "reason", 5, [b"first"])
    before = path.read_bytes()

    def pieces() -> Iterator[bytes]:
        yield b"bo"
        raise SourceError("input.txt: expected a readable file, got Input/output error")

    with pytest.raises(SourceError):
        letters.append("id", "reason", 4, pieces())
    assert path.read_bytes() == before
    letters.close()


def test_two_processes_may_append_to_one_file(path: Path) -> None:
    first, second = DeadLetters(path), DeadLetters(path)
    other = threading.Thread(target=second.append, args=("id", "reason", 6, [b"second"]))

    def pieces() -> Iterator[bytes]:
        yield b"fir"
        other.start()
        other.join(0.1)  # it waits for the end of this record
        yield b"st"

    first.append("id", "reason", 5, pieces())
    other.join()
    first.append("id", "reason", 5, [b"third"])
    assert [body for _, body in read_records(path)] == [b"first", b"second", b"third"]
    first.close()
    second.close()


def test_bytes_that_were_lost_are_reported(path: Path) -> None:
    letters = DeadLetters(path)
    letters.append("id", "too long", 100, [b"only a part"])
    letters.close()
    ((header, body),) = read_records(path)
    assert (header.reason, header.bytes, body) == ("too long; the bytes were lost before they were copied", 0, b"")


def test_a_damaged_file_is_an_error_of_the_reader(path: Path) -> None:
    path.write_bytes(b'{"id":"x","reason":"y","bytes":2,"at":"z"}\nabc\n')
    with pytest.raises(ValueError, match="expected a newline after 2 bytes of x"):
        list(read_records(path))


def test_many_dead_letters_are_one_log_line_in_30_s() -> None:
    now = 1000.0
    log = DeadLetterLog(lambda: now)
    with capture_logs() as lines:
        log.flush()
        for number in range(4):
            log.add(f"id {number}", "too long", number)
        assert [(line["count"], line["id"]) for line in lines] == [(1, "id 0")]
        now += LOG_EVERY_S
        log.add("id 4", "refused", 4)
        log.add("id 5", "refused", 5)
        log.flush()
        log.flush()
    assert [line["event"] for line in lines] == ["line.dead_lettered"] * 3
    assert [(line["count"], line["id"], line["bytes"], line["reason"]) for line in lines[1:]] == [
        (4, "id 4", 4, "refused"),
        (1, "id 5", 5, "refused"),
    ]
