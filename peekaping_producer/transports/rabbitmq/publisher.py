"""The publisher for RabbitMQ: persistent messages, confirmed batch by batch, in order."""

import math
from collections import deque
from collections.abc import Sequence

import msgspec
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp.commands import Basic

from peekaping_producer.errors import BrokerError
from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.message import Message, id_problem
from peekaping_producer.transports.publisher import PublishResult
from peekaping_producer.transports.rabbitmq import topology
from peekaping_producer.transports.rabbitmq.connection import CALL_TIMEOUT_S, Session
from peekaping_producer.transports.rabbitmq.failures import translated
from peekaping_producer.transports.rabbitmq.frames import Batch, Publish, prepared
from peekaping_producer.transports.rabbitmq.outlet import BLOCKED, Outlet, TooLargeError, UnroutableError

_PERSISTENT = 2
_MAX_SHORT_BYTES = 255
_MIN_PART = 50
_TRIES = 3
"""For one call: the queue may have to be declared again, and the limit of the broker to be learned."""


class _Part(msgspec.Struct, eq=False):
    """Messages that were written together."""

    messages: Sequence[Message]
    accepted: list[int] = msgspec.field(default_factory=list)
    """The indices of those that were written; the others are refused."""
    refused: dict[int, str] = msgspec.field(default_factory=dict)
    batch: Batch | None = None
    """None if all are refused."""

    @property
    def is_done(self) -> bool:
        """Whether all outcomes have arrived."""
        return self.batch is None or self.batch.done.done()


class RabbitMqPublisher:
    """See Publisher."""

    def __init__(self, target: RabbitMqTarget, *, parts: int = 1) -> None:
        """`parts`: into how many a call divides its messages. It returns once the first part is settled.

        The next call has to begin with the others: they are written already, and the broker works on them meanwhile.
        Raises ConfigError for TLS files that cannot be used.
        """
        self._target = target
        self._exchange = topology.exchange(target)
        self._outlet = Outlet(target, f"publisher of {target.queue}", lambda each: topology.declare(each, target))
        self._parts = parts
        self._window: deque[_Part] = deque()
        """What is written and not settled."""
        self._window_session: Session | None = None
        self._max_body: int | None = None
        """The broker's limit, once it has refused a larger message."""

    async def open(self) -> None:
        """Connect, and declare the queue if it does not exist; see Publisher. Raises BrokerError."""
        await self._outlet.check()

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

    @property
    def blocked(self) -> str:
        """See Blockable."""
        return BLOCKED if self._outlet.connector.blocked else ""

    async def inspect(self) -> tuple[int, int]:
        """Return how many messages are ready in the queue, and its number of consumers. Raises BrokerError."""
        self._outlet.require_unblocked()
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
        if not self._is_continued(session, messages, start):
            session = await self._leave(session)
        self._window_session = session
        written = start + sum(len(part.messages) for part in self._window)
        if self._exchange and written < len(messages):
            await self._require_queue(session)
        size = max(math.ceil((len(messages) - start) / self._parts), _MIN_PART)
        for begin in range(written, len(messages), size):
            self._window.append(await self._write(session, messages[begin : begin + size]))
        return await self._settle(session, start, refused)

    def _is_continued(self, session: Session, messages: Sequence[Message], start: int) -> bool:
        """Whether the messages from `start` on begin with those of the window, in the same session."""
        for part in self._window:
            end = start + len(part.messages)
            if session is not self._window_session or messages[start:end] != part.messages:
                return False
            start = end
        return True

    async def _leave(self, session: Session) -> Session:
        """Forget the window; return a session on whose channel none of its messages waits for an outcome."""
        if session is self._window_session and any(not part.is_done for part in self._window):
            await self._outlet.connector.drop(session)
        self._window.clear()
        return await self._outlet.connector.session()

    async def _write(self, session: Session, messages: Sequence[Message]) -> _Part:
        """Write messages in one batch, without those that are refused. Raises BrokerError."""
        part = _Part(messages)
        publishes: list[Publish] = []
        for index, message in enumerate(messages):
            publish = self._prepared(session, message)
            if isinstance(publish, str):
                part.refused[index] = publish
            else:
                part.accepted.append(index)
                publishes.append(publish)
        if publishes:
            part.batch = await self._outlet.write(session, self._exchange, self._target.queue, publishes)
            part.batch.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        return part

    async def _settle(self, session: Session, start: int, refused: dict[int, str]) -> tuple[int, BrokerError | None]:
        """Wait for the first part of the window; return how many messages are settled, and why not the next one."""
        settled = start
        while self._window and (settled == start or self._window[0].is_done):
            part = self._window.popleft()
            confirmed, error = await self._outlet.outcome(session, part.batch) if part.batch else (0, None)
            refused.update((settled + index, reason) for index, reason in part.refused.items())
            if error:
                settled += part.accepted[confirmed]
                if isinstance(error, UnroutableError):
                    session = await self._leave(session)
                    with translated(self._target):
                        await topology.declare(session, self._target)
                return settled, error
            settled += len(part.messages)
        return settled, None

    def _prepared(self, session: Session, message: Message) -> Publish | str:
        """The message as frames, or why it is refused."""
        size = len(message.body)
        if problem := id_problem(message.id):
            return problem
        if self._max_body is not None and size > self._max_body:
            return f"body: expected at most {self._max_body} bytes (RabbitMQ's max_message_size), got {size}"
        try:
            properties = Basic.Properties(
                content_type=message.content_type, delivery_mode=_PERSISTENT, message_id=message.id
            )
            return prepared(session.channel.number, message.body, properties)
        except Exception:  # the library raises several kinds for a text that it cannot encode
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
