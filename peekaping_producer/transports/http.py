"""Publishes over HTTP: one POST for each message, with the message's id as Idempotency-Key."""

import asyncio
from collections.abc import Sequence
from urllib.parse import quote

import stamina
import stamina.instrumentation
import structlog

from peekaping_producer.errors import BrokerError, BrokerRefusedError, BrokerUnavailableError, ItemError
from peekaping_producer.targets import HttpTarget
from peekaping_producer.transports.http_endpoint import HttpEndpoint
from peekaping_producer.transports.message import Message, id_problem
from peekaping_producer.transports.publisher import PublishResult

_REFUSES_MESSAGE = frozenset({400, 409, 413, 414, 415, 422, 431})
"""The endpoint will answer the same for this message, and not for others."""
_RETRIED = frozenset({408, 425, 429, *range(500, 600)})
_SAFE_IN_ID = "!#$&'()*+,/:;=?@[]~ "
"""Other characters of an id are percent-encoded: a header is ASCII."""

log = structlog.stdlib.get_logger()
stamina.instrumentation.set_on_retry_hooks(())  # attempts are logged here, with their statuses


class _MessageRefusedError(ItemError):
    """The endpoint refused one message for good."""


class _RetriedStatusError(BrokerUnavailableError):
    """The endpoint may accept the message later; `retry_after_s` is the wait that it requires."""

    def __init__(self, message: str, retry_after_s: float | None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class HttpPublisher:
    """A Publisher that posts to one URL over connections that stay open."""

    def __init__(self, target: HttpTarget) -> None:
        self._target = target
        self._endpoint = HttpEndpoint(target)

    async def open(self) -> None:
        """See Publisher. Nothing is sent: an endpoint has no standard request that changes nothing."""
        self._endpoint.connected()

    async def publish(self, messages: Sequence[Message]) -> PublishResult:
        """See Publisher. Each message is tried `attempts` times; then the others wait, too."""
        refused: dict[int, str] = {}
        settled = 0
        while settled < len(messages):
            window = messages[settled : settled + self._target.in_flight]
            outcomes = await asyncio.gather(*(self._post(message) for message in window), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, _MessageRefusedError):
                    refused[settled] = str(outcome)
                elif isinstance(outcome, BaseException):
                    if isinstance(outcome, BrokerError) and settled:
                        return PublishResult(settled, refused)
                    raise outcome
                settled += 1
        return PublishResult(settled, refused)

    async def close(self) -> None:
        """See Publisher."""
        await self._endpoint.close()

    async def _post(self, message: Message) -> None:
        """Post until it is confirmed. Raises _MessageRefusedError, BrokerUnavailableError or BrokerRefusedError."""
        if problem := id_problem(message.id):
            raise _MessageRefusedError(problem)

        try:
            await self._repeat(message)
        except _RetriedStatusError as error:
            raise BrokerUnavailableError(str(error)) from None

    async def _repeat(self, message: Message) -> None:
        async for attempt in stamina.retry_context(
            on=self._wait_after,
            attempts=self._target.attempts,
            timeout=None,
            wait_initial=self._target.retry_delay_s,
            wait_max=self._target.retry_delay_s,
            wait_jitter=0,
        ):
            with attempt:
                await self._attempt(message)

    @staticmethod
    def _wait_after(error: Exception) -> bool | float:
        """Whether to try again after an error, or the seconds to wait before."""
        if not isinstance(error, BrokerUnavailableError):
            return False
        log.debug("http.attempt_failed", message="The endpoint did not accept a message.", error=str(error))
        retry_after_s = error.retry_after_s if isinstance(error, _RetriedStatusError) else None
        return True if retry_after_s is None else retry_after_s

    async def _attempt(self, message: Message) -> None:
        headers = {"Content-Type": message.content_type, "Idempotency-Key": quote(message.id, safe=_SAFE_IN_ID)}
        answer = await self._endpoint.post(message.body, headers)
        if answer.status in self._target.success:
            return
        shown = f"{self._target}: status {answer.status}" + (f": {answer.text}" if answer.body else "")
        if answer.status in _REFUSES_MESSAGE:
            raise _MessageRefusedError(shown)
        if answer.status in _RETRIED:
            raise _RetriedStatusError(shown, answer.retry_after_s)
        raise BrokerRefusedError(shown)
