"""Reads the complete new lines of one generation of a file, as bytes and in bounded memory."""

import os
from collections.abc import Sequence

import msgspec

from peekaping_producer.messages.sources.checkpoint import HEAD_BYTES, TAIL_BYTES, Checkpoint, digest

READ_BYTES = 128 * 1024


class Lines(msgspec.Struct, frozen=True):
    """Consecutive lines, without their newlines."""

    start: int
    """The offset of the first."""
    lines: Sequence[bytes]
    tail: bytes
    """The bytes before `start`: TAIL_BYTES, or all if there are fewer."""
    unterminated: bool = False
    """The generation has ended without a newline: `lines` is its last one alone."""

    @property
    def end(self) -> int:
        """The offset after the last newline."""
        return self.start + sum(map(len, self.lines)) + (0 if self.unterminated else len(self.lines))

    @property
    def end_tail(self) -> bytes:
        """The bytes before `end`."""
        return (self.tail + self.lines[-1])[-TAIL_BYTES:] if self.unterminated else tail_after(self.tail, self.lines)

    def split(self, count: int) -> "tuple[Lines, Lines]":
        """Return the first `count` lines and the others."""
        first = Lines(self.start, self.lines[:count], self.tail)
        return first, Lines(first.end, self.lines[count:], first.end_tail)


class LongLine(msgspec.Struct, frozen=True):
    """A line that is too long; its bytes are in the file only."""

    start: int
    size: int
    """Without the newline."""
    end: int
    """The offset after it, and after its newline if it has one."""


def tail_after(tail: bytes, lines: Sequence[bytes]) -> bytes:
    """Return the last TAIL_BYTES of `tail` and `lines`."""
    last = b""
    for line in reversed(lines):
        last = line + b"\n" + last
        if len(last) >= TAIL_BYTES:
            break
    return (tail + last)[-TAIL_BYTES:]


class Generation:
    """One generation: an open file, and the place in it up to which lines were returned."""

    def __init__(
        self,
        generation: str,
        fd: int,
        offset: int = 0,
        *,
        older: tuple[tuple[int, int], ...] = (),
        max_line_bytes: int,
    ) -> None:
        """`offset`: the begin of the first line to return. `older`: see Checkpoint. The object owns `fd`.

        Raises OSError, and closes `fd` then.
        """
        self.id = generation
        self.offset = offset
        self.older = older
        self.is_intact = True
        """False once the file does not contain what was read from it: it was truncated, or written over."""
        self.is_copied = False
        """After a truncation: whether a copy from before it shows that no unread line is known to be lost."""
        self._max_line_bytes = max_line_bytes
        self._partial = b""
        """The bytes from `offset` to the end of what was read: a line without its end."""
        self._long = 0
        """If that line is too long to be kept: its size so far."""
        try:
            self._head = os.pread(fd, HEAD_BYTES, 0)
            self._tail = os.pread(fd, min(TAIL_BYTES, offset), max(offset - TAIL_BYTES, 0))
            """The bytes before `offset`."""
            self._use(fd)
        except OSError:  # the file cannot be read; the caller tries again, perhaps for days
            os.close(fd)
            raise
        self._read_tail = self._tail
        """The bytes before the end of what was read."""

    def _use(self, fd: int) -> None:
        self._fd = fd
        stat = os.fstat(fd)
        self.inode, self.modified_ns, self.size = stat.st_ino, stat.st_mtime_ns, stat.st_size

    def continue_in(self, fd: int) -> None:
        """Read on in a copy of the file. The object owns `fd`."""
        os.close(self._fd)
        self._use(fd)
        self.is_intact = True

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    @property
    def is_empty(self) -> bool:
        """Whether the file had no byte yet: then nothing identifies it."""
        return not self._head

    @property
    def is_deleted(self) -> bool:
        """Whether the file has no name left."""
        return os.fstat(self._fd).st_nlink == 0

    def includes(self, fd: int) -> bool:
        """Whether an open file is a copy of the first part of what was read."""
        return os.fstat(fd).st_size < self._read_to and self._head.startswith(os.pread(fd, len(self._head), 0))

    def read(self) -> Lines | LongLine | None:
        """Return the next complete lines; None at the end of the file, or if it is not intact. Raises OSError."""
        while True:
            data = os.pread(self._fd, READ_BYTES, self._read_to)
            # Compared after the read, so that the result holds for what was read.
            if not self._verify() or not data:
                return None
            if len(self._head) < HEAD_BYTES:
                self._head = max(self._head, (self._head[: self._read_to] + data)[:HEAD_BYTES], key=len)
            item = self._continue_long(data) if self._long else self._split(data)
            if item:
                return item

    def take_remainder(self) -> Lines | LongLine | None:
        """Return the last line of a generation that has ended without a newline."""
        start, self.offset = self.offset, self._read_to
        tail, self._tail = self._tail, self._read_tail
        partial, self._partial = self._partial, b""
        long, self._long = self._long, 0
        if long:
            return LongLine(start, long, self.offset)
        return Lines(start, [partial], tail, unterminated=True) if partial else None

    def read_at(self, start: int, size: int) -> bytes | None:
        """Return bytes that were read before; None if the file is not intact."""
        data = os.pread(self._fd, size, start)
        return data if self._verify() else None

    def checkpoint(self, offset: int, tail: bytes) -> Checkpoint:
        """The place `offset`, which has the bytes `tail` before it."""
        return Checkpoint(
            generation=self.id,
            inode=self.inode,
            offset=offset,
            head_bytes=len(self._head),
            head=digest(self._head),
            tail_bytes=len(tail),
            tail=digest(tail),
            older=self.older,
        )

    @property
    def place(self) -> Checkpoint:
        """The place up to which lines were returned."""
        return self.checkpoint(self.offset, self._tail)

    @property
    def read_place(self) -> Checkpoint:
        """The place up to which the file was read, a partial line included."""
        return self.checkpoint(self._read_to, self._read_tail)

    @property
    def _read_to(self) -> int:
        return self.offset + (self._long or len(self._partial))

    def _verify(self) -> bool:
        """Whether the file still contains what was read from it. Once it does not, this generation has left it."""
        before = self._read_to - len(self._read_tail)
        self.is_intact = (
            self.is_intact
            and os.pread(self._fd, len(self._head), 0) == self._head
            and os.pread(self._fd, len(self._read_tail), before) == self._read_tail
        )
        if self.is_intact:
            stat = os.fstat(self._fd)
            self.modified_ns, self.size = stat.st_mtime_ns, stat.st_size
        return self.is_intact

    def _split(self, data: bytes) -> Lines | LongLine | None:
        buffer = self._partial + data
        lines = buffer.split(b"\n")
        partial = lines.pop()
        if len(buffer) > self._max_line_bytes:
            index = next((i for i, line in enumerate(lines) if len(line) > self._max_line_bytes), None)
            if index == 0:
                return self._pass_long(len(lines[0]), self._tail + lines[0])
            if index is not None:
                lines, partial = lines[:index], b""  # the rest is read again
        start, tail = self.offset, self._tail
        self.offset += sum(map(len, lines)) + len(lines)
        self._tail = tail_after(tail, lines)
        self._read_tail = (self._tail + partial)[-TAIL_BYTES:]
        self._long = len(partial) if len(partial) > self._max_line_bytes else 0
        self._partial = b"" if self._long else partial
        return Lines(start, lines, tail) if lines else None

    def _continue_long(self, data: bytes) -> LongLine | None:
        newline = data.find(b"\n")
        if newline >= 0:
            return self._pass_long(self._long + newline, self._read_tail + data[:newline])
        self._long += len(data)
        self._read_tail = (self._read_tail + data)[-TAIL_BYTES:]
        return None

    def _pass_long(self, size: int, before_newline: bytes) -> LongLine:
        line = LongLine(self.offset, size, self.offset + size + 1)
        self.offset = line.end
        self._tail = self._read_tail = (before_newline + b"\n")[-TAIL_BYTES:]
        self._partial, self._long = b"", 0
        return line
