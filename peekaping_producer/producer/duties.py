"""What only the leader does: listen to events, follow hints, and sync."""

import asyncio

from peekaping_producer.producer.loops.events import EventListener
from peekaping_producer.producer.loops.hints import Hints
from peekaping_producer.producer.loops.sync import Sync
from peekaping_producer.service.aio import cancel_and_wait


class LeaderDuties:
    """Three loops that run for the length of a term."""

    def __init__(self, events: EventListener, hints: Hints, sync: Sync) -> None:
        self._events = events
        self._hints = hints
        self._sync = sync

    async def run(self, term: str) -> None:
        """Run until canceled. Raises StaleTermError when Redis refuses a write of this term."""
        tasks = [
            asyncio.create_task(self._events.run(), name="events"),
            asyncio.create_task(self._hints.run(term), name="hints"),
            asyncio.create_task(self._sync.run(term), name="sync"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await cancel_and_wait(*tasks)
