"""Makes tasks pending whose time has come: scheduled ones, and those that wait for a retry."""

from peekaping_producer.transports.asynq.periodic import Periodic

_BATCH = 100


class Forwarder(Periodic):
    """As asynq's forwarder. Several may run at once."""

    name = "asynq.forwarder"
    every_s = 5.0

    async def run_once(self) -> None:
        """Move all that are due, 100 in a call."""
        for keys in self._queues:
            for delayed in (keys.scheduled, keys.retry):
                while await self._scripts.run("forward", (delayed, keys.pending), (keys.prefix, _BATCH), int):
                    self.loop.progressed()
