"""The journal of a sink: how long the output is, and the ids of the messages in it."""

import os
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from peekaping_producer.errors import ConfigError
from peekaping_producer.messages.durability import sync_data, sync_directory, write_all

log = structlog.stdlib.get_logger()


class Record(msgspec.Struct, frozen=True):
    """The output after one batch."""

    length: int
    checksum: int
    """Of the bytes before `length`, see OutputFile."""
    ids: list[str]
    """Of the messages of the batch."""


class Journal:
    """Records, one a line, each with a checksum. A record is on disk when a call returns.

    Methods raise OSError; what a failed call has written is cut off before the next one.
    """

    def __init__(self, path: Path, kept_ids: int) -> None:
        """`kept_ids`: how many ids are remembered, at least 1. The file contains twice as many at most."""
        self.last: Record | None = None
        self._path = path
        self._new = path.with_name(f"{path.name}.new")
        self._kept_ids = kept_ids
        self._fd = -1
        self._length = 0
        self._torn = False
        self._directory_synced = False
        self._order: deque[str] = deque()
        self._known: set[str] = set()
        self._written = 0
        """Ids in the file."""
        self._compact_at = 2 * kept_ids

    def __contains__(self, message_id: str) -> bool:
        """Whether a message is in the output."""
        return _key(message_id) in self._known

    def open(self) -> None:
        """Read the records; cut off one that is not whole at the end. Raises ConfigError if others are damaged."""
        self._new.unlink(missing_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        damaged_at: int | None = None
        offset = 0
        for line, record in _records(self._path):
            if record is None:
                damaged_at = offset if damaged_at is None else damaged_at
            elif damaged_at is not None:
                raise ConfigError(
                    [
                        f"journal: expected whole records in {self._path}, got a damaged one at byte {damaged_at}; "
                        "restore it, or delete it to append to the output; repeated messages are then written twice"
                    ]
                )
            else:
                self.last = record
                self._remember(record.ids)
                self._written += len(record.ids)
            offset += line
        self._length = offset if damaged_at is None else damaged_at
        self._torn = damaged_at is not None
        self.cut_back()

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def append(self, length: int, checksum: int, ids: Iterable[str]) -> None:
        """Add a record."""
        self.cut_back()
        if not self._directory_synced:
            sync_directory(self._path.parent)
            self._directory_synced = True
        record = Record(length, checksum, [_key(message_id) for message_id in ids])
        data = _encode(record)
        self._torn = True
        write_all(self._fd, data)
        sync_data(self._fd)
        self._torn = False
        self._length += len(data)
        self.last = record
        self._remember(record.ids)
        self._written += len(record.ids)
        if self._written >= self._compact_at or not self._path.exists():
            self._compact(record)

    def cut_back(self) -> None:
        """Remove what a failed call has written."""
        if self._torn:
            os.ftruncate(self._fd, self._length)
            os.fsync(self._fd)  # before the output is cut: it may never be shorter than the journal requires
            self._torn = False

    def _remember(self, ids: Iterable[str]) -> None:
        for key in ids:
            if len(self._order) >= self._kept_ids:
                self._known.discard(self._order.popleft())
            self._order.append(key)
            self._known.add(key)

    def _compact(self, last: Record) -> None:
        """Replace the file by one record with the ids that are remembered. If that fails, the file grows."""
        data = _encode(Record(last.length, last.checksum, list(self._order)))
        fd = -1
        try:
            fd = os.open(self._new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
            write_all(fd, data)
            os.fsync(fd)
            self._new.replace(self._path)
        except OSError as error:
            self._compact_at = self._written + self._kept_ids
            log.warning(
                "journal.uncompacted",
                message="The journal of the output cannot be compacted and grows; compaction is retried.",
                error=error.strerror,
            )
            if fd >= 0:
                os.close(fd)
            with suppress(OSError):
                self._new.unlink(missing_ok=True)
            return
        os.close(self._fd)
        self._fd, self._length, self._written = fd, len(data), len(self._order)
        self._compact_at = 2 * self._kept_ids
        self._directory_synced = False
        with suppress(OSError):  # tried again before the next record
            sync_directory(self._path.parent)
            self._directory_synced = True


def _key(message_id: str) -> str:
    """The id as text that JSON can contain: some transports have ids that are not UTF-8."""
    return message_id if message_id.isascii() else message_id.encode(errors="backslashreplace").decode()


def _encode(record: Record) -> bytes:
    text = msgspec.json.encode(record)
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _records(path: Path) -> Iterator[tuple[int, Record | None]]:
    """Yield the size of each line, and its record if it is whole."""
    with path.open("rb") as file:
        for line in file:
            text = line[9:-1]
            if line.endswith(b"\n") and line[:9] == b"%08x " % zlib.crc32(text):
                try:
                    yield len(line), msgspec.json.decode(text, type=Record)
                    continue
                except msgspec.MsgspecError:
                    pass  # the checksum is right, and the form is not: no record
            yield len(line), None
