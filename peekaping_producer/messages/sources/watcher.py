"""Wakes a source when its file may have changed. An event is only a hint: the source polls too."""

import asyncio
import os
import time
from collections import deque
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
_BUSY_READS = 50
"""After so many reads with new data within _BUSY_S the file is polled every MIN_WAIT_S, and not watched, until it has
been quiet for _BUSY_S: to be woken for each write would cost more than to publish the lines."""
_BUSY_S = 1.0


class Watcher(FileSystemEventHandler):
    """Waits until a file may have changed."""

    def __init__(self, path: Path) -> None:
        self._path = Path(os.path.realpath(path))  # Path.resolve() raises RuntimeError for links in a circle
        self._hint = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._observer: BaseObserver | None = None
        self._failed = False
        self._data_at: deque[float] = deque(maxlen=_BUSY_READS)
        """When the last reads returned data."""
        self._busy = False

    def wake(self) -> None:
        """End the wait, or the next one."""
        self._hint.set()

    async def wait(self, *, after_data: bool) -> None:
        """Wait for an event, POLL_EVERY_S at most. `after_data`: new data came since the last wait."""
        now = time.monotonic()
        if after_data:
            self._data_at.append(now)
            if self._observer and len(self._data_at) == _BUSY_READS and now - self._data_at[0] < _BUSY_S:
                self._busy = True
                await asyncio.to_thread(self.stop)
        await asyncio.sleep(MIN_WAIT_S)
        if self._busy and now - self._data_at[-1] < _BUSY_S:
            return
        self._busy = False
        if not self._observer and not self._failed:
            self._start()
            return  # what changed before it began to watch is not reported: read once more
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
