"""Advances the checkpoint of a file over the lines that are settled, in order."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from peekaping_producer.errors import CHECKPOINT, CheckpointError
from peekaping_producer.messages.buffer import Refused
from peekaping_producer.messages.dead_letters import DeadLetterLog, DeadLetters
from peekaping_producer.messages.metrics import RelayMetrics
from peekaping_producer.messages.sources.checkpoint import Checkpoint, CheckpointFile
from peekaping_producer.service.aio import wait_for_event
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop, LoopDone
from peekaping_producer.transports.message import Message

T = TypeVar("T")

CHECKPOINT_EVERY_S = 0.05
"""Between two checkpoints at least, unless a whole batch is settled or reading waits: each costs two fsyncs."""


class DeadLine(msgspec.Struct, frozen=True):
    """A line that is not published: it goes to the dead letters."""

    id: str
    reason: str
    size: int
    pieces: Callable[[], Iterable[bytes]]


class _InFlight(msgspec.Struct, eq=False):
    """Lines that were passed to the relay, or one that is dead, until the checkpoint has passed them."""

    checkpoint: Checkpoint
    """The place after them."""
    count: int
    future: asyncio.Future[Refused]
    messages: list[Message]
    """Kept while one of them may be refused."""
    dead: DeadLine | None = None
    buried: int = 0
    """How many of the refused messages are in the dead letters."""

    def release(self, future: asyncio.Future[Refused]) -> None:
        """Drop the messages if none was refused; called when the future ends."""
        if future.cancelled() or future.exception() or not future.result():
            self.messages = []


class Checkpointer:
    """Holds what was read and is not yet passed by the checkpoint; writes dead letters, then the checkpoint."""

    def __init__(
        self,
        checkpoint: CheckpointFile,
        dead_letters: DeadLetters,
        dependencies: Dependencies,
        metrics: RelayMetrics,
        *,
        batch_lines: int,
    ) -> None:
        self.loop = Loop("checkpoint", dependencies, uses=(CHECKPOINT,), longest_backoff_s=2.0)
        self.settled: Checkpoint | None = None
        """As the checkpoint on disk."""
        self.unsettled = 0
        """The number of lines."""
        self.changed = asyncio.Event()
        """Lines are in flight, were settled, or the source stops."""
        self.stopping = False
        self._checkpoint = checkpoint
        self._dead_letters = dead_letters
        self._dead_letter_log = DeadLetterLog()
        self._metrics = metrics
        self._batch_lines = batch_lines
        self._in_flight: deque[_InFlight] = deque()
        self._complete = False
        self._waiting = 0
        """How many wait until lines are settled."""
        self._stored_at = 0.0

    async def open(self) -> None:
        """Lock and read the checkpoint. Raises ConfigError."""
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        await run_in(self._writer, self._checkpoint.lock)
        self.settled = await run_in(self._writer, self._checkpoint.load)

    async def close(self) -> None:
        """Release the lock, after a call that a canceled task may have left behind."""
        self._dead_letter_log.flush()
        await run_in(self._writer, self._dead_letters.close)
        await run_in(self._writer, self._checkpoint.close)
        self._writer.shutdown(wait=False)

    async def run(self) -> None:
        """Settle until canceled; after `complete` until all is settled, or the relay has given it up."""
        await self.loop.run(self._settle)

    def stop(self) -> None:
        """End all waits for lines to be settled."""
        self.stopping = True
        self.changed.set()

    def complete(self) -> None:
        """No more lines come."""
        self._complete = True
        self.changed.set()

    def add(self, checkpoint: Checkpoint, messages: list[Message], future: asyncio.Future[Refused]) -> None:
        """`messages` are settled when `future` ends; then `checkpoint` is the place after them."""
        self._add(_InFlight(checkpoint, len(messages), future, messages))

    def add_dead(self, checkpoint: Checkpoint, line: DeadLine) -> None:
        """Write a line to the dead letters once all before it are settled."""
        future: asyncio.Future[Refused] = asyncio.get_running_loop().create_future()
        future.set_result({})
        self._add(_InFlight(checkpoint, 1, future, [], line))

    def _add(self, lines: _InFlight) -> None:
        lines.future.add_done_callback(lines.release)
        self._in_flight.append(lines)
        self.unsettled += lines.count
        self.changed.set()

    async def until_unsettled(self, count: int) -> None:
        """Wait until at most `count` lines are not settled. Raises LoopDone if the source stops."""
        with self.hurried():
            while self.unsettled > count:
                if self.stopping:
                    raise LoopDone
                self.changed.clear()
                await self.changed.wait()

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Let checkpoints be written at once."""
        self._waiting += 1
        self.changed.set()
        try:
            yield
        finally:
            self._waiting -= 1

    async def store(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint. Raises CheckpointError."""
        with self._counting_failures():
            await run_in(self._writer, self._checkpoint.store, checkpoint)
        self.settled = checkpoint
        self._stored_at = time.monotonic()

    async def _settle(self) -> float:
        with self.loop.waiting():
            while not self._in_flight:
                if self._complete:
                    raise LoopDone
                self.changed.clear()
                await self.changed.wait()
            await asyncio.wait([self._in_flight[0].future])
            await self._until_due()
        ended = self._ended()
        for lines in ended:
            await self._bury(lines)
        await self.store(ended[-1].checkpoint)
        for lines in ended:
            self._in_flight.popleft()
            self.unsettled -= lines.count
        self.changed.set()
        return 0.0

    async def _until_due(self) -> None:
        """Wait until the next checkpoint is due."""
        due_at = self._stored_at + CHECKPOINT_EVERY_S
        while not (self._waiting or self._complete or self.unsettled >= self._batch_lines):
            left_s = due_at - time.monotonic()
            if left_s <= 0:
                break
            self.changed.clear()
            await wait_for_event(self.changed, left_s)

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
        if dead := lines.dead:
            await self._bury_one(dead.id, dead.reason, dead.size, dead.pieces())
            lines.dead = None
        for index, reason in sorted(lines.future.result().items())[lines.buried :]:
            message = lines.messages[index]
            await self._bury_one(message.id, reason, len(message.body), [message.body])
            lines.buried += 1
        lines.messages = []

    async def _bury_one(self, message_id: str, reason: str, size: int, pieces: Iterable[bytes]) -> None:
        with self._counting_failures():
            await run_in(self._writer, self._dead_letters.append, message_id, reason, size, pieces)
        self._metrics.dead_letters.inc()
        self._dead_letter_log.add(message_id, reason, size)

    @contextmanager
    def _counting_failures(self) -> Iterator[None]:
        try:
            yield
        except CheckpointError:
            self._metrics.checkpoint_failures.inc()
            raise


async def run_in(executor: ThreadPoolExecutor, function: Callable[..., T], *arguments: object) -> T:
    """Run a blocking call in the thread of `executor`; calls run one at a time, in order."""
    return await asyncio.get_running_loop().run_in_executor(executor, function, *arguments)
