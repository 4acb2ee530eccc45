"""One look a second for all readers of the page together; without readers nothing runs."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import structlog

from peekaping_producer.metrics import Metrics
from peekaping_producer.service.aio import cancel_and_wait, wait_for_event
from peekaping_producer.ui.building import build_frame
from peekaping_producer.ui.details import DetailsReader
from peekaping_producer.ui.fitting import fit
from peekaping_producer.ui.frame import Frame
from peekaping_producer.ui.names import Names
from peekaping_producer.ui.overdue import overdue_ids
from peekaping_producer.ui.seen import Seen
from peekaping_producer.ui.view import ReplicaView

log = structlog.stdlib.get_logger()

EVERY_S = 1.0
_READERS_AT_ONCE = 10
_BETWEEN_READERS_S = 0.01
"""A hundred writes at once would delay the hand-offs of this moment."""
_SAMPLED_WITHIN_S = 0.1
"""Usually; the first frame is not delayed for longer."""


class Published(msgspec.Struct, frozen=True):
    """A frame that readers get."""

    number: int
    """One more than that of the frame before."""
    frame: Frame
    event: bytes
    """The data of its event in the stream."""


class Reader:
    """One open page. It gets the latest frame; those that it was too slow for are skipped."""

    def __init__(self, look: "SharedLook") -> None:
        self._look = look
        self._seen = 0
        self.changed = asyncio.Event()
        """Set when there is a new frame."""

    async def next(self, within_s: float) -> Published | None:
        """Wait for a frame that this reader has not had; None if there is none in time."""
        if not await wait_for_event(self.changed, within_s):
            return None
        self.changed.clear()
        latest = self._look.latest
        if latest:
            if self._seen:
                self._look.metrics.ui_frames_skipped.inc(max(0, latest.number - self._seen - 1))
            self._seen = latest.number
        return latest


class SharedLook:
    """Reads, builds, renders and encodes each frame once."""

    def __init__(
        self,
        replica: ReplicaView,
        details: DetailsReader,
        names: Names,
        metrics: Metrics,
        *,
        program: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`program`: the version of this program."""
        self.metrics = metrics
        self.latest: Published | None = None
        """None without readers, and until there is a frame for them."""
        self._replica = replica
        self._details = details
        self._names = names
        self._program = program
        self._clock = clock
        self._published = 0
        """Frames so far."""
        self._readers: set[Reader] = set()
        self._running: asyncio.Task[None] | None = None
        self._is_failing = False

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Enclose the time for which a page is open."""
        reader = Reader(self)
        self._readers.add(reader)
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="page-look")
        elif self.latest:
            reader.changed.set()
        try:
            yield reader
        finally:
            self._readers.discard(reader)
            if not self._readers and self._running:
                self._running.cancel()
                self._running = None
                self.latest = None  # the next page must not begin with an old one

    @property
    def readers(self) -> int:
        """Number of open pages."""
        return len(self._readers)

    def wake(self) -> None:
        """End the wait of each reader; it gets the latest frame again."""
        for reader in self._readers:
            reader.changed.set()

    async def stop(self) -> None:
        """End what runs."""
        if self._running:
            await cancel_and_wait(self._running)
        await self._names.stop()

    async def _run(self) -> None:
        """Publish a frame every second, whether Redis answers in time or not."""
        reading = self._read()
        next_at = self._clock()
        try:
            await asyncio.wait({reading}, timeout=EVERY_S / 2)  # marks the fleet as watched
            self._replica.sample_soon()  # its latest sample may be 5 s old
            await asyncio.sleep(_SAMPLED_WITHIN_S)
            while True:
                self._publish(reading)
                next_at = max(next_at + EVERY_S, self._clock())
                await asyncio.sleep(next_at - self._clock())
                reading = self._read() if reading.done() else reading
                await asyncio.wait({reading}, timeout=EVERY_S / 2)
        finally:
            reading.cancel()

    def _read(self) -> "asyncio.Task[None]":
        return asyncio.create_task(self._details.read(), name="page-details")

    def _publish(self, reading: "asyncio.Task[None]") -> None:
        """Build a frame. A fault of the program in this leaves pages without frames, and the replica at work."""
        try:
            if reading.done():
                reading.result()
            frame = build_frame(self.seen())
            event = fit(frame)
        except Exception as error:  # the next look may succeed; logged once
            if not self._is_failing:
                log.error(
                    "ui.frame_failed", message="An unforeseen error: open pages show nothing new.", exc_info=error
                )
            self._is_failing = True
            self.latest = None  # a request for the latest frame must not get an old one
            return
        self._is_failing = False
        self._published += 1
        self.latest = Published(self._published, frame, event)
        loop = asyncio.get_running_loop()
        for position, reader in enumerate(self._readers):
            loop.call_later(position // _READERS_AT_ONCE * _BETWEEN_READERS_S, reader.changed.set)

    def seen(self) -> Seen:
        """Return what the next frame is made of."""
        details = self._details.latest
        return Seen(
            now_ms=self._replica.now_ms(),
            node=self._replica.node,
            program=self._program,
            look=self._replica.look(),
            waits=self._replica.waits,
            details=details,
            details_failure=self._details.failure,
            due=self._details.due,
            names=self._names.of(overdue_ids(details)),
            names_failure=self._names.failure,
        )
