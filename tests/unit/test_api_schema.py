"""Requests at random from the OpenAPI document: each answer is one that the document describes."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import settings

from peekaping_producer.api.openapi import document
from tests.kit.api import running_api

schema = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The API in an event loop of its own: schemathesis sends its requests from this thread."""
    started = threading.Event()
    urls: list[str] = []

    async def serve() -> None:
        async with running_api() as api:
            urls.append(api.url)
            stopping.append((asyncio.get_running_loop(), asyncio.Event()))
            started.set()
            await stopping[0][1].wait()

    stopping: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(30)
    yield urls[0]
    loop, event = stopping[0]
    loop.call_soon_threadsafe(event.set)
    thread.join(30)


@schema.parametrize()
@settings(max_examples=40, deadline=None, derandomize=True)
def test_every_answer_is_described(url: str, case: Any) -> None:
    response = case.call(base_url=url)
    if response.status_code == 422 and "bytes in UTF-8" in response.text:
        return  # a schema limits characters
    case.validate_response(response)
