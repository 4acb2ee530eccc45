"""Publishes over HTTP: one POST for each message, with the message's id as Idempotency-Key."""

import asyncio
import contextlib
import email.utils
import time
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
import stamina
import stamina.instrumentation
import structlog

from peekaping_producer.errors import BrokerError, BrokerRefusedError, BrokerUnavailableError, ItemError
from peekaping_producer.service.text import one_line
from peekaping_producer.targets import HttpTarget
from peekaping_producer.transports.message import Message, id_problem
from peekaping_producer.transports.publisher import PublishResult

MAX_RETRY_AFTER_S = 300.0
MAX_REDIRECTS = 5
MAX_SHOWN_BYTES = 800
"""Of a response: what a message quotes is shorter."""
_MAX_BODY_BYTES = 64 * 1024
_MAX_BODY_S = 1.0
_REFUSES_MESSAGE = frozenset({400, 409, 413, 414, 415, 422, 431})
"""The endpoint will answer the same for this message, and not for others."""
_RETRIED = frozenset({408, 425, 429, *range(500, 600)})
_KEEPS_METHOD = frozenset({307, 308})
_SAFE_IN_ID = "!#$&'()*+,/:;=?@[]~ "
"""Other characters of an id are percent-encoded: a header is ASCII."""

log = structlog.stdlib.get_logger()
stamina.instrumentation.set_on_retry_hooks(())  # attempts are logged here, with their statuses


class _MessageRefusedError(ItemError):
    """The endpoint refused one message for good."""


class _AttemptError(BrokerUnavailableError):
    """One attempt failed; `retry_after_s` is the wait that the endpoint requires."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class HttpPublisher:
    """A Publisher that posts to one URL over connections that stay open."""

    def __init__(self, target: HttpTarget) -> None:
        self._target = target
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """See Publisher. Nothing is sent: an endpoint has no standard request that changes nothing."""
        self._connected()

    def _connected(self) -> aiohttp.ClientSession:
        """The session, which keeps connections open."""
        if self._session:
            return self._session
        headers = {"User-Agent": self._target.user_agent}
        if self._target.token:
            headers["Authorization"] = f"Bearer {self._target.token}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(self._target.timeout_s),
            connector=aiohttp.TCPConnector(limit=self._target.in_flight),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session

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
        session, self._session = self._session, None
        if session:
            await session.close()

    async def _post(self, message: Message) -> None:
        """Post until it is confirmed. Raises _MessageRefusedError, BrokerUnavailableError or BrokerRefusedError."""
        if problem := id_problem(message.id):
            raise _MessageRefusedError(problem)

        try:
            await self._repeat(message)
        except _AttemptError as error:
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
        if not isinstance(error, _AttemptError):
            return False
        log.debug("http.attempt_failed", message="The endpoint did not accept a message.", error=str(error))
        return True if error.retry_after_s is None else error.retry_after_s

    async def _attempt(self, message: Message) -> None:
        url = self._target.url
        for _ in range(MAX_REDIRECTS):
            status, headers, text = await self._request(url, message)
            if status in self._target.success:
                return
            if status not in _KEEPS_METHOD or "Location" not in headers:
                break
            url = self._same_origin(url, headers["Location"])
        shown = f"{self._target}: status {status}" + (f": {text}" if text else "")
        if status in _REFUSES_MESSAGE:
            raise _MessageRefusedError(shown)
        if status in _RETRIED:
            raise _AttemptError(shown, _retry_after_s(headers.get("Retry-After")))
        raise BrokerRefusedError(shown)

    async def _request(self, url: str, message: Message) -> tuple[int, Mapping[str, str], str]:
        """One request; returns status, headers, and the beginning of the body if the status is no success."""
        headers = {"Content-Type": message.content_type, "Idempotency-Key": quote(message.id, safe=_SAFE_IN_ID)}
        try:
            async with self._connected().post(
                url, data=message.body, headers=headers, allow_redirects=False
            ) as response:
                body = await _beginning(response)
                return response.status, response.headers, one_line(body.decode(errors="replace"))
        except TimeoutError:
            raise _AttemptError(f"{self._target}: no answer within {self._target.timeout_s:g} s") from None
        except aiohttp.InvalidURL:
            raise BrokerRefusedError(f"{self._target}: expected an http:// or https:// URL") from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise BrokerRefusedError(f"{self._target}: {one_line(str(error))}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _AttemptError(f"{self._target}: {type(error).__name__}: {one_line(str(error))}") from None

    def _same_origin(self, url: str, location: str) -> str:
        """The URL of a redirect. Another host gets no message: the token and the body are not for it."""
        ours = urlsplit(self._target.url)
        try:
            target = urljoin(url, location)
            theirs = urlsplit(target)
        except ValueError:
            where = one_line(location)
            raise BrokerRefusedError(f"{self._target}: redirects to {where}, which is no URL") from None
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            raise BrokerRefusedError(
                f"{self._target}: redirects to {theirs.scheme}://{theirs.hostname}; set the URL of the final endpoint"
            )
        return target


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """What a message may quote of the body. The status decides, so a body that is long, slow or damaged is given up.

    A connection is used again only if the body was read to its end.
    """
    body = b""
    with contextlib.suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(_MAX_BODY_S):
            while len(body) < _MAX_BODY_BYTES and (piece := await response.content.read(_MAX_BODY_BYTES)):
                body += piece
    return body[:MAX_SHOWN_BYTES]


def _retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which contains a number or a date; None for anything else."""
    if value is None:
        return None
    try:
        if value.isdigit():
            seconds = float(value)
        else:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
