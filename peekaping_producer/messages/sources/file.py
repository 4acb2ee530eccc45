"""The source that follows a file: each complete line becomes a message, at least once, in order.

The body is the line without its newline; what writes lines again adds it. The id is `<generation>:<offset>`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from peekaping_producer.errors import CHECKPOINT, SOURCE, BatchTooLargeError, CheckpointError, RelayClosedError
from peekaping_producer.messages.buffer import Refused
from peekaping_producer.messages.dead_letters import DeadLetters
from peekaping_producer.messages.metrics import RelayMetrics
from peekaping_producer.messages.relay import MIB, Relay
from peekaping_producer.messages.sources.checkpoint import Checkpoint, CheckpointFile
from peekaping_producer.messages.sources.follower import Follower, check_path
from peekaping_producer.messages.sources.lines import Lines, LongLine
from peekaping_producer.messages.sources.watcher import POLL_EVERY_S, Watcher
from peekaping_producer.service.aio import cancel_and_wait, wait_for_event
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop, LoopDone
from peekaping_producer.transports.message import Message

T = TypeVar("T")

CHECKPOINT_EVERY_S = 0.05
"""Between two checkpoints at least, unless a whole batch is settled or reading waits: each costs two fsyncs."""


class _InFlight(msgspec.Struct, eq=False):
    """Lines that were passed to the relay, or one that is too long, until the checkpoint has passed them."""

    checkpoint: Checkpoint
    """The place after them."""
    count: int
    future: asyncio.Future[Refused]
    messages: list[Message]
    """Kept while one of them may be refused."""
    long: LongLine | None = None
    buried: int = 0
    """How many of the refused messages are in the dead letters."""

    def release(self, future: asyncio.Future[Refused]) -> None:
        """Drop the messages if none was refused; called when the future ends."""
        if future.cancelled() or future.exception() or not future.result():
            self.messages = []


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
        self.loop = Loop("file", dependencies, uses=(SOURCE,), longest_backoff_s=POLL_EVERY_S)
        self.settling = Loop("checkpoint", dependencies, uses=(CHECKPOINT,), longest_backoff_s=2.0)
        self._path = path
        self._relay = relay
        self._checkpoint = CheckpointFile(checkpoint or path.with_name(f"{path.name}.checkpoint"))
        self._dead_letters = DeadLetters(dead_letters or path.with_name(f"{path.name}.dead-letters"))
        self._max_line_bytes = max_line_bytes
        self._follower = Follower(path, max_line_bytes=max_line_bytes, rotate_wait_s=rotate_wait_s)
        self._watcher = Watcher(path)
        self._batch_lines = min(batch_lines, max_unsettled)
        self._max_unsettled = max_unsettled
        self._metrics = metrics or RelayMetrics()
        self._item: Lines | LongLine | None = None
        """What was read and is not yet passed on as a whole."""
        self._after_data = False
        self._in_flight: deque[_InFlight] = deque()
        self._unsettled = 0
        self._changed = asyncio.Event()
        """Lines are in flight, were settled, or the source stops."""
        self._ends_reached = 0
        self._stopping = False
        self._reading_ended = False
        self._waiting = 0
        """How many wait until lines are settled."""
        self._stored_at = 0.0
        self._settled: Checkpoint | None = None
        """As the checkpoint on disk."""

    async def run(self) -> None:
        """Follow the file until canceled, or until `stop` was called and all lines in flight are settled.

        Raises ConfigError if the file is no regular file, or another process follows it.
        """
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="file-reader")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-writer")
        tasks: list[asyncio.Task[None]] = []
        try:
            await _run_in(self._writer, self._open)
            tasks = [
                asyncio.create_task(self._run_reading()),
                asyncio.create_task(self.settling.run(self._settle)),
            ]
            await asyncio.gather(*tasks)
        finally:
            await cancel_and_wait(*tasks)
            # Each after the call that a canceled task may have left behind.
            await _run_in(self._writer, self._close_written)
            await _run_in(self._reader, self._close_read)
            self._writer.shutdown(wait=False)
            self._reader.shutdown(wait=False)

    def stop(self) -> None:
        """Read no more. Then drain the relay: `run` returns once what is in flight is settled."""
        self._stopping = True
        self._watcher.wake()
        self._changed.set()

    async def caught_up(self) -> None:
        """Wait until all complete lines that the file contains now are settled. Requires `run` to be running."""
        target = self._ends_reached + 2  # the first read may have begun before this call
        with self._hurried():
            while (self._ends_reached < target or self._unsettled) and not self._reading_ended:
                self._watcher.wake()
                self._changed.clear()
                await self._changed.wait()

    @property
    def lag_bytes(self) -> int:
        """The bytes of the current generation that the checkpoint has not passed."""
        if not self._follower.is_open:
            return 0
        generation = self._follower.generation
        if self._settled and self._settled.generation == generation.id:
            return max(generation.size - self._settled.offset, 0)
        return generation.size

    def _open(self) -> None:
        check_path(self._path)
        self._checkpoint.lock()
        self._settled = self._checkpoint.load()
        self._follower.checkpoint = self._settled

    def _close_read(self) -> None:
        self._watcher.stop()
        self._follower.close()

    def _close_written(self) -> None:
        self._dead_letters.close()
        self._checkpoint.close()

    async def _run_reading(self) -> None:
        try:
            await self.loop.run(self._read)
        finally:
            self._reading_ended = True
            self._changed.set()

    async def _read(self) -> float:
        if self._stopping:
            raise LoopDone
        if self._item is None:
            self._item = await _run_in(self._reader, self._follower.read)
        if self._item is None:
            if not self._unsettled:
                await self._begin_generation()  # although it is empty: it may be rotated while no process reads it
            self._ends_reached += 1
            self._changed.set()
            self.loop.turn_succeeded()
            self._metrics.source_lag_bytes.set(self.lag_bytes)
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
            await self._until_unsettled(0)  # the file that contains it stays open
            future: asyncio.Future[Refused] = asyncio.get_running_loop().create_future()
            future.set_result({})
            self._add(_InFlight(generation.place, 1, future, [], item))
            await self._until_unsettled(0)
        else:
            await self._pass_lines(generation.id, item)

    async def _begin_generation(self) -> None:
        """Store a new generation before its first message: the ids of its messages are the same after a restart."""
        generation = self._follower.generation
        if self._settled is None or generation.id != self._settled.generation:
            await self._until_unsettled(0)  # the checkpoint may leave a generation only when all of it is settled
            await self._store(generation.checkpoint(0, b""))

    async def _pass_lines(self, generation: str, lines: Lines) -> None:
        parts = [lines]
        while parts:
            part = parts.pop()
            if len(part.lines) > self._batch_lines:
                part, rest = part.split(self._batch_lines)
                parts.append(rest)
            await self._until_unsettled(self._max_unsettled - len(part.lines))
            messages = _messages(generation, part)
            try:
                future = await self._relay.put(messages)
            except BatchTooLargeError:
                parts += reversed(part.split(len(part.lines) // 2))
                continue
            except RelayClosedError:
                raise LoopDone from None
            checkpoint = self._follower.generation.checkpoint(part.end, part.end_tail)
            self._add(_InFlight(checkpoint, len(messages), future, messages))

    def _add(self, lines: _InFlight) -> None:
        lines.future.add_done_callback(lines.release)
        self._in_flight.append(lines)
        self._unsettled += lines.count
        self._changed.set()

    async def _until_unsettled(self, count: int) -> None:
        """Wait until at most `count` lines are not settled. Raises LoopDone if the source stops."""
        with self._hurried():
            while self._unsettled > count:
                if self._stopping:
                    raise LoopDone
                self._changed.clear()
                await self._changed.wait()

    @contextmanager
    def _hurried(self) -> Iterator[None]:
        """Let checkpoints be written at once."""
        self._waiting += 1
        self._changed.set()
        try:
            yield
        finally:
            self._waiting -= 1

    async def _until_due(self) -> None:
        """Wait until the next checkpoint is due."""
        due_at = self._stored_at + CHECKPOINT_EVERY_S
        while not (self._waiting or self._reading_ended or self._unsettled >= self._batch_lines):
            left_s = due_at - time.monotonic()
            if left_s <= 0:
                break
            self._changed.clear()
            await wait_for_event(self._changed, left_s)

    async def _settle(self) -> float:
        """Write refused messages to the dead letters, and the checkpoint, for all lines that are settled."""
        with self.settling.waiting():
            while not self._in_flight:
                if self._reading_ended:
                    raise LoopDone
                self._changed.clear()
                await self._changed.wait()
            await asyncio.wait([self._in_flight[0].future])
            await self._until_due()
        ended = self._ended()
        for lines in ended:
            await self._bury(lines)
        await self._store(ended[-1].checkpoint)
        for lines in ended:
            self._in_flight.popleft()
            self._unsettled -= lines.count
        self._changed.set()
        return 0.0

    def _ended(self) -> list[_InFlight]:
        """The first lines in flight whose futures have ended. Raises LoopDone if the relay has given up the first."""
        ended: list[_InFlight] = []
        for lines in self._in_flight:
            if not lines.future.done():
                break
            if lines.future.cancelled() or lines.future.exception():
                if ended:
                    break
                self.stop()
                raise LoopDone
            ended.append(lines)
        return ended

    async def _bury(self, lines: _InFlight) -> None:
        """Write to the dead letters what can never be published."""
        if line := lines.long:
            reason = f"line: expected at most {self._max_line_bytes} bytes, got {line.size}"
            generation = self._follower.generation
            await self._bury_one(f"{generation.id}:{line.start}", reason, line.size, generation.pieces(line))
            lines.long = None
        for index, reason in sorted(lines.future.result().items())[lines.buried :]:
            message = lines.messages[index]
            await self._bury_one(message.id, reason, len(message.body), [message.body])
            lines.buried += 1
        lines.messages = []

    async def _bury_one(self, message_id: str, reason: str, size: int, pieces: Iterable[bytes]) -> None:
        with self._counting_failures():
            await _run_in(self._writer, self._dead_letters.append, message_id, reason, size, pieces)
        self._metrics.dead_letters.inc()

    @contextmanager
    def _counting_failures(self) -> Iterator[None]:
        try:
            yield
        except CheckpointError:
            self._metrics.checkpoint_failures.inc()
            raise

    async def _store(self, checkpoint: Checkpoint) -> None:
        with self._counting_failures():
            await _run_in(self._writer, self._checkpoint.store, checkpoint)
        self._settled = checkpoint
        self._stored_at = time.monotonic()
        self._metrics.source_lag_bytes.set(self.lag_bytes)


async def _run_in(executor: ThreadPoolExecutor, function: Callable[..., T], *arguments: object) -> T:
    """Run a blocking call in a thread of its own: reading does not wait for an fsync."""
    return await asyncio.get_running_loop().run_in_executor(executor, function, *arguments)


def _messages(generation: str, lines: Lines) -> list[Message]:
    messages = []
    offset = lines.start
    prefix = f"{generation}:"
    for line in lines.lines:
        messages.append(Message(f"{prefix}{offset}", line))
        offset += len(line) + 1
    return messages
