"""Ends runs on request: asynq's tools publish the id of a task to cancel."""

from contextlib import aclosing

import structlog

from peekaping_producer.errors import BROKER, BrokerError
from peekaping_producer.redis_client.client import Client
from peekaping_producer.redis_client.subscription import messages_of
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.isolation import describe
from peekaping_producer.service.loop import Loop
from peekaping_producer.transports.asynq.delivery import AsynqDelivery, Held
from peekaping_producer.transports.asynq.keys import CANCEL_CHANNEL
from peekaping_producer.transports.asynq.scripts import broker_errors
from peekaping_producer.transports.asynq.settling import Settler, retry_delay_s

CANCELED = "context canceled"
"""Go's words, which asynq's tools show."""

log = structlog.stdlib.get_logger()


class Cancellation:
    """A task that is canceled counts as failed: it is retried, or archived after its last attempt."""

    def __init__(self, redis: Client, dependencies: Dependencies, *, held: Held, settler: Settler) -> None:
        self.loop = Loop("asynq.cancellation", dependencies, uses=(BROKER,))
        self._redis = redis
        self._held = held
        self._settler = settler

    async def run(self) -> None:
        """Listen until canceled; subscribe again whenever the connection breaks."""
        await self.loop.run(self.run_once)

    async def run_once(self) -> float:
        """Subscribe and listen until the connection breaks, which raises BrokerError."""
        with broker_errors():
            async with aclosing(messages_of(self._redis, CANCEL_CHANNEL, on_step=self.loop.progressed)) as messages:
                async for message in messages:
                    self.loop.turn_succeeded()
                    if message["type"] == "message":
                        await self.cancel(message["data"].decode(errors="surrogateescape"))
        return 0.0

    async def cancel(self, task_id: str) -> None:
        """End the runs of tasks with this id, in any queue, and cancel their handlers."""
        for delivery in [delivery for delivery in self._held if delivery.message.id == task_id]:
            await self._cancel(delivery)

    async def _cancel(self, delivery: AsynqDelivery) -> None:
        try:
            await self._settler.fail(delivery, CANCELED, retry_delay_s(delivery.task))
        except BrokerError as error:
            log.warning(
                "task.uncanceled",
                message="Redis refused to end the run of a canceled task; it ends when its lease has expired.",
                task_id=delivery.message.id,
                error=describe(error),
            )
        self._held.lose(delivery)
