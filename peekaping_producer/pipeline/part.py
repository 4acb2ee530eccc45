"""What a process of the pipeline does: it consumes, or passes the messages of a source to a relay."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from peekaping_producer.messages.relay import Relay
from peekaping_producer.service.aio import cancel_and_wait
from peekaping_producer.service.loop import Loop


class Part(Protocol):
    """The work of the process: a RelayPart, or a Consumer."""

    @property
    def loops(self) -> Sequence[Loop]:
        """The loops that must advance."""

    @property
    def stopping(self) -> bool:
        """Whether no more messages are accepted."""

    async def run(self) -> None:
        """Work until drained, or canceled."""

    async def drain(self, within_s: float) -> int:
        """Accept no more, finish what is held; return how many messages are left to their broker or source."""

    def progress(self) -> str:
        """How far the work has come, in a line."""


class Source(Protocol):
    """What a relay gets its messages from."""

    @property
    def loops(self) -> Sequence[Loop]:
        """The loops that must advance."""

    async def run(self) -> None:
        """Pass on messages until `stop` is called, or canceled."""

    def stop(self) -> None:
        """Pass on no more."""


class RelayPart:
    """A source and its relay."""

    def __init__(self, relay: Relay, source: Source, name: str, *, unit: str = "messages") -> None:
        """`name` and `unit`: what it is and what it counts, in logs and on a terminal."""
        self._name = name
        self._unit = unit
        self._relay = relay
        self._source = source
        self.loops = (relay.loop, *source.loops)
        self.stopping = False

    def __str__(self) -> str:
        return self._name

    async def run(self) -> None:
        """See Part."""
        source = asyncio.create_task(self._source.run(), name="source")
        relay = asyncio.create_task(self._relay.run(), name="relay")
        try:
            done, _ = await asyncio.wait({source, relay}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await asyncio.gather(source, relay)
        finally:
            await cancel_and_wait(source, relay)

    async def drain(self, within_s: float) -> int:
        """See Part. Lines that are not confirmed are sent again after the next start."""
        self.stopping = True
        self._source.stop()
        return await self._relay.drain(within_s)

    def progress(self) -> str:
        """See Part."""
        progress = self._relay.progress()
        return f"{progress.lines:,} {self._unit}   {progress.rate:,.0f}/s   lag {progress.lag_s:.1f} s"
