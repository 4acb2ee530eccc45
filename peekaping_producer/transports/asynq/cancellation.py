"""Ends runs on request: asynq's tools publish the id of a task to cancel."""

import time

import structlog

from peekaping_producer.errors import BROKER, BrokerError, BrokerUnavailableError
from peekaping_producer.redis_client.client import Client, Subscription
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.isolation import describe
from peekaping_producer.service.loop import Loop
from peekaping_producer.transports.asynq.delivery import AsynqDelivery, Held
from peekaping_producer.transports.asynq.keys import CANCEL_CHANNEL
from peekaping_producer.transports.asynq.scripts import broker_errors
from peekaping_producer.transports.asynq.settling import Settler

CANCELED = "context canceled"
"""Go's words, which asynq's tools show."""
_PING_EVERY_S = 10.0
_SILENT_FOR_S = 30.0

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
        pubsub = self._redis.pubsub()
        try:
            with broker_errors():
                await pubsub.subscribe(CANCEL_CHANNEL)
                await self._listen(pubsub)
        finally:
            with broker_errors():
                await pubsub.aclose()
        return 0.0

    async def _listen(self, pubsub: Subscription) -> None:
        heard_at = pinged_at = time.monotonic()
        while True:
            self.loop.progressed()
            message = await pubsub.get_message(timeout=1.0)
            now = time.monotonic()
            if message is not None:
                heard_at = now
                self.loop.turn_succeeded()
                if message["type"] == "message":
                    await self.cancel(message["data"].decode(errors="surrogateescape"))
            elif now - heard_at > _SILENT_FOR_S:
                raise BrokerUnavailableError("Redis: the subscription to asynq:cancel does not answer")
            elif now - pinged_at > _PING_EVERY_S:
                pinged_at = now
                await pubsub.ping()

    async def cancel(self, task_id: str) -> None:
        """End the runs of tasks with this id, in any queue, and cancel their handlers."""
        for delivery in [delivery for delivery in self._held if delivery.message.id == task_id]:
            await self._cancel(delivery)

    async def _cancel(self, delivery: AsynqDelivery) -> None:
        try:
            await self._settler.fail(delivery, CANCELED)
        except BrokerError as error:
            log.warning(
                "task.uncanceled",
                message="Redis refused to end the run of a canceled task; it ends when its lease has expired.",
                task_id=delivery.message.id,
                error=describe(error),
            )
        self._held.lose(delivery)
