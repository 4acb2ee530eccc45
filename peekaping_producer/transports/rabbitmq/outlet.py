"""Confirmed publishing on a connection of its own: RabbitMQ blocks connections that publish, not those that consume."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from peekaping_producer.errors import BrokerError, BrokerUnavailableError
from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.rabbitmq import frames
from peekaping_producer.transports.rabbitmq.connection import Session
from peekaping_producer.transports.rabbitmq.connector import Connector
from peekaping_producer.transports.rabbitmq.failures import as_ours, max_size, translated
from peekaping_producer.transports.rabbitmq.frames import PENDING, Batch, Outcome, Publish

log = structlog.stdlib.get_logger()

_LOGGED_AFTER_S = 1.0
"""How long a blocked connection keeps a batch waiting before that is logged."""
BLOCKED = "RabbitMQ blocks publishers: its memory or disk space runs low"


class UnroutableError(BrokerUnavailableError):
    """The queue does not exist: declare it, then publish again."""


class TooLargeError(BrokerUnavailableError):
    """The broker closed the channel because of a body larger than `limit` bytes: publish the others again."""

    def __init__(self, message: str, limit: int) -> None:
        self.limit = limit
        super().__init__(message)


class Outlet:
    """Publishes, mandatory and with confirmations."""

    def __init__(
        self, target: RabbitMqTarget, name: str, prepare: Callable[[Session], Awaitable[None]] | None = None
    ) -> None:
        """As Connector."""
        self.connector = Connector(target, name, prepare)
        self._target = target
        self._is_block_logged = False

    async def check(self) -> None:
        """Require a connection that answers and is not blocked; connect if there is none. Raises BrokerError."""
        self.require_unblocked()
        await self.connector.check()

    def require_unblocked(self) -> None:
        """Raise BrokerUnavailableError while RabbitMQ blocks the connection: it answers nothing on it then."""
        if self.connector.blocked:
            raise BrokerUnavailableError(f"RabbitMQ at {self._target}: {BLOCKED}")

    async def publish(
        self, session: Session, exchange: str, routing_key: str, messages: Sequence[Publish]
    ) -> tuple[int, BrokerError | None]:
        """Return how many, from the first, are confirmed, and why not the next one.

        An error of the connection ends the session.
        """
        try:
            batch = await self.write(session, exchange, routing_key, messages)
        except BrokerError as error:
            return 0, error
        return await self.outcome(session, batch)

    async def write(self, session: Session, exchange: str, routing_key: str, messages: Sequence[Publish]) -> Batch:
        """Write a batch. Raises BrokerError, and then ends the session."""
        async with self._ended_by_errors(session):
            return await frames.publish(session.channel, exchange, routing_key, messages)

    async def outcome(self, session: Session, batch: Batch) -> tuple[int, BrokerError | None]:
        """Wait for the confirmations of a batch; return as `publish` does."""
        failure: BrokerError | None = None
        try:
            async with self._ended_by_errors(session):
                await self._confirmed(session, batch)
        except BrokerError as error:
            failure = error
        outcomes = batch.outcomes
        confirmed = next((index for index, outcome in enumerate(outcomes) if outcome is not None), len(outcomes))
        if confirmed == len(outcomes):
            return confirmed, None
        return confirmed, self._reason(outcomes[confirmed]) or failure

    @asynccontextmanager
    async def _ended_by_errors(self, session: Session) -> AsyncIterator[None]:
        """Raise errors as BrokerError; they end the session."""
        try:
            with translated(self._target):
                yield
        except BrokerError as error:
            await self.connector.drop(session)
            raise self._named(error) from error
        except BaseException:  # also if it is canceled: a batch that is written in part leaves the channel unusable
            session.abort()
            raise

    async def _confirmed(self, session: Session, batch: Batch) -> None:
        """Wait until each message of the batch is confirmed or refused. Raises BrokerUnavailableError."""
        limit_s = self._target.blocked_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.wait({batch.done}, timeout=_LOGGED_AFTER_S)
                if not batch.done.done() and session.blocked and not self._is_block_logged:
                    self._is_block_logged = True
                    message = f"{BLOCKED}. Publishing waits."
                    log.warning("rabbitmq.blocked", message=message, server=str(self._target))
                await batch.done
        except TimeoutError:
            why = "RabbitMQ blocks publishers, " if session.blocked else ""
            raise BrokerUnavailableError(
                f"RabbitMQ at {self._target}: {why}no confirmation within {limit_s:g} s (RABBITMQ_BLOCKED_TIMEOUT)"
            ) from None
        if self._is_block_logged:
            self._is_block_logged = False
            log.info("rabbitmq.unblocked", message="RabbitMQ accepts messages again.", server=str(self._target))

    def _named(self, error: BrokerError) -> BrokerError:
        limit = max_size(error)
        return error if limit is None else TooLargeError(str(error), limit)

    def _reason(self, outcome: Outcome) -> BrokerError | None:
        """Why a message was not accepted; None if that is unknown."""
        match outcome:
            case PublishError():
                return UnroutableError(f"RabbitMQ at {self._target}: no queue for the message: {outcome.args[0]}")
            case DeliveryError(frame=Basic.Nack()):
                text = "a message was refused (basic.nack): the queue is full, or failed"
                return BrokerUnavailableError(f"RabbitMQ at {self._target}: {text}")
        return None if outcome is PENDING or outcome is None else as_ours(outcome, self._target)
