"""The HTTP publisher, against a real server."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from peekaping_producer.errors import BrokerRefusedError, BrokerUnavailableError
from peekaping_producer.targets import HttpTarget
from peekaping_producer.transports.http import HttpPublisher
from peekaping_producer.transports.message import Message
from tests.kit.endpoint import Answer, Endpoint, break_off, hang, redirect, running_endpoint


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with running_endpoint("/messages") as endpoint:
        yield endpoint


@pytest_asyncio.fixture
async def publisher(endpoint: Endpoint) -> AsyncIterator[HttpPublisher]:
    publisher = HttpPublisher(target(endpoint))
    await publisher.open()
    yield publisher
    await publisher.close()


def target(endpoint: Endpoint, **changes: Any) -> HttpTarget:
    return msgspec.structs.replace(
        HttpTarget(url=endpoint.url, token="secret", retry_delay_s=0.01, timeout_s=5), **changes
    )


def messages(*ids: str) -> list[Message]:
    return [Message(id_, id_.encode(), "text/plain") for id_ in ids]


async def test_each_message_is_one_post_in_order_over_one_connection(
    endpoint: Endpoint, publisher: HttpPublisher
) -> None:
    result = await publisher.publish(messages("a", "b:1", "ü%"))
    assert (result.settled, result.refused) == (3, {})
    assert endpoint.bodies == [b"a", b"b:1", "ü%".encode()]
    assert endpoint.ids == ["a", "b:1", "%C3%BC%25"]
    path, _, headers = endpoint.requests[0]
    assert path == "/messages"
    assert headers["Content-Type"] == "text/plain"
    assert headers["Authorization"] == "Bearer secret"
    assert headers["User-Agent"] == "peekaping-producer"
    assert len(endpoint.peers) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_failed_attempt_is_repeated_with_the_same_id(
    endpoint: Endpoint, publisher: HttpPublisher, status: int
) -> None:
    endpoint.answers = [status, status, 201]
    assert (await publisher.publish(messages("a"))).settled == 1
    assert endpoint.ids == ["a", "a", "a"]
    assert len(endpoint.peers) == 1, "the connection was not used again"


async def test_after_the_last_attempt_the_endpoint_counts_as_unavailable(
    endpoint: Endpoint, publisher: HttpPublisher
) -> None:
    endpoint.answers = [500]
    with pytest.raises(BrokerUnavailableError, match=r"/messages: status 500: what is wrong") as error:
        await publisher.publish(messages("a", "b"))
    assert error.type is BrokerUnavailableError, "the class is in the log"
    assert endpoint.ids == ["a", "a", "a"]


async def test_what_was_accepted_before_a_failure_is_settled(endpoint: Endpoint, publisher: HttpPublisher) -> None:
    endpoint.answers = [201, 422, 503]
    result = await publisher.publish(messages("a", "b", "c"))
    assert result.settled == 2
    assert list(result.refused) == [1]


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
async def test_a_refused_message_is_not_repeated_and_stops_no_other(
    endpoint: Endpoint, publisher: HttpPublisher, status: int
) -> None:
    endpoint.answers = [status, 201]
    result = await publisher.publish(messages("a", "b"))
    assert result.settled == 2
    assert result.refused == {0: f"{endpoint.url}: status {status}: what is wrong"}
    assert endpoint.ids == ["a", "b"]


@pytest.mark.parametrize("status", [401, 403, 404, 405, 301, 303])
async def test_a_status_of_the_whole_endpoint_is_no_messages_fault(
    endpoint: Endpoint, publisher: HttpPublisher, status: int
) -> None:
    endpoint.answers = [status]
    with pytest.raises(BrokerRefusedError, match=f"status {status}"):
        await publisher.publish(messages("a"))
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("value", "least_s"),
    [(lambda: "1", 0.9), (lambda: formatdate(time.time() + 2, usegmt=True), 0.5), (lambda: "soon", 0.0)],
    ids=["seconds", "date", "neither"],
)
async def test_the_endpoint_decides_when_to_try_again(
    endpoint: Endpoint, publisher: HttpPublisher, value: Callable[[], str], least_s: float
) -> None:
    endpoint.answers = [lambda _: web.Response(status=429, headers={"Retry-After": value()}), 201]
    began_at = time.monotonic()
    await publisher.publish(messages("a"))
    assert least_s <= time.monotonic() - began_at < least_s + 20


async def test_success_may_be_one_status_only_whatever_the_body(endpoint: Endpoint) -> None:
    publisher = HttpPublisher(target(endpoint, success=frozenset({201})))
    await publisher.open()
    endpoint.answers = [lambda _: web.Response(status=201, body=b"\xff{")]
    assert (await publisher.publish(messages("a"))).settled == 1
    endpoint.answers = [200]
    with pytest.raises(BrokerRefusedError, match="status 200"):
        await publisher.publish(messages("b"))
    await publisher.close()


async def test_redirects_stay_on_the_host(endpoint: Endpoint, publisher: HttpPublisher) -> None:
    endpoint.answers = [redirect(308, "/new"), 201]
    assert (await publisher.publish(messages("a"))).settled == 1
    assert [path for path, *_ in endpoint.requests] == ["/messages", "/new"]
    assert endpoint.bodies == [b"a", b"a"]
    endpoint.answers = [redirect(307, "http://127.0.0.2/x")]
    with pytest.raises(BrokerRefusedError, match=r"redirects to http://127\.0\.0\.2; set the URL"):
        await publisher.publish(messages("b"))


async def test_an_endpoint_that_is_away_hangs_or_breaks_off_is_unavailable(endpoint: Endpoint) -> None:
    unreachable = target(endpoint, url="http://127.0.0.1:1/x", attempts=1)
    hangs = target(endpoint, timeout_s=0.2, attempts=1)
    for where, answer, text in (
        (unreachable, break_off, "http://127.0.0.1:1/x: cannot connect: Connection refused"),
        (target(endpoint, attempts=2), break_off, "Disconnected"),
        (hangs, hang, "no answer within 0.2 s"),
    ):
        endpoint.answers = [answer]
        publisher = HttpPublisher(where)
        await publisher.open()
        with pytest.raises(BrokerUnavailableError, match=text):
            await publisher.publish(messages("a"))
        await publisher.close()


async def test_an_id_that_no_transport_carries_is_refused_alone(endpoint: Endpoint, publisher: HttpPublisher) -> None:
    result = await publisher.publish(messages("é" * 128, "b"))
    assert result.settled == 2
    assert result.refused == {0: "id: expected 1 to 255 bytes in UTF-8, got 256"}
    assert endpoint.ids == ["b"]


async def test_several_requests_at_a_time_are_settled_in_order(endpoint: Endpoint) -> None:
    publisher = HttpPublisher(target(endpoint, in_flight=4))
    await publisher.open()
    result = await publisher.publish(messages(*"abcdefgh"))
    assert result.settled == 8
    assert sorted(endpoint.ids) == list("abcdefgh")
    assert 1 < len(endpoint.peers) <= 4
    await publisher.close()


def test_a_target_shows_no_secret() -> None:
    shown = str(HttpTarget(url="https://user:password@example.org:8443/in?key=secret", token="secret"))
    assert shown == "https://***@example.org:8443/in?key=***"


async def test_the_example_of_the_docs_runs(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    example = example.replace('"http://127.0.0.1:8080/messages"', repr(endpoint.url))
    await asyncio.to_thread(exec, compile(example, "http.md", "exec"), {})
    assert endpoint.ids == ["order:1", "order:2"]
    assert capsys.readouterr().out == "2 {}\n"


def _endless(pause_s: float) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=201 if request.headers["Idempotency-Key"] == "a" else 400)
        await response.prepare(request)
        while True:
            await response.write(bytes(100_000))
            await asyncio.sleep(pause_s)

    return answer


@pytest.mark.parametrize("pause_s", [0, 60])
async def test_the_status_decides_and_a_body_without_an_end_is_given_up(endpoint: Endpoint, pause_s: float) -> None:
    endpoint.answers = [_endless(pause_s)]
    publisher = HttpPublisher(target(endpoint, timeout_s=60))
    await publisher.open()
    async with asyncio.timeout(30):
        result = await publisher.publish(messages("a", "b"))
    await publisher.close()
    assert (result.settled, list(result.refused)) == (2, [1])
    assert endpoint.ids == ["a", "b"]


async def test_a_damaged_body_does_not_change_what_the_status_means(
    endpoint: Endpoint, publisher: HttpPublisher
) -> None:
    def answer(request: web.Request) -> web.Response:
        status = 201 if request.headers["Idempotency-Key"] == "a" else 400
        return web.Response(status=status, body=b"no", headers={"Content-Encoding": "gzip"})

    endpoint.answers = [answer]
    result = await publisher.publish(messages("a", "b"))
    assert (result.settled, list(result.refused), endpoint.ids) == (2, [1], ["a", "b"])


async def test_a_redirect_to_no_url_is_the_endpoints_fault_and_refuses_no_message(
    endpoint: Endpoint, publisher: HttpPublisher
) -> None:
    endpoint.answers = [redirect(307, "http://[bad")]
    with pytest.raises(BrokerRefusedError, match=r"redirects to http://\[bad, which is no URL"):
        await publisher.publish(messages("a"))
