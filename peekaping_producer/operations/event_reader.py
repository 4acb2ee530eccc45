"""Reads the stream of fleet events, for the command `events`."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from peekaping_producer.errors import RedisUnavailableError, RedisUnusableError
from peekaping_producer.operations.fleet_events import FleetEvent, decode_event
from peekaping_producer.operations.moments import Moments
from peekaping_producer.schedule import Schedule
from peekaping_producer.service.text import duration, escaped, one_line

VERSION = 1
"""Version of the JSON form: incremented when a field changes its meaning or is removed."""
FOLLOWED_EVERY_S = 1.0
_PAGE = 500


class ReadEvent(msgspec.Struct, frozen=True):
    """An event and its id in the stream."""

    id: str
    event: FleetEvent

    def line(self, moments: Moments) -> str:
        """Return it as one line of text."""
        event = self.event
        about = f"{one_line(event.monitor_id, 64)}: " if event.monitor_id else ""
        author = event.who or event.node
        by = f"  ({one_line(author, 60)})" if author else ""
        return escaped(f"{moments.clock(event.at_ms)}  {one_line(event.kind, 60):<20}  {about}{event.message}{by}")

    def as_json(self, moments: Moments) -> dict[str, Any]:
        """Return its documented form in `events --json`."""
        event = self.event
        return {
            "id": self.id,
            "at": moments.iso(event.at_ms),
            "kind": event.kind,
            "message": event.message,
            "replica": event.node or None,
            "who": event.who or None,
            "monitor_id": event.monitor_id,
        }


class EventReader:
    """Reads on from where it stopped."""

    def __init__(self, schedule: Schedule, *, monitor: str = "") -> None:
        """`monitor`: the id of a monitor, or the beginning of it, for events about it alone."""
        self.now_ms = 0
        """Redis TIME of the latest reading."""
        self._schedule = schedule
        self._monitor = monitor
        self._seen = "0-0"

    async def read(self) -> list[ReadEvent]:
        """Return the events since the last reading, the oldest first; malformed ones are left out.

        Raises RedisUnusableError if Redis refuses to read the stream, and RedisError.
        """
        found: list[ReadEvent] = []
        while True:
            details = await self._schedule.look(members=0, events_after=self._seen, events=_PAGE)
            if details.events_refused:
                raise RedisUnusableError(
                    f"Redis refuses to read the stream {self._schedule.keys.events}: "
                    f"{one_line(details.events_refused, 300)}; see Permissions in docs/operations.md"
                )
            self.now_ms = details.now_ms
            for stored in details.events:
                self._seen = stored.id
                event = decode_event(stored.text)
                if event and (not self._monitor or event.is_about(self._monitor)):
                    found.append(ReadEvent(stored.id, event))
            if len(details.events) < _PAGE:
                return found


async def follow(reader: EventReader, report: Callable[[str], None]) -> AsyncIterator[ReadEvent]:
    """Yield each new event until canceled. `report` is called when Redis stops answering, and when it answers again."""
    failing_since: float | None = None
    while True:
        try:
            events = await reader.read()
        except RedisUnavailableError as error:
            events = []
            if failing_since is None:
                failing_since = time.monotonic()
                report(f"Redis does not answer, waiting: {error}")
        else:
            if failing_since is not None:
                report(f"Redis answers again after {duration(time.monotonic() - failing_since)}")
                failing_since = None
        for event in events:
            yield event
        await asyncio.sleep(FOLLOWED_EVERY_S)
