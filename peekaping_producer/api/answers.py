"""What the API answers: the bodies of responses."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

import msgspec
from aiohttp import web

from peekaping_producer.web.refusals import RequestError

_JSON = {"Content-Type": "application/json"}


class Produced(msgspec.Struct, kw_only=True):
    """The broker has confirmed the message."""

    status: Literal["success"] = "success"
    message_id: str
    timestamp: str
    """UTC, as in 2024-01-01T00:00:00."""


class BatchProduced(msgspec.Struct, kw_only=True):
    """The broker has confirmed all messages of the batch."""

    status: Literal["success"] = "success"
    messages_produced: int


class State(msgspec.Struct):
    """Whether messages can be produced now."""

    status: Literal["healthy", "unhealthy"]
    timestamp: str
    """UTC, as in 2024-01-01T00:00:00."""


class Failure(msgspec.Struct, kw_only=True):
    """Why a request was refused. None of its messages is confirmed."""

    status: Literal["error"] = "error"
    error: str


def answer(body: msgspec.Struct, status: int = 200, headers: Mapping[str, str] = {}) -> web.Response:
    """A response with a JSON body."""
    return web.Response(
        body=msgspec.json.encode(body), status=status, headers={**_JSON, **headers} if headers else _JSON
    )


def refusal(error: RequestError) -> web.Response:
    """The response to a request that is refused."""
    return answer(Failure(error=error.reason), error.status, error.headers)


@lru_cache(maxsize=1)
def timestamp(now: int) -> str:
    """The Unix time `now` in UTC, as in 2024-01-01T00:00:00."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S")
