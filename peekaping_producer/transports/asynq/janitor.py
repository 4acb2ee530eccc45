"""Deletes completed tasks whose retention is over."""

from peekaping_producer.transports.asynq.periodic import Periodic

_BATCH = 100


class Janitor(Periodic):
    """As asynq's janitor. Several may run at once."""

    name = "asynq.janitor"
    every_s = 8.0

    async def run_once(self) -> None:
        """Delete all that have expired, 100 in a call."""
        for keys in self._queues:
            while await self._scripts.run("delete_expired", (keys.completed,), (keys.prefix, _BATCH), int):
                self.loop.progressed()
