"""A stderr, and a log file, that never block and never raise.

A write to stderr blocks or raises if it is a pipe that nothing reads, a full disk, or a terminal frozen by Ctrl-S.
Neither may happen in the event loop, so a thread writes the lines of a bounded queue.
"""

import atexit
import io
import math
import os
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

MAX_QUEUED_BYTES = 4 * 1024 * 1024
DRAIN_WITHIN_S = 1.0
REPORT_AFTER_S = 30.0
_STDERR = 2
_MAX_PARTIAL_LINE = 64 * 1024
_LOOK_AGAIN_AFTER_MS = 1000
_files: list["QueuedStream"] = []
"""The log files of this process."""


class QueuedStream(io.TextIOBase):
    """A text stream over a copy of `descriptor` whose `write` only queues; lines keep their order.

    A full queue drops its oldest lines. Dropped lines, and those that cannot be written, are counted, and
    `on_dropped(lines, seconds)` is called when writing works again. Any thread may write, and so may a destructor that
    runs during a write.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(
        self,
        descriptor: int,
        *,
        max_bytes: int = MAX_QUEUED_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_dropped: Callable[[int, float], None] = lambda _lines, _seconds: None
        self.dropped_lines = 0
        """Since the start."""
        self.prefix = ""
        """Written before the lines, if this is a terminal."""
        # A copy: the number may be reused for another file.
        self._descriptor = os.dup(descriptor)
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: deque[bytes] = deque()
        self._size = 0
        self._partial = ""
        self._busy = False
        self._torn = False
        self._dropped = 0
        self._dropping_since = 0.0
        self._reported_at = -math.inf
        # Reentrant: a destructor may log while this thread holds the lock.
        self._changed = threading.Condition(threading.RLock())
        threading.Thread(target=self._work, name="log-writer", daemon=True).start()

    def write(self, text: str) -> int:
        """Queue `text` up to its last newline, and keep the rest until its line is complete."""
        with self._changed:
            lines, newline, self._partial = (self._partial + text).rpartition("\n")
            if newline:
                self._put(lines + newline)
            if len(self._partial) > _MAX_PARTIAL_LINE:
                partial, self._partial = self._partial, ""
                self._put(partial)
        return len(text)

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor of the file."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether the file is a terminal."""
        return os.isatty(self._descriptor)

    def flush(self) -> None:
        """Do nothing: see `drain`."""

    def drain(self, within_s: float = DRAIN_WITHIN_S) -> bool:
        """Wait at most `within_s` seconds until everything is written; returns whether it is."""
        with self._changed:
            if self._partial:
                self.write("\n")
            return self._changed.wait_for(lambda: not (self._entries or self._busy), within_s)

    def _put(self, text: str) -> None:
        prefix = self.prefix if self.isatty() else ""
        entry = (prefix + text).encode(self.encoding, self.errors)
        self._entries.append(entry)
        self._size += len(entry)
        while self._size > self._max_bytes and len(self._entries) > 1:
            self._lose(self._entries.popleft())
        self._changed.notify_all()

    def _lose(self, entry: bytes) -> None:
        if not self._dropped:
            self._dropping_since = self._clock()
        lines = entry.count(b"\n")
        self._dropped += lines
        self.dropped_lines += lines
        self._size -= len(entry)

    def _work(self) -> None:
        # SIGTTOU stops background processes that write to a terminal, unless the writing thread blocks it.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._entries)
                self._busy = True
                entry = self._entries.popleft()
            written = self._write(entry)
            with self._changed:
                if not written:
                    self._lose(entry)
                    continue
                self._size -= len(entry)
            self._report()

    def _report(self) -> None:
        """Report dropped lines when the queue is empty, or every 30 s while the reader is too slow."""
        now = self._clock()
        with self._changed:
            if not self._dropped or (self._entries and now - self._reported_at < REPORT_AFTER_S):
                return
            dropped, self._dropped = self._dropped, 0
            self._reported_at = now
        with suppress(Exception):  # an error must not end this thread
            self.on_dropped(dropped, now - self._dropping_since)

    def _write(self, entry: bytes) -> bool:
        """Write all of `entry`, without a time limit; returns False if it cannot be written."""
        left = memoryview(b"\n" + entry if self._torn else entry)
        try:
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                    self._torn = True
                except BlockingIOError:  # another process made the file non-blocking
                    waiting = select.poll()
                    waiting.register(self._descriptor, select.POLLOUT)
                    waiting.poll(_LOOK_AGAIN_AFTER_MS)
        except OSError:
            return False
        self._torn = False
        return True


def unblock_stderr() -> None:
    """Replace this process's stderr by a QueuedStream that is drained at exit, unless it was replaced already.

    Also opens /dev/null for closed descriptors from 0 to 2: the next socket would get such a number, and printed text
    would go into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # uses the lowest free number
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open until the process ends
    if sys.stderr is sys.__stderr__:
        with suppress(OSError, RuntimeError):  # no more descriptors, no more threads
            sys.stderr = stream = QueuedStream(_STDERR)
            atexit.register(stream.drain)


def append_to(path: str) -> QueuedStream:
    """A stream that appends to a file, for which `drain` waits, too. Raises OSError."""
    # /dev/stdout opened anew has another position in a file, and cannot be opened if it is a socket or of another user.
    is_stdout = path == "/dev/stdout"
    descriptor = os.dup(1) if is_stdout else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        stream = QueuedStream(descriptor)
    finally:
        os.close(descriptor)
    _files.append(stream)
    atexit.register(stream.drain)
    return stream


def begin_lines_with(prefix: str) -> None:
    """Write `prefix` before log lines on a terminal."""
    for stream in _streams():
        stream.prefix = prefix


def drain(within_s: float = DRAIN_WITHIN_S) -> bool:
    """Wait at most `within_s` seconds until all log lines are written; returns whether they are."""
    until = time.monotonic() + within_s
    drained = [stream.drain(max(until - time.monotonic(), 0)) for stream in _streams()]
    return all(drained)


def dropped_lines() -> int:
    """The number of lines that this process has dropped."""
    return sum(stream.dropped_lines for stream in _streams())


def _streams() -> list[QueuedStream]:
    return [stream for stream in (*_files, sys.stderr) if isinstance(stream, QueuedStream)]
