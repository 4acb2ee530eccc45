"""What every request passes: a limit for bodies, errors as JSON, and the headers that confine the page."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import structlog
from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

from peekaping_producer.ui.answers import error_answer
from peekaping_producer.web.malformed import silence_malformed_requests
from peekaping_producer.web.refusals import RequestError

log = structlog.stdlib.get_logger()
silence_malformed_requests()

MAX_BODY_BYTES = 16 * 1024
BODY_TIMEOUT_S = 5.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "peekaping-producer",
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add HEADERS to a response just before it is sent; a stream sends its headers long before its handler returns."""
    response.headers.update(HEADERS)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer each error with a document. An unforeseen one ends this request alone."""
    try:
        return await handler(request)
    except RequestError as error:
        return error_answer(error)
    except web.HTTPException as error:
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return error_answer(RequestError(HTTPStatus(error.status), f"{error.reason}.", headers=allow))
    except Exception as error:  # one request ends no other; answered with 500 and logged
        if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
            return error_answer(RequestError(HTTPStatus.BAD_REQUEST, "The client has gone."))  # it gets no answer
        log.error("ui.request_failed", message="An unforeseen error ended a request of the page.", exc_info=error)
        return error_answer(RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "An unforeseen error of the server."))


@web.middleware
async def read_bodies(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the body of a POST, which is small and must arrive soon; refuse that of any other request."""
    if request.body_exists:
        if request.method != "POST":
            raise RequestError(HTTPStatus.BAD_REQUEST, "body: expected none, got one.", headers={"Connection": "close"})
        await _read(request)
    return await handler(request)


async def _read(request: web.Request) -> None:
    """Read the body; the request keeps it for its handler."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            await request.read()
    except TimeoutError:
        sentence = f"body: expected all of it within {BODY_TIMEOUT_S:g} s, got a part."
        raise RequestError(HTTPStatus.REQUEST_TIMEOUT, sentence, headers={"Connection": "close"}) from None
    except (ClientPayloadError, HttpProcessingError, web.RequestPayloadError):
        raise RequestError(HTTPStatus.BAD_REQUEST, "body: expected the bytes that its headers announce.") from None


MIDDLEWARES: tuple[Middleware, ...] = (errors_as_json, read_bodies)
"""In order: the first encloses the others."""
