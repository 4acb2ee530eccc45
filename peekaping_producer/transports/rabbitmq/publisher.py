"""The publisher for RabbitMQ: persistent messages, confirmed batch by batch, in order."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from aiormq.exceptions import ChannelNotFoundEntity

from peekaping_producer.errors import BrokerError
from peekaping_producer.targets import RabbitMqTarget
from peekaping_producer.transports.message import Message, id_problem
from peekaping_producer.transports.publisher import PublishResult
from peekaping_producer.transports.rabbitmq import topology
from peekaping_producer.transports.rabbitmq.connection import CALL_TIMEOUT_S, Session
from peekaping_producer.transports.rabbitmq.failures import translated
from peekaping_producer.transports.rabbitmq.frames import Batch, Publish, persistent
from peekaping_producer.transports.rabbitmq.outlet import BLOCKED, Outlet, TooLargeError, UnroutableError

_MAX_SHORT_BYTES = 255
_PARTS = 4
"""Of the window, or of what there is for it: each is written, confirmed and settled alone."""
_MIN_PART = 50
_TRIES = 3
"""For one call: the queue may have to be declared again, and the limit of the broker to be learned."""


class _Part(msgspec.Struct, eq=False):
    """Messages that are written together."""

    messages: Sequence[Message]
    publishes: list[Publish] = msgspec.field(default_factory=list)
    accepted: list[int] = msgspec.field(default_factory=list)
    """The indices of those to write; the others are refused."""
    refused: dict[int, str] = msgspec.field(default_factory=dict)
    is_written: bool = False
    batch: Batch | None = None
    """None if it is not written, or if all are refused."""

    @property
    def is_done(self) -> bool:
        """Whether all outcomes have arrived."""
        return self.is_written and (self.batch is None or self.batch.done.done())


class RabbitMqPublisher:
    """See Publisher."""

    def __init__(self, target: RabbitMqTarget, *, window: int | None = None) -> None:
        """`window`: how many messages may be written and not confirmed; a call returns once the first are settled.

        The next call has to begin with the others: the broker works on them meanwhile. To keep the broker busy, pass
        twice as many: the others are prepared while the first wait for their confirmation. Without a window, a call
        writes all of its messages, and settles all. Raises ConfigError for TLS files that cannot be used.
        """
        self._target = target
        self._exchange = topology.exchange(target)
        self._outlet = Outlet(target, f"publisher of {target.queue}", lambda session: topology.declare(session, target))
        self._window = window
        self._parts: deque[_Part] = deque()
        """What is not settled: first the parts that are written, then those that are prepared."""
        self._session: Session | None = None
        """That of the parts."""
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
        self._session = session
        prepared = start + sum(len(part.messages) for part in self._parts)
        if self._exchange and prepared < len(messages):
            await self._require_queue(session)
        await self._fill_window(session)
        await self._prepare(session, messages[prepared:], self._part_size(len(messages) - start))
        settled, error = await self._settle(session, start, refused)
        if error is None:
            with suppress(BrokerError):  # it has ended the session: the next call opens another
                await self._fill_window(session)  # the broker works on these while the caller handles what is settled
        return settled, error

    def _is_continued(self, session: Session, messages: Sequence[Message], start: int) -> bool:
        """Whether the messages from `start` on begin with those of the parts, in the same session."""
        for part in self._parts:
            end = start + len(part.messages)
            if session is not self._session or messages[start:end] != part.messages:
                return False
            start = end
        return True

    async def _leave(self, session: Session) -> Session:
        """Forget the parts; return a session on whose channel none of their messages waits for an outcome."""
        if session is self._session and any(part.is_written and not part.is_done for part in self._parts):
            await self._outlet.connector.drop(session)
        self._parts.clear()
        return await self._outlet.connector.session()

    def _part_size(self, count: int) -> int:
        return max(min(count, self._window) // _PARTS, min(self._window, _MIN_PART)) if self._window else count

    async def _prepare(self, session: Session, messages: Sequence[Message], size: int) -> None:
        """Divide messages into parts of this size, and write those that the window has room for. Raises BrokerError."""
        for begin in range(0, len(messages), size):
            if begin:
                await asyncio.sleep(0)  # the part before is sent while this one is prepared
            self._parts.append(self._part(session, messages[begin : begin + size]))
            await self._fill_window(session)

    async def _fill_window(self, session: Session) -> None:
        """Write the next parts that the window has room for. Raises BrokerError."""
        written = 0
        for part in self._parts:
            written += len(part.messages)
            if not part.is_written and (self._window is None or written <= self._window):
                await self._write(session, part)

    def _part(self, session: Session, messages: Sequence[Message]) -> _Part:
        part = _Part(messages)
        for index, message in enumerate(messages):
            publish = self._prepared(session, message)
            if isinstance(publish, str):
                part.refused[index] = publish
            else:
                part.accepted.append(index)
                part.publishes.append(publish)
        return part

    async def _write(self, session: Session, part: _Part) -> None:
        """Write a part in one batch, without what is refused. Raises BrokerError."""
        if part.publishes:
            part.batch = await self._outlet.write(session, self._exchange, self._target.queue, part.publishes)
            part.batch.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        part.is_written = True
        part.publishes = []

    async def _settle(self, session: Session, start: int, refused: dict[int, str]) -> tuple[int, BrokerError | None]:
        """Wait for the first part; return how many messages are settled, and why not the next one."""
        settled = start
        while self._parts and (settled == start or self._parts[0].is_done):
            part = self._parts.popleft()
            assert part.is_written
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
            return persistent(session.channel, message)
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
