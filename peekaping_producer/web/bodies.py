"""Bodies of requests: JSON in UTF-8, not compressed, of a limited size. Each function raises RequestError."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from peekaping_producer.web.refusals import RequestError

T = TypeVar("T")

_JSON = "application/json"
_IDENTITY = "identity"
"""Not compressed: a few bytes of a compressed body may become megabytes before its size can be checked."""
_CHARSETS = frozenset({None, "utf-8", "utf8", "us-ascii"})
decode_any: Callable[[bytes | msgspec.Raw], Any] = msgspec.json.Decoder().decode


def check_headers(request: web.BaseRequest, max_bytes: int, setting: str = "") -> None:
    """Check what the headers announce. `max_bytes`: of the body; `setting`: the one that limits them."""
    given = request.headers.get("Content-Type")
    if given != _JSON and (request.content_type != _JSON or _charset(request) not in _CHARSETS):
        reason = f"Content-Type: expected application/json in UTF-8, got {repr(given) if given else 'none'}"
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, reason)
    if (encoding := request.headers.get("Content-Encoding", _IDENTITY)).lower() != _IDENTITY:
        reason = f"Content-Encoding: expected a body that is not compressed, got {encoding!r}"
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, reason, headers={"Accept-Encoding": _IDENTITY})
    if (request.content_length or 0) > max_bytes:
        raise too_large(max_bytes, setting)


def too_large(max_bytes: int, setting: str = "") -> RequestError:
    """Return the error of a body that is too large."""
    limit, remedy = (f" ({setting})", "; send smaller batches") if setting else ("", "")
    reason = f"body: expected at most {max_bytes} bytes{limit}, got more{remedy}"
    return RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)


async def read(request: web.BaseRequest, max_bytes: int, setting: str = "") -> bytes:
    """Return the body, whose headers have been checked."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise too_large(max_bytes, setting) from None
    except (ClientPayloadError, HttpProcessingError, web.RequestPayloadError, ConnectionError):
        reason = "body: expected the bytes that its headers announce, got others"
        raise RequestError(HTTPStatus.BAD_REQUEST, reason) from None


def decoded(body: bytes, decode: Callable[[bytes], T]) -> T:
    """Return what `decode`, of msgspec, makes of the body: 400 if it is not JSON, 422 if its shape is another."""
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        try:
            decode_any(body)
        except msgspec.ValidationError:
            pass  # JSON with a number out of range, for example: the first error has the path
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as malformed_error:
            raise malformed(malformed_error) from None
        raise invalid(located(str(error), "$")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(error) from None


def located(problem: str, path: str) -> str:
    """Return an error of msgspec, which ends with a path that begins with $, as `PATH: problem`."""
    text, _, inner = problem.partition(" - at `$")
    return f"{path}{inner.rstrip('`')}: {text[:1].lower()}{text[1:]}"


def invalid(problem: str) -> RequestError:
    """Return the error of JSON with another shape."""
    return RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, problem)


def malformed(error: Exception) -> RequestError:
    """Return the error of a body that is not JSON."""
    match error:
        case RecursionError():
            reason = "it is nested too deeply"
        case UnicodeDecodeError():
            reason = "it is not UTF-8"
        case _:
            reason = str(error)
    return RequestError(HTTPStatus.BAD_REQUEST, f"body: expected JSON, got something else ({reason})")


def _charset(request: web.BaseRequest) -> str | None:
    charset = request.charset
    return charset.lower() if charset else None
