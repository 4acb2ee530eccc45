"""Answers of the page's server: JSON documents, and errors as documents."""

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from peekaping_producer.web.refusals import RequestError

VERSION = 1
"""Of the documents: incremented when a field changes its meaning or is removed."""
_COMPRESS_FROM = 1000
"""Bytes; a shorter body is sent as it is."""
_HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store"}


def answer(document: Any, status: int = 200, headers: Mapping[str, str] = {}) -> web.Response:
    """Return a response with a JSON body, compressed if the client accepts that and it is long."""
    body = msgspec.json.encode(document)
    response = web.Response(body=body, status=status, headers={**_HEADERS, **headers})
    if len(body) >= _COMPRESS_FROM:
        response.enable_compression()
    return response


def error_answer(error: RequestError) -> web.Response:
    """Return the response for an error."""
    return answer({"version": VERSION, "error": f"{error.reason.rstrip('.')}."}, error.status, error.headers)
