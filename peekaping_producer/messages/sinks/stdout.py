"""The sink that writes each message to the standard output, as a line."""

import asyncio
import os
import select
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from peekaping_producer.errors import OutputClosedError, OutputUnavailableError
from peekaping_producer.transports.receiver import Delivery

_POLL_MS = 100
_MAX_WRITE_BYTES = 4096
"""A pipe that is ready accepts so many without blocking (PIPE_BUF)."""


class StdoutSink:
    """Work of a consumer: each body becomes a line, and is written before its message is acknowledged.

    If the reader is slow, the consumer waits. If it has gone, the consumer ends.
    """

    concurrency = 1
    slow = None  # the reader of a pipe may pause

    def __init__(self, *, fd: int = 1, batch_size: int = 500) -> None:
        self.batch_size = batch_size
        self._fd = fd
        self._interrupted = threading.Event()
        self._batch: Sequence[Delivery] = ()
        """That of the last call."""
        self._text = b""
        self._written = 0
        """How much of the text."""

    async def open(self) -> None:
        """See Work."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="stdout-sink")

    async def run(self, deliveries: Sequence[Delivery]) -> None:
        """See Work. Raises OutputClosedError once no process reads the output."""
        if deliveries is not self._batch:
            self._text = self._begun_line() + b"".join(delivery.message.body + b"\n" for delivery in deliveries)
            self._batch, self._written = deliveries, 0
        self._interrupted.clear()
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._write)
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            self._interrupted.set()
            await asyncio.wait({future})
            if future.exception() or self._written < len(self._text):
                raise

    async def close(self) -> None:
        """See Work."""
        self._interrupted.set()
        # The thread ends within a poll. Later it could write to another file that has got the same descriptor.
        await asyncio.to_thread(self._executor.shutdown)

    def _begun_line(self) -> bytes:
        """The rest of a line that an interrupted call has written in part."""
        rest = self._text[self._written :]
        is_begun = self._written > 0 and not self._text[: self._written].endswith(b"\n")
        return rest[: rest.find(b"\n") + 1] if is_begun else b""

    def _write(self) -> None:
        """Write the rest of the text, or until the call is canceled. Never blocks longer than a poll."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        try:
            while self._written < len(self._text) and not self._interrupted.is_set():
                if poll.poll(_POLL_MS):
                    self._written += self._write_some()
        except BrokenPipeError as error:
            raise OutputClosedError("stdout: no process reads it") from error
        except OSError as error:
            raise OutputUnavailableError(f"stdout cannot be written: {error.strerror}") from error

    def _write_some(self) -> int:
        try:
            return os.write(self._fd, self._text[self._written : self._written + _MAX_WRITE_BYTES])
        except BlockingIOError:
            return 0
