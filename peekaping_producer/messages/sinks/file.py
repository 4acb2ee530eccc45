"""The sink that appends each message to a file, as a line."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import structlog

from peekaping_producer.errors import ConfigError, OutputUnavailableError
from peekaping_producer.messages.lock_file import LockFile
from peekaping_producer.messages.sinks.journal import Journal
from peekaping_producer.messages.sinks.output import OutputFile
from peekaping_producer.service.dependencies import SLOW_AFTER_S
from peekaping_producer.transports.receiver import Delivery

log = structlog.stdlib.get_logger()

KEPT_IDS = 100_000


class FileSink:
    """Work of a consumer: each body becomes a line, and is on disk before its message is acknowledged.

    With `dedup`, `<path>.journal` contains the length of the output and the ids of its last messages: after a kill the
    output is cut back to whole batches, and a message whose id is known is not written again. Only this object may
    write to the file.
    """

    concurrency = 1

    def __init__(self, path: Path, *, dedup: bool = False, batch_size: int = 500, kept_ids: int = KEPT_IDS) -> None:
        """`kept_ids`: how many ids are remembered; more than messages can be delivered again."""
        self.batch_size = batch_size
        self._path = path
        self._lock = LockFile(path, "output")
        self._output = OutputFile(path)
        self._journal = Journal(path.with_name(f"{path.name}.journal"), kept_ids) if dedup else None
        self._executor: ThreadPoolExecutor | None = None
        self._committed: int | None = None
        """While a batch is written: the length of the output without it."""

    async def open(self) -> None:
        """See Work. Raises ConfigError if the file cannot be used, or is not as the journal requires."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="file-sink")
        try:
            await self._call(self._open)
        except BaseException:  # also if it is canceled: the lock is released
            await self.close()
            raise

    async def run(self, deliveries: Sequence[Delivery]) -> None:
        """See Work. A write that has begun is not interrupted: if it succeeds, so does a call that was canceled."""
        await self._call(self._write, deliveries)

    def slow(self, for_s: float) -> OutputUnavailableError | None:
        """See Work: a hung disk or network file system."""
        return OutputUnavailableError(f"{self._path}: no write for {for_s:.0f} s") if for_s >= SLOW_AFTER_S else None

    async def close(self) -> None:
        """See Work."""
        if self._executor:
            await self._call(self._close)
            self._executor.shutdown(wait=False)
            self._executor = None

    async def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """Run a blocking call in the thread of this sink, to its end."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        canceled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait({future})
            except asyncio.CancelledError as error:
                canceled = error
        if canceled and future.exception():
            raise canceled
        future.result()

    def _open(self) -> None:
        self._lock.acquire()
        try:
            self._output.open()
            if self._journal:
                self._journal.open()
                self._recover(self._journal)
        except OSError as error:
            path = error.filename or self._path
            raise ConfigError([f"output: expected a file that can be written, got {path}: {error.strerror}"]) from None

    def _close(self) -> None:
        self._output.close()
        if self._journal:
            self._journal.close()
        self._lock.release()

    def _recover(self, journal: Journal) -> None:
        """Cut the output back to what the journal describes."""
        output, last = self._output, journal.last
        if last is None:
            self._describe()
        elif output.length == 0 < last.length:
            self._adopt("replaced")
        elif output.length < last.length or output.checksum_at(last.length) != last.checksum:
            raise ConfigError(
                [
                    f"output: expected the {last.length} bytes that the journal describes in {self._path}, got a file "
                    f"of {output.length} bytes that another program changed; restore it, or delete "
                    f"{self._path.name}.journal to append to it; repeated messages are then written twice"
                ]
            )
        elif output.length > last.length:
            removed = self._path.with_name(f"{self._path.name}.removed")
            output.keep(last.length, removed)  # unless a kill left them, they do not come again
            message = "Removed the lines of an unacknowledged batch from the output; the broker delivers them again."
            size = output.length - last.length
            log.info("output.cut", message=message, path=str(self._path), bytes=size, kept_in=str(removed))
            output.cut(last.length)

    def _write(self, deliveries: Sequence[Delivery]) -> None:
        try:
            self._roll_back()
            if how := self._output.change():
                self._adopt(how)
            ids, lines = self._new_lines(deliveries)
            if not lines:
                return
            self._committed = self._output.length
            self._output.append(b"\n".join(lines) + b"\n")
            self._describe(ids)
            self._committed = None
        except OSError as error:
            with suppress(OSError):
                self._roll_back()  # at once: it may have filled the disk
            raise OutputUnavailableError(f"{self._path} cannot be written: {error.strerror}") from error

    def _roll_back(self) -> None:
        """Forget a batch that was not written as a whole."""
        if self._committed is None:
            return
        if self._journal:
            self._journal.cut_back()  # the first: it may never describe what is not there
        self._output.cut(self._committed)
        self._committed = None

    def _new_lines(self, deliveries: Sequence[Delivery]) -> tuple[Collection[str], Collection[bytes]]:
        """The ids and bodies of the messages that are not yet in the output."""
        if self._journal is None:
            return (), [delivery.message.body for delivery in deliveries]
        lines: dict[str, bytes] = {}
        for delivery in deliveries:
            message = delivery.message
            if message.id not in self._journal:
                lines.setdefault(message.id, message.body)
        return lines.keys(), lines.values()

    def _adopt(self, how: str) -> None:
        """Go on in a file that another program has rotated or changed."""
        if how == "replaced":
            self._output.open()
        else:
            self._output.adopt()
        log.warning(
            "output.changed",
            message="Another program changed the output; lines are appended to what it contains now.",
            path=str(self._path),
            how=how,
        )
        self._describe()

    def _describe(self, ids: Collection[str] = ()) -> None:
        """Write to the journal how long the output is now, and which messages were added."""
        if self._journal:
            self._journal.append(self._output.length, self._output.checksum, ids)
