"""What only the leader does: listen to events, follow hints, and sync."""

import asyncio

from peekaping_producer.producer.loops.events import EventListener
from peekaping_producer.producer.loops.hints import Hints
from peekaping_producer.producer.loops.sync import Sync
from peekaping_producer.service.aio import cancel_and_wait


async def run_duties(events: EventListener, hints: Hints, sync: Sync, term: str) -> None:
    """Run the three loops until canceled. Raises StaleTermError when Redis refuses a write of this term."""
    tasks = [
        asyncio.create_task(events.run(), name="events"),
        asyncio.create_task(hints.run(term), name="hints"),
        asyncio.create_task(sync.run(term), name="sync"),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancel_and_wait(*tasks)
