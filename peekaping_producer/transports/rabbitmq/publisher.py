"""The publisher for RabbitMQ: persistent messages, confirmed batch by batch, in order."""

from collections.abc import Sequence

from aiormq.exceptions import ChannelNotFoundEntity
from pamqp.commands import Basic

from peekaping_producer.errors import BrokerError
from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.message import Message, id_problem
from peekaping_producer.transports.publisher import PublishResult
from peekaping_producer.transports.rabbitmq import topology
from peekaping_producer.transports.rabbitmq.connection import CALL_TIMEOUT_S, Session
from peekaping_producer.transports.rabbitmq.failures import translated
from peekaping_producer.transports.rabbitmq.frames import Publish, prepared
from peekaping_producer.transports.rabbitmq.outlet import Outlet, TooLargeError, UnroutableError

_PERSISTENT = 2
_MAX_SHORT_BYTES = 255
_TRIES = 3
"""For one call: the queue may have to be declared again, and the limit of the broker to be learned."""


class RabbitMqPublisher:
    """See Publisher. The first call after an error connects again, so `open` is needed for its errors only."""

    def __init__(self, target: RabbitMqTarget) -> None:
        """Raises ConfigError for TLS files that cannot be used."""
        self._target = target
        self._exchange = topology.exchange(target)
        self._outlet = Outlet(target, f"publisher of {target.queue}", lambda each: topology.declare(each, target))
        self._max_body: int | None = None
        """The broker's limit, once it has refused a larger message."""

    async def open(self) -> None:
        """Connect, and declare the queue if it does not exist. Raises BrokerError."""
        await self._outlet.connector.session()

    async def publish(self, messages: Sequence[Message]) -> PublishResult:
        """Publish in this order; see Publisher.

        A queue that was deleted is declared again. A message that is too large for the broker, or whose id or content
        type cannot be sent, is refused.
        """
        settled, error = 0, None
        refused: dict[int, str] = {}
        for _ in range(_TRIES):
            try:
                settled, error = await self._publish_from(settled, messages, refused)
            except BrokerError as failed:
                error = failed
            if isinstance(error, TooLargeError):
                self._max_body = error.limit
            elif not isinstance(error, UnroutableError):
                break
        if error and not settled:
            raise error
        return PublishResult(settled, {index: reason for index, reason in refused.items() if index < settled})

    async def inspect(self) -> tuple[int, int]:
        """Return how many messages are ready in the queue, and its number of consumers. Raises BrokerError."""
        session = await self._outlet.connector.session()
        with translated(self._target):
            channel = await session.new_channel()
            declared = await channel.queue_declare(self._target.queue, passive=True, timeout=CALL_TIMEOUT_S)
            await channel.close()
        return declared.message_count or 0, declared.consumer_count or 0

    async def close(self) -> None:
        """Close the connection; never raises."""
        await self._outlet.connector.close()

    async def _publish_from(
        self, start: int, messages: Sequence[Message], refused: dict[int, str]
    ) -> tuple[int, BrokerError | None]:
        """Publish from `start` on; return how many are settled, and why not the next one. Raises BrokerError."""
        session = await self._outlet.connector.session()
        if self._exchange:
            await self._require_queue(session)
        accepted: list[int] = []
        publishes: list[Publish] = []
        for index in range(start, len(messages)):
            publish = self._prepared(session, messages[index])
            if isinstance(publish, str):
                refused[index] = publish
            else:
                accepted.append(index)
                publishes.append(publish)
        if not publishes:
            return len(messages), None
        confirmed, error = await self._outlet.publish(session, self._exchange, self._target.queue, publishes)
        if isinstance(error, UnroutableError):
            with translated(self._target):
                await topology.declare(session, self._target)
        return (len(messages) if confirmed == len(accepted) else accepted[confirmed]), error

    def _prepared(self, session: Session, message: Message) -> Publish | str:
        """The message as frames, or why it is refused."""
        size = len(message.body)
        if problem := id_problem(message.id):
            return f"id: {problem}"
        if self._max_body is not None and size > self._max_body:
            return f"body: expected at most {self._max_body} bytes (RabbitMQ's max_message_size), got {size}"
        try:
            properties = Basic.Properties(
                content_type=message.content_type, delivery_mode=_PERSISTENT, message_id=message.id
            )
            return prepared(session.channel.number, message.body, properties)
        except Exception:
            return f"content_type: expected a text of at most {_MAX_SHORT_BYTES} bytes in UTF-8"

    async def _require_queue(self, session: Session) -> None:
        """Declare the queue again if it was deleted: the exchange would route to the copy alone. Raises BrokerError."""
        channel = await session.new_channel()
        try:
            await channel.queue_declare(self._target.queue, passive=True, timeout=CALL_TIMEOUT_S)
        except ChannelNotFoundEntity:
            await topology.declare(session, self._target)
        else:
            await channel.close()
