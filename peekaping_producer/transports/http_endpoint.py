"""One HTTP endpoint: requests with a time limit and redirects on the same server only. Nothing is repeated."""

import contextlib
import email.utils
import os
import ssl
import time
from asyncio import timeout
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit, urlunsplit

import aiohttp
import msgspec

from peekaping_producer.errors import BrokerRefusedError, BrokerUnavailableError
from peekaping_producer.service.text import one_line
from peekaping_producer.targets import HttpTarget

MAX_RETRY_AFTER_S = 300.0
MAX_REDIRECTS = 5
MAX_BODY_BYTES = 64 * 1024
_MAX_BODY_S = 1.0
_KEEPS_METHOD = frozenset({307, 308})


class HttpAnswer(msgspec.Struct, frozen=True):
    """What the endpoint answered: the status, and of the body what arrived in time, MAX_BODY_BYTES at most."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The beginning of the body, on one line."""
        return one_line(self.body.decode(errors="replace"))

    @property
    def retry_after_s(self) -> float | None:
        """The wait that the endpoint requires, up to MAX_RETRY_AFTER_S; None without a usable Retry-After."""
        return _retry_after_s(self.headers.get("Retry-After"))


class HttpEndpoint:
    """Posts to one URL over connections that stay open."""

    def __init__(self, target: HttpTarget) -> None:
        self._target = target
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        """Post `body` and return the answer, whatever its status.

        Raises BrokerUnavailableError if there is none within the time limit of the target, and BrokerRefusedError for
        a URL, a certificate or a redirect that cannot be used. Another server gets no request: token and body are not
        for it.
        """
        url = self._target.url
        answer = await self._request(url, body, headers)
        for _ in range(MAX_REDIRECTS - 1):
            if answer.status not in _KEEPS_METHOD or "Location" not in answer.headers:
                break
            url = self._same_origin(url, answer.headers["Location"])
            answer = await self._request(url, body, headers)
        return answer

    def connected(self) -> aiohttp.ClientSession:
        """The session, which is created at the first call and keeps connections open."""
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

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session:
            await session.close()

    async def _request(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        try:
            async with self.connected().post(url, data=body, headers=headers, allow_redirects=False) as response:
                return HttpAnswer(response.status, response.headers, await _beginning(response))
        except TimeoutError:
            raise BrokerUnavailableError(f"{self._target}: no answer within {self._target.timeout_s:g} s") from None
        except aiohttp.InvalidURL:
            raise BrokerRefusedError(f"{self._target}: expected an http:// or https:// URL") from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise BrokerRefusedError(f"{self._target}: {one_line(str(error))}") from None
        except aiohttp.ClientConnectorError as error:
            raise BrokerUnavailableError(f"{self._target}: cannot connect: {_reason(error.os_error)}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise BrokerUnavailableError(f"{self._target}: {type(error).__name__}: {one_line(str(error))}") from None

    def _same_origin(self, url: str, location: str) -> str:
        """The URL of a redirect. Raises BrokerRefusedError for one to another server."""
        ours = urlsplit(self._target.url)
        try:
            theirs = urlsplit(urljoin(url, location))
            is_same = (theirs.scheme, theirs.hostname, theirs.port) == (ours.scheme, ours.hostname, ours.port)
        except ValueError:
            where = one_line(location)
            raise BrokerRefusedError(f"{self._target}: redirects to {where}, which is no URL") from None
        if not is_same:
            raise BrokerRefusedError(
                f"{self._target}: redirects to {theirs.scheme}://{theirs.hostname}; set the URL of the final endpoint"
            )
        return urlunsplit(theirs._replace(netloc=ours.netloc))  # with user and password


def _reason(error: OSError) -> str:
    """Why no connection was made."""
    if (error.errno or 0) > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno or 0)  # asyncio makes one text of all its errors
    return one_line(error.strerror or str(error))


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of the body. The status decides, so a body that is long, slow or damaged is given up.

    A connection is used again only if the body was read to its end.
    """
    body = b""
    with contextlib.suppress(aiohttp.ClientError, OSError):
        async with timeout(_MAX_BODY_S):
            while len(body) < MAX_BODY_BYTES and (piece := await response.content.read(MAX_BODY_BYTES)):
                body += piece
    return body[:MAX_BODY_BYTES]


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
