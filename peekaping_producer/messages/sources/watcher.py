"""Wakes a source when its file may have changed. An event is only a hint: the source polls too."""

import asyncio
from contextlib import suppress
from pathlib import Path

import structlog
from watchdog.events import (
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from peekaping_producer.service.aio import wait_for_event

log = structlog.stdlib.get_logger()


POLL_EVERY_S = 0.25
MIN_WAIT_S = 0.01
"""Between two reads that reach the end of the file: lines that come one by one are read together."""
_BUSY_WAITS = 20
"""After so many waits that all ended with new data the file is polled every MIN_WAIT_S instead: to be woken for each
write would cost as much as the lines."""
_QUIET_WAITS = 100


class Watcher(FileSystemEventHandler):
    """Waits until a file may have changed."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self._hint = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._observer: BaseObserver | None = None
        self._failed = False
        self._streak = 0
        """Waits in a row that ended with new data; negative for those without."""

    def wake(self) -> None:
        """End the wait, or the next one."""
        self._hint.set()

    async def wait(self, *, after_data: bool) -> None:
        """Wait for an event, POLL_EVERY_S at most. `after_data`: new data came since the last wait."""
        self._streak = max(self._streak, 0) + 1 if after_data else min(self._streak, 0) - 1
        if self._streak >= _BUSY_WAITS:
            await asyncio.to_thread(self.stop)
        await asyncio.sleep(MIN_WAIT_S)
        is_busy = self._observer is None and not self._failed and -_QUIET_WAITS < self._streak < 0
        if not is_busy and self._streak < _BUSY_WAITS:
            self._start()
            await wait_for_event(self._hint, POLL_EVERY_S - MIN_WAIT_S)
        self._hint.clear()

    def _start(self) -> None:
        if self._observer or self._failed:
            return
        try:
            self._loop = asyncio.get_running_loop()
            observer = Observer()
            events: list[type[FileSystemEvent]] = [FileModifiedEvent, FileCreatedEvent, FileMovedEvent]
            observer.schedule(self, str(self._path.parent), recursive=False, event_filter=events)
            observer.start()
        except (OSError, RuntimeError) as error:  # no inotify instance, no directory, no thread
            self._failed = True
            log.warning(
                "source.watch_failed",
                message="The file cannot be watched; it is polled 4 times a second instead.",
                path=str(self._path),
                error=str(error),
            )
        else:
            self._observer = observer

    def stop(self) -> None:
        """End watching, and wait for the threads of the observer."""
        observer, self._observer = self._observer, None
        if observer:
            observer.stop()
            observer.join()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Wake the source; called by a thread of the observer."""
        if self._loop and str(self._path) in (event.src_path, event.dest_path):
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._hint.set)
