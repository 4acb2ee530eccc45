"""The file that a sink appends to."""

import os
import zlib
from pathlib import Path

from peekaping_producer.messages.durability import check_not_deleted, is_named, open_to_append, sync_data, write_all

_COPY_BYTES = 1024 * 1024
TAIL_BYTES = 64
"""So many bytes before the end identify the content."""


class OutputFile:
    """Appends whole lines. Methods raise OSError."""

    def __init__(self, path: Path) -> None:
        self.length = 0
        """All bytes before it are whole lines."""
        self._path = path
        self._fd = -1
        self._tail = b""
        """The last bytes before `length`."""

    def open(self) -> None:
        """Open the file, or create it; continue at its end. Raises OSError also if it is no regular file."""
        fd = open_to_append(self._path, 0o644)
        self.close()
        self._fd = fd
        self.adopt()

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def checksum(self) -> int:
        """Of the last bytes before `length`."""
        return zlib.crc32(self._tail)

    def checksum_at(self, length: int) -> int:
        """The checksum that the file had when it was so long."""
        return zlib.crc32(self._read_tail(length))

    def append(self, data: bytes) -> None:
        """Append lines; they are on disk when this returns. A last line without a newline is ended before them.

        After an error, `cut` what may have been written.
        """
        if self._tail and not self._tail.endswith(b"\n"):
            data = b"\n" + data
        write_all(self._fd, data)
        sync_data(self._fd)
        check_not_deleted(self._fd)
        self.length += len(data)
        self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]
        if os.fstat(self._fd).st_size < self.length:
            self.adopt()  # truncated while it was written: the journal must describe what is there

    def keep(self, length: int, path: Path) -> None:
        """Append all after `length` to another file."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            while data := os.pread(self._fd, _COPY_BYTES, length):
                write_all(fd, data)
                length += len(data)
            os.fsync(fd)
        finally:
            os.close(fd)

    def cut(self, length: int) -> None:
        """Remove all after `length`."""
        if os.fstat(self._fd).st_size > length:
            os.ftruncate(self._fd, length)
        self._end_at(length)

    def change(self) -> str:
        """What another program did to the file: `replaced`, `truncated`, `appended`, or nothing."""
        if not is_named(self._fd, self._path):
            return "replaced"
        size = os.fstat(self._fd).st_size
        if size < self.length:
            return "truncated"
        return "appended" if size > self.length else ""

    def adopt(self) -> None:
        """Continue at the end of the file as it is now."""
        self._end_at(os.fstat(self._fd).st_size)

    def _end_at(self, length: int) -> None:
        self.length = length
        self._tail = self._read_tail(length)

    def _read_tail(self, length: int) -> bytes:
        start = max(length - TAIL_BYTES, 0)
        return os.pread(self._fd, length - start, start)
