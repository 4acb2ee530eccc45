"""The source that follows a file: each complete line becomes a message, at least once, in order.

The body is the line without its newline; what writes lines again adds it. The id is `<generation>:<offset>`.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from peekaping_producer.errors import CHECKPOINT, SOURCE, BatchTooLargeError, RelayClosedError
from peekaping_producer.messages.dead_letters import DeadLetters
from peekaping_producer.messages.metrics import RelayMetrics
from peekaping_producer.messages.relay import MIB, Relay
from peekaping_producer.messages.sources.checkpoint import CheckpointFile
from peekaping_producer.messages.sources.checkpointing import Checkpointer, DeadLine, run_in
from peekaping_producer.messages.sources.follower import Follower
from peekaping_producer.messages.sources.kinds import check_path
from peekaping_producer.messages.sources.lines import Lines, LongLine
from peekaping_producer.messages.sources.watcher import POLL_EVERY_S, Watcher
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop, LoopDone
from peekaping_producer.transports.message import Message


class FileSource:
    """Reads a file as far as the relay and the checkpoint allow."""

    def __init__(
        self,
        path: Path,
        relay: Relay,
        dependencies: Dependencies,
        *,
        checkpoint: Path | None = None,
        dead_letters: Path | None = None,
        max_line_bytes: int = MIB,
        rotate_wait_s: float = 5.0,
        batch_lines: int = 500,
        max_unsettled: int = 1_000,
        metrics: RelayMetrics | None = None,
    ) -> None:
        """Default files: `<path>.checkpoint` and `<path>.dead-letters`.

        `rotate_wait_s`: how long a rotated file must be quiet before the next is read. `batch_lines`: lines that are
        settled together. `max_unsettled`: how many lines may be read and not yet passed by the checkpoint; so many are
        published twice at most if the process is killed.
        """
        self.loop = Loop("file", dependencies, uses=(SOURCE, CHECKPOINT), longest_backoff_s=POLL_EVERY_S)
        metrics = metrics or RelayMetrics()
        metrics.source_lag_bytes.set_function(lambda: self.lag_bytes)
        self._path = path
        self._dead_letters = dead_letters or path.with_name(f"{path.name}.dead-letters")
        self._relay = relay
        self._max_line_bytes = max_line_bytes
        self._batch_lines = min(batch_lines, max_unsettled)
        self._max_unsettled = max_unsettled
        self._follower = Follower(
            path, max_line_bytes=max_line_bytes, rotate_wait_s=rotate_wait_s, lost=metrics.source_losses
        )
        self._watcher = Watcher(path)
        self._checkpointer = Checkpointer(
            CheckpointFile(checkpoint or path.with_name(f"{path.name}.checkpoint")),
            DeadLetters(self._dead_letters),
            dependencies,
            metrics,
            batch_lines=self._batch_lines,
        )
        self._item: Lines | LongLine | None = None
        """What was read and is not yet passed on as a whole."""
        self._after_data = False
        self._ends_reached = 0
        self._reading_ended = False

    @property
    def loops(self) -> tuple[Loop, Loop]:
        """The loops that run, for the detection of one that is stuck."""
        return self.loop, self._checkpointer.loop

    async def run(self) -> None:
        """Follow the file until canceled, or until `stop` was called and all lines in flight are settled.

        Raises ConfigError if the file or that of the dead letters is no regular file, or another process follows it.
        """
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="file-reader")
        tasks: list[asyncio.Task[None]] = []
        try:
            await run_in(self._reader, check_path, self._path)
            await run_in(self._reader, check_path, self._dead_letters, "dead letters")
            try:
                await self._checkpointer.open()
                self._follower.checkpoint = self._checkpointer.settled
                tasks = [asyncio.create_task(self._run_reading()), asyncio.create_task(self._checkpointer.run())]
                await asyncio.gather(*tasks)
            finally:
                await cancel_and_wait(*tasks)
                await self._checkpointer.close()
        finally:
            await run_in(self._reader, self._close)  # after a read that a canceled task may have left behind
            self._reader.shutdown(wait=False)

    def stop(self) -> None:
        """Read no more. Then drain the relay: `run` returns once what is in flight is settled."""
        self._checkpointer.stop()
        self._watcher.wake()

    async def caught_up(self) -> None:
        """Wait until all complete lines that the file contains now are settled. Requires `run` to be running."""
        target = self._ends_reached + 2  # the first read may have begun before this call
        with self._checkpointer.hurried():
            while (self._ends_reached < target or self.unsettled) and not self._reading_ended:
                self._watcher.wake()
                self._checkpointer.changed.clear()
                await self._checkpointer.changed.wait()

    @property
    def unsettled(self) -> int:
        """The number of lines that were read and not yet passed by the checkpoint."""
        return self._checkpointer.unsettled

    @property
    def lag_bytes(self) -> int:
        """The bytes of the current generation that the checkpoint has not passed."""
        if not self._follower.is_open:
            return 0
        generation, settled = self._follower.generation, self._checkpointer.settled
        size = generation.size
        with suppress(OSError):
            stat = os.stat(self._path)
            size = stat.st_size if stat.st_ino == generation.inode else size
        return max(size - settled.offset, 0) if settled and settled.generation == generation.id else size

    def _close(self) -> None:
        self._watcher.stop()
        self._follower.close()

    async def _run_reading(self) -> None:
        try:
            await self.loop.run(self._read)
        finally:
            self._reading_ended = True
            self._checkpointer.complete()

    async def _read(self) -> float:
        if self._checkpointer.stopping:
            raise LoopDone
        if self._item is None:
            self._item = await run_in(self._reader, self._follower.read)
        if self._item is None:
            if not self.unsettled:
                await self._begin_generation()  # although it is empty: it may be rotated while no process reads it
            self._ends_reached += 1
            self._checkpointer.changed.set()
            self.loop.turn_succeeded()
            with self.loop.waiting():
                await self._watcher.wait(after_data=self._after_data)
            self._after_data = False
            return 0.0
        self._after_data = True
        with self.loop.waiting():
            await self._pass_on(self._item)
        self._item = None
        return 0.0

    async def _pass_on(self, item: Lines | LongLine) -> None:
        """Pass the lines to the relay, or the line that is too long to the dead letters."""
        await self._begin_generation()
        generation = self._follower.generation
        if isinstance(item, LongLine):
            reason = f"line: expected at most {self._max_line_bytes} bytes, got {item.size}"
            pieces = partial(self._follower.pieces, item)
            await self._checkpointer.until_unsettled(0)
            self._checkpointer.add_dead(
                generation.place, DeadLine(f"{generation.id}:{item.start}", reason, item.size, pieces)
            )
            await self._checkpointer.until_unsettled(0)  # the file that contains it stays open
        else:
            await self._pass_lines(generation.id, item)

    async def _begin_generation(self) -> None:
        """Store a new generation before its first message: the ids of its messages are the same after a restart."""
        generation = self._follower.generation
        if self._checkpointer.settled is None or generation.id != self._checkpointer.settled.generation:
            # The checkpoint may leave a generation only when all of it is settled.
            await self._checkpointer.until_unsettled(0)
            await self._checkpointer.store(generation.checkpoint(0, b""))

    async def _pass_lines(self, generation: str, lines: Lines) -> None:
        parts = [lines]
        while parts:
            part = parts.pop()
            if len(part.lines) > self._batch_lines:
                part, rest = part.split(self._batch_lines)
                parts.append(rest)
            await self._checkpointer.until_unsettled(self._max_unsettled - len(part.lines))
            messages = _messages(generation, part)
            try:
                future = await self._relay.put(messages)
            except BatchTooLargeError:
                parts += reversed(part.split(len(part.lines) // 2))
                continue
            except RelayClosedError:
                raise LoopDone from None
            checkpoint = self._follower.generation.checkpoint(part.end, part.end_tail)
            self._checkpointer.add(checkpoint, messages, future)


def _messages(generation: str, lines: Lines) -> list[Message]:
    messages = []
    offset = lines.start
    prefix = f"{generation}:"
    for line in lines.lines:
        messages.append(Message(f"{prefix}{offset}", line))
        offset += len(line) + 1
    return messages
