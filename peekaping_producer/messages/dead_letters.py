"""The messages of a source that can never be published, in a file beside it.

A record is one line of JSON, {"id", "reason", "bytes", "at"}, then the bytes of the message, then a newline.
"""

import fcntl
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from peekaping_producer.errors import CheckpointError, SourceError
from peekaping_producer.messages.durability import check_not_deleted, is_named, open_to_append, write_all

log = structlog.stdlib.get_logger()

LOG_EVERY_S = 30.0
"""A file of which every line is refused must not fill the log."""
_MAX_HEADER_BYTES = 64 * 1024


class Header(msgspec.Struct, frozen=True):
    """The first line of a record."""

    id: str
    reason: str
    bytes: int
    """The size of the message that follows."""
    at: str
    """When it was written, in ISO 8601, UTC."""


class DeadLetters:
    """Appends records; each is on disk, or not in the file, when a call returns or raises an error.

    The file may be renamed or deleted at any time: a new one is created. Several processes may append to one file.
    """

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._now = now
        self._fd = -1
        self._end = -1
        """The size of the file after the last record of this object."""

    def append(self, message_id: str, reason: str, size: int, pieces: Iterable[bytes]) -> None:
        """Append a record with a body of `size` bytes. If `pieces` are shorter, the body has been lost: it is empty.

        Raises CheckpointError, and the SourceError of `pieces`.
        """
        try:
            if self._fd < 0 or not is_named(self._fd, self._path):
                self.close()
                self._open()
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                self._append(message_id, reason, size, pieces)
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError as error:
            raise CheckpointError(f"{self._path} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._fd = open_to_append(self._path, 0o640)
        self._end = -1

    def _append(self, message_id: str, reason: str, size: int, pieces: Iterable[bytes]) -> None:
        end = os.fstat(self._fd).st_size
        if end != self._end:  # another process may have written, and a kill may have left a part of a record
            end = _end_of_whole_records(self._path)
            os.ftruncate(self._fd, end)
        try:
            if not self._write(message_id, reason, size, pieces):
                os.ftruncate(self._fd, end)
                self._write(message_id, f"{reason}; the bytes were lost before they were copied", 0, ())
            os.fsync(self._fd)
            check_not_deleted(self._fd)
        except (OSError, SourceError):
            os.ftruncate(self._fd, end)
            raise
        self._end = os.fstat(self._fd).st_size

    def _write(self, message_id: str, reason: str, size: int, pieces: Iterable[bytes]) -> bool:
        header = Header(message_id, reason, size, self._now().isoformat(timespec="milliseconds"))
        write_all(self._fd, msgspec.json.encode(header) + b"\n")
        for piece in pieces:
            write_all(self._fd, piece)
            size -= len(piece)
        write_all(self._fd, b"\n")
        return size == 0


class DeadLetterLog:
    """Logs what went to the dead letters: the first at once, then every LOG_EVERY_S how many there were."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._logged_at = -math.inf
        self._unlogged = 0
        self._last: dict[str, str | int] = {}

    def add(self, message_id: str, reason: str, size: int) -> None:
        """A message is in the dead letters."""
        self._unlogged += 1
        self._last = {"id": message_id, "bytes": size, "reason": reason}
        if self._monotonic() - self._logged_at >= LOG_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Log those that are not logged yet."""
        if not self._unlogged:
            return
        log.warning(
            "line.dead_lettered",
            message="Lines that can never be published are in the dead letters; the others are published.",
            count=self._unlogged,
            **self._last,
        )
        self._logged_at = self._monotonic()
        self._unlogged = 0


def read_records(path: Path) -> Iterator[tuple[Header, bytes]]:
    """Yield the whole records of a file; the last may still be being written.

    Raises OSError, or ValueError where the file is damaged.
    """
    with path.open("rb") as file:
        while (line := file.readline()).endswith(b"\n"):
            header = msgspec.json.decode(line, type=Header)
            body = file.read(header.bytes)
            end = file.read(1)
            if end == b"\n":
                yield header, body
            elif end:
                raise ValueError(f"{path}: expected a newline after {header.bytes} bytes of {header.id}")


def _end_of_whole_records(path: Path) -> int:
    """Where a new record can begin: the end of the file, or the begin of the part of a record that ends it."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        end = 0
        while line := file.readline(_MAX_HEADER_BYTES):
            try:
                end_of_body = file.tell() + msgspec.json.decode(line, type=Header).bytes
            except msgspec.MsgspecError:
                return size if line.endswith(b"\n") else end  # not a record of ours: leave it
            if end_of_body >= size:
                return end
            end = file.seek(end_of_body + 1)
    return end
