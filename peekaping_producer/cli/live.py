"""What `top` runs: a screen that is redrawn, or lines."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.cli.explain import explanation_lines
from peekaping_producer.cli.terminal import Terminal
from peekaping_producer.operations.opened import opened_schedule
from peekaping_producer.operations.top.keys import Controls
from peekaping_producer.operations.top.reading import TopReader
from peekaping_producer.operations.top.screen import line_of, screen
from peekaping_producer.operations.top.styled import as_text
from peekaping_producer.operations.top.view import View
from peekaping_producer.service.aio import cancel_and_wait, wait_for_event
from peekaping_producer.settings import Settings

_EVERY_S = 2.0
_LINE_EVERY_S = 3.0


@asynccontextmanager
async def opened_reader(settings: Settings) -> AsyncIterator[TopReader]:
    """A reader of the Redis that the settings name."""
    async with opened_schedule(settings.redis_target(), lease_ttl_s=settings.lease_ttl) as schedule:
        yield TopReader(schedule, AsynqBroker(schedule.redis) if settings.uses_asynq else None)


async def print_lines(reader: TopReader) -> None:
    """Print a line every 3 s until canceled."""
    while True:
        print(line_of(await reader.read(1)), flush=True)
        await asyncio.sleep(_LINE_EVERY_S)


class LiveScreen:
    """Reads every 2 s, and draws after each reading, key and change of the size."""

    def __init__(self, terminal: Terminal, reader: TopReader, env_files: Sequence[Path]) -> None:
        """`env_files`: with the settings of the database, for an explanation."""
        self._terminal = terminal
        self._reader = reader
        self._env_files = env_files
        self._controls = Controls()
        self._changed = asyncio.Event()
        """There is something to draw."""
        self._read_now = asyncio.Event()
        self._explaining: set[asyncio.Task[None]] = set()
        self._view: View

    async def run(self) -> None:
        """Show the screen until `q`."""
        self._view = await self._reader.read(self._controls.width_s)
        with self._terminal.entered(self._on_key, self._changed.set):
            reading = asyncio.create_task(self._read_on())
            reading.add_done_callback(lambda _: self._changed.set())
            try:
                while not self._controls.has_quit:
                    self._draw(self._view)
                    self._changed.clear()
                    await self._changed.wait()
                    for task in [task for task in (reading, *self._explaining) if task.done()]:
                        self._explaining.discard(task)
                        task.result()  # an unforeseen error ends the command
            finally:
                await cancel_and_wait(reading, *self._explaining)

    async def _read_on(self) -> None:
        while True:
            await wait_for_event(self._read_now, _EVERY_S)
            self._read_now.clear()
            view = await self._reader.read(self._controls.width_s)
            if not self._controls.is_frozen:
                self._view = view
                self._changed.set()

    def _draw(self, view: View) -> None:
        width, height = self._terminal.size()
        lines = screen(view, self._controls, width, height, unicode=self._terminal.has_unicode)
        self._terminal.show([as_text(line, width, color=self._terminal.has_colors) for line in lines])

    def _on_key(self, key: str) -> None:
        width_s = self._controls.width_s
        self._controls.press(key)
        if self._controls.asked:
            monitor, self._controls.asked = self._controls.asked, ""
            self._controls.text = ["Reading ..."]
            task = asyncio.create_task(self._explain(monitor))
            self._explaining.add(task)
            task.add_done_callback(lambda _: self._changed.set())
        if self._controls.width_s != width_s:
            self._read_now.set()
        self._changed.set()

    async def _explain(self, monitor: str) -> None:
        lines = await explanation_lines(monitor, self._env_files)
        if self._controls.text is not None:  # not left by a key
            self._controls.text = lines
