"""The pool's end of a connection to a worker process; it never blocks the event loop.

The process may be busy or frozen while a command is sent to it, and may wait until its reply is read: with a blocking
send, both would wait. Reading and writing are independent: replies that arrived before the process died are read,
also after a write failed (a transport of asyncio drops them).
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from multiprocessing.connection import Connection

_HEADER = struct.Struct("!i")
"""As in multiprocessing.connection.Connection._send_bytes: the length, then the bytes."""
MAX_FRAME_BYTES = 0x7FFFFFFF
_READ_BYTES = 1 << 18


class Channel:
    """Sends and receives frames of multiprocessing.Connection on the event loop."""

    def __init__(
        self, connection: Connection, on_frames: Callable[[list[bytes]], None], on_end: Callable[[], object]
    ) -> None:
        """`on_frames` receives all frames that have arrived; `on_end` is called when the other end is closed."""
        self._connection = connection
        self._on_frames = on_frames
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._fd = connection.fileno()
        self._unsent = bytearray()
        self._unread = bytearray()
        self._is_scheduled = False
        os.set_blocking(self._fd, False)
        self._loop.add_reader(self._fd, self._read)

    def send(self, payload: bytes) -> None:
        """Send a frame; at once, or together with others of this turn of the event loop."""
        self._unsent += _HEADER.pack(len(payload))
        self._unsent += payload
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._write)

    def drain(self) -> None:
        """Read all that the process sent before it died."""
        while not self._connection.closed and self._read():
            pass  # _read takes one piece at a time

    def _read(self) -> bool:
        """Read once; return whether there may be more."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # the connection was reset
            data = b""
        if not data:
            self._loop.remove_reader(self._fd)
            self._on_end()
            return False
        self._unread += data
        if frames := self._frames():
            self._on_frames(frames)
        return True

    def finish(self) -> None:
        """Send the end of the stream; what the process still sends is read."""
        if not self._connection.closed:
            with socket.socket(fileno=os.dup(self._fd)) as end, contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection; the process reads the end of the stream."""
        if not self._connection.closed:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._connection.close()

    def _write(self) -> None:
        if self._connection.closed:
            return
        try:
            sent = os.write(self._fd, self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:  # the process died: its end is noticed elsewhere, and its commands are sent to another
            sent = len(self._unsent)
        del self._unsent[:sent]
        self._is_scheduled = bool(self._unsent)
        if self._is_scheduled:
            self._loop.add_writer(self._fd, self._write)
        else:
            self._loop.remove_writer(self._fd)

    def _frames(self) -> list[bytes]:
        """Remove the complete frames from what was read."""
        frames, start, data = [], 0, self._unread
        while len(data) - start >= _HEADER.size:
            (size,) = _HEADER.unpack_from(data, start)
            end = start + _HEADER.size + size
            if end > len(data):
                break
            frames.append(bytes(data[start + _HEADER.size : end]))
            start = end
        del data[:start]
        return frames
