"""The HTTP API over a real socket: what it accepts, publishes, refuses, and answers while the broker is away."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import pytest
import pytest_asyncio
from openapi_spec_validator import validate
from structlog.testing import capture_logs

from peekaping_producer.api.guard import RateLimiter
from peekaping_producer.api.openapi import document
from peekaping_producer.errors import BrokerUnavailableError, ConfigError
from peekaping_producer.messages.handlers import processing_time_s
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.transports.message import Message
from peekaping_producer.transports.publisher import PublishResult
from tests.kit.api import RunningApi, running_api
from tests.kit.processes import HOST, listens
from tests.kit.publishers import MemoryPublisher
from tests.kit.waiting import until

TIMESTAMP = "2024-01-01T00:00:00"


@pytest.fixture(autouse=True)
def _no_backoff() -> Iterator[None]:
    with patch.object(Backoff, "delay", lambda _: 0.001):
        yield


@pytest_asyncio.fixture
async def api() -> AsyncIterator[RunningApi]:
    async with running_api(max_bytes=10_000) as running:
        yield running


class Held(MemoryPublisher):
    """Confirms nothing until `released`."""

    def __init__(self) -> None:
        super().__init__()
        self.released = asyncio.Event()

    async def publish(self, messages: Sequence[Message]) -> PublishResult:
        await self.released.wait()
        return await super().publish(messages)


async def test_a_message_is_published_as_the_consumer_reads_it(api: RunningApi) -> None:
    body = {"id": "a", "payload": {"text": "é", "n": [1, None]}, "processing_time": 1.5}
    status, answer, _ = await api.post("/produce", body)
    assert (status, answer) == (200, {"status": "success", "message_id": "a", "timestamp": TIMESTAMP})
    (message,) = api.publisher.messages
    assert (message.id, message.content_type) == ("a", "application/json")
    assert json.loads(message.body) == body
    assert processing_time_s(message) == 1.5


async def test_without_a_processing_time_the_message_has_none(api: RunningApi) -> None:
    await api.post("/produce", {"payload": None, "id": "a"})
    assert api.publisher.bodies == [b'{"id":"a","payload":null}']


async def test_a_batch_is_published_in_order(api: RunningApi) -> None:
    messages = [{"id": str(number), "payload": number} for number in range(50)]
    assert (await api.post("/batch-produce", {"messages": messages}))[:2] == (
        200,
        {"status": "success", "messages_produced": 50},
    )
    assert [json.loads(body) for body in api.publisher.bodies] == messages
    assert api.sample("messages_produced_total") == 50


async def test_a_date_gets_an_id_and_is_returned_as_it_is_stored(api: RunningApi) -> None:
    body = {"datetime": "2024-01-15 10:30:00", "environment": "prod"}
    status, stored, _ = await api.post("/api/messages", body)
    assert status == 201
    assert stored == {**body, "id": stored["id"]}
    (message,) = api.publisher.messages
    assert (message.id, json.loads(message.body)) == (stored["id"], stored)
    assert (await api.post("/api/messages", body))[1]["id"] != stored["id"]


@pytest.mark.parametrize(
    ("payload", "published"),
    [
        (b'{"x": 1.10}', b'{"x": 1.10}'),
        (b"12345678901234567890123", b"12345678901234567890123"),
        (b'{\n "x": 1.10,\r\n "y": "\\n"}', b'{"x":1.10,"y":"\\n"}'),
    ],
)
async def test_a_payload_stays_as_it_was_written_in_one_line(api: RunningApi, payload: bytes, published: bytes) -> None:
    await api.post("/produce", data=b'{"id":"a","payload":' + payload + b"}")
    assert api.publisher.bodies == [b'{"id":"a","payload":' + published + b"}"]


async def test_of_a_repeated_key_the_last_value_wins(api: RunningApi) -> None:
    await api.post("/produce", data=b'{"id":"a","payload":1,"id":"b","payload":2}')
    assert api.publisher.messages[0].id == "b"
    assert api.publisher.bodies == [b'{"id":"b","payload":2}']


MALFORMED = [
    b"",
    b"{",
    b"{'id': 1}",
    b'{"id":"a","payload":NaN}',
    b'{"id":"a","payload":"\\ud800"}',
    b'{"id":"a","payload":"\xff"}',
    b'{"id":"\xff","payload":1}',
    b'{"id":"a","payload":1} x',
    b'{"id":1,"payload":1,',
    b'{"id":"a","payload":' + b"[" * 3000 + b"]" * 3000 + b"}",
    b'{"id":"a","payload":' + b'{"a":' * 1500 + b"1" + b"}" * 1500 + b"}",
    b"[" * 5000,
    "﻿{}".encode(),
]


@pytest.mark.parametrize("path", ["/produce", "/batch-produce", "/api/messages"])
async def test_a_body_that_is_no_json_is_400(api: RunningApi, path: str) -> None:
    for data in MALFORMED:
        wrapped = b'{"messages":[' + data + b"]}" if path == "/batch-produce" and data else data
        status, answer, _ = await api.post(path, data=wrapped)
        assert status == 400, (data[:40], answer)
        assert answer["status"] == "error"
        assert answer["error"].startswith("body: expected JSON")
    assert not api.publisher.messages
    assert (await api.get("/health"))[0] == 200


@pytest.mark.parametrize(
    ("path", "data", "error"),
    [
        ("/produce", b"[]", "$: expected `object`, got `array`"),
        ("/produce", b"{}", "$: object missing required field `id`"),
        ("/produce", b'{"id":"a"}', "$: object missing required field `payload`"),
        ("/produce", b'{"id":1,"payload":1}', "$.id: expected `str`, got `int`"),
        ("/produce", b'{"id":"","payload":1}', "$.id: expected `str` of length >= 1"),
        ("/produce", b'{"id":"a","payload":1,"x":1}', "$: object contains unknown field `x`"),
        ("/produce", b'{"id":"a","payload":1e400}', "$.payload: number out of range"),
        ("/produce", b'{"id":"a","payload":{"x":[1,1e400]}}', "$.payload[...][1]: number out of range"),
        ("/produce", b'{"id":"a","payload":1,"processing_time":1e400}', "$.processing_time: number out of range"),
        ("/produce", b'{"id":"a","payload":1,"processing_time":-1}', "$.processing_time: expected `float` >= 0.0"),
        ("/produce", b'{"id":"a","payload":1,"processing_time":3601}', "$.processing_time: expected `float` <= 3600.0"),
        ("/produce", b'{"id":"a","payload":1,"processing_time":"1"}', "$.processing_time: expected `float`, got `str`"),
        ("/batch-produce", b'{"messages":[]}', "$.messages: expected `array` of length >= 1"),
        (
            "/batch-produce",
            b'{"messages":[{"id":"a","payload":1},{"id":"b"}]}',
            "$.messages[1]: object missing required field `payload`",
        ),
        (
            "/batch-produce",
            b'{"messages":[{"id":"a","payload":1},{"id":"b","payload":1e400}]}',
            "$.messages[1].payload: number out of range",
        ),
        ("/api/messages", b'{"datetime":"2024-01-15","environment":"prod"}', "$.datetime: expected `str` matching"),
        ("/api/messages", b'{"datetime":"2024-01-15 10:30:00","environment":"x"}', "$.environment: invalid enum value"),
    ],
)
async def test_a_body_of_another_shape_is_422_and_names_the_field(
    api: RunningApi, path: str, data: bytes, error: str
) -> None:
    status, answer, _ = await api.post(path, data=data)
    assert status == 422
    assert answer["error"].startswith(error)
    assert not api.publisher.messages


async def test_an_id_is_limited_in_bytes(api: RunningApi) -> None:
    assert (await api.post("/produce", {"id": "x" * 255, "payload": 1}))[0] == 200
    status, answer, _ = await api.post(
        "/batch-produce", {"messages": [{"id": "a", "payload": 1}, {"id": "é" * 128, "payload": 1}]}
    )
    assert (status, answer["error"]) == (422, "$.messages[1].id: expected 1 to 255 bytes in UTF-8, got 256")
    assert len(api.publisher.messages) == 1


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ("application/json; charset=latin-1", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        (None, 415),
    ],
)
async def test_only_json_is_accepted(api: RunningApi, content_type: str | None, status: int) -> None:
    got, _, _ = await api.post("/produce", data=b'{"id":"a","payload":1}', content_type=content_type)
    assert got == status
    assert len(api.publisher.messages) == (status == 200)


async def test_a_body_up_to_the_limit_is_accepted_and_a_larger_one_is_413(api: RunningApi) -> None:
    body = b'{"id":"a","payload":"' + b"x" * (10_000 - 23) + b'"}'
    assert len(body) == 10_000
    assert (await api.post("/produce", data=body))[0] == 200
    assert (await api.post("/produce", data=body + b" "))[0] == 413

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 1000

    async with api.session.post("/produce", data=chunks(), headers={"Content-Type": "application/json"}) as response:
        assert response.status == 413
        assert "MAX_REQUEST_BYTES" in (await response.json())["error"]


async def test_large_bodies_wait_for_each_other_and_small_ones_do_not() -> None:
    large = b'{"id":"a","payload":"%s"}' % (b"x" * 100_000)
    head = b"POST /produce HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with patch("peekaping_producer.api.app.MAX_LARGE_BODIES", 1):
        async with running_api() as api:
            reader, writer = await asyncio.open_connection(HOST, api.source.port)
            writer.write(head % len(large) + large[:-1])
            await until(lambda: api.api._large_bodies.locked())
            other = asyncio.create_task(api.post("/produce", {"id": "b", "payload": "x" * 100_000}))
            assert (await api.post("/produce", {"id": "c", "payload": 1}))[0] == 200
            assert not other.done()
            writer.write(large[-1:])
            assert (await other)[0] == 200
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            writer.close()


async def test_a_batch_that_is_larger_than_the_buffer_is_413() -> None:
    async with running_api(max_messages=2) as api:
        messages = [{"id": str(number), "payload": 1} for number in range(3)]
        assert (await api.post("/batch-produce", {"messages": messages}))[0] == 413


async def test_a_body_in_a_wrong_encoding_is_400(api: RunningApi) -> None:
    status, answer, _ = await api.post("/produce", data=b"no gzip", **{"Content-Encoding": "gzip"})
    assert (status, answer["status"]) == (400, "error")


async def test_other_paths_and_methods_are_refused_in_json(api: RunningApi) -> None:
    assert (await api.post("/nothing", {}))[0] == 404
    async with api.session.get("/produce") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert await response.json() == {"error": "Method Not Allowed", "status": "error"}


async def test_with_a_token_only_those_that_send_it_produce_messages() -> None:
    async with running_api(token="s3cret é") as api:
        body = {"id": "a", "payload": 1}
        status, answer, headers = await api.post("/produce", body)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert (await api.post("/produce", body, Authorization="Bearer s3cret"))[0] == 401
        assert (await api.post("/produce", body, Authorization="s3cret é"))[0] == 401
        assert not api.publisher.messages
        assert (await api.post("/produce", body, Authorization="Bearer s3cret é"))[0] == 200
        assert (await api.get("/health"))[0] == 200
        assert "s3cret" not in str(answer)


async def test_over_the_rate_limit_requests_are_429() -> None:
    async with running_api(rate_limit=1) as api:
        assert (await api.post("/produce", {"id": "a", "payload": 1}))[0] == 200
        status, _, headers = await api.post("/produce", {"id": "b", "payload": 1})
        assert (status, headers["Retry-After"]) == (429, "1")
        assert (await api.get("/health"))[0] == 200
    assert [message.id for message in api.publisher.messages] == ["a"]


def test_the_rate_is_limited_for_each_client() -> None:
    now = 100.0
    limiter = RateLimiter(10, lambda: now)
    assert [limiter.wait_s("a") for _ in range(10)] == [0.0] * 10
    assert limiter.wait_s("a") == pytest.approx(0.1)
    assert limiter.wait_s("b") == 0.0
    now += 0.1
    assert limiter.wait_s("a") == 0.0
    assert limiter.wait_s("a") == pytest.approx(0.1)
    now += 60
    assert limiter.wait_s("c") == 0.0
    assert list(limiter._due) == ["c"]


async def test_an_answer_waits_for_the_confirmation() -> None:
    publisher = Held()
    async with running_api(publisher) as api:
        request = asyncio.create_task(api.post("/produce", {"id": "a", "payload": 1}))
        await until(lambda: api.relay.progress().buffered == 1)
        assert not request.done()
        publisher.released.set()
        assert (await request)[0] == 200


async def test_a_message_that_the_broker_refuses_is_422() -> None:
    publisher = MemoryPublisher()
    publisher.refused = {"b": "too large"}
    async with running_api(publisher) as api:
        status, answer, _ = await api.post("/produce", {"id": "b", "payload": 1})
        assert (status, answer["error"]) == (422, "$: the broker refuses it: too large")
        batch = {"messages": [{"id": "a", "payload": 1}, {"id": "b", "payload": 1}]}
        status, answer, _ = await api.post("/batch-produce", batch)
        assert (status, answer["error"]) == (422, "$.messages[1]: the broker refuses it: too large")
        assert api.sample("messages_produced_total") == 0


async def test_while_the_broker_is_away_requests_are_503_at_once_and_nothing_is_kept() -> None:
    publisher = MemoryPublisher()
    publisher.error = BrokerUnavailableError("away at secret.example")
    async with running_api(publisher) as api:
        await until(lambda: bool(api.dependencies.troubles))
        status, answer, headers = await api.post("/produce", {"id": "a", "payload": 1})
        assert (status, headers["Retry-After"]) == (503, "5")
        status, health = await api.get("/health")
        assert (status, json.loads(health)) == (503, {"status": "unhealthy", "timestamp": TIMESTAMP})
        assert "secret" not in health + str(answer)
        assert api.relay.progress().buffered == 0
        publisher.error = None
        await until(lambda: not api.dependencies.troubles)
        assert json.loads((await api.get("/health"))[1]) == {"status": "healthy", "timestamp": TIMESTAMP}
        assert (await api.post("/produce", {"id": "a", "payload": 1}))[0] == 200


async def test_a_request_survives_a_short_outage(api: RunningApi) -> None:
    await api.post("/produce", {"id": "a", "payload": 1})
    api.publisher.error = BrokerUnavailableError("away")
    request = asyncio.create_task(api.post("/produce", {"id": "b", "payload": 1}))
    await until(lambda: bool(api.dependencies.troubles))
    api.publisher.error = None
    assert (await request)[0] == 200


async def test_a_broker_that_does_not_confirm_in_time_is_503() -> None:
    publisher = Held()
    async with running_api(publisher, confirm_timeout_s=0.05) as api:
        status, answer, headers = await api.post("/produce", {"id": "a", "payload": 1})
        assert (status, headers["Retry-After"]) == (503, "5")
        assert answer["error"] == ("the broker did not confirm within 0.05 s. Repeat the request with the same ids.")
        publisher.released.set()


async def test_a_full_buffer_is_503_and_a_batch_is_accepted_as_a_whole_or_not() -> None:
    publisher = Held()
    async with running_api(publisher, max_messages=3) as api:
        first = asyncio.create_task(api.post("/produce", {"id": "a", "payload": 1}))
        await until(lambda: api.relay.progress().buffered == 1)
        batch = {"messages": [{"id": str(number), "payload": 1} for number in range(3)]}
        status, _, headers = await api.post("/batch-produce", batch)
        assert (status, headers["Retry-After"]) == (503, "1")
        assert api.relay.progress().buffered == 1
        publisher.released.set()
        assert (await first)[0] == 200
        assert (await api.post("/batch-produce", batch))[0] == 200


async def test_a_stop_answers_the_requests_that_wait_and_accepts_no_others() -> None:
    publisher = Held()
    async with running_api(publisher) as api:
        request = asyncio.create_task(api.post("/produce", {"id": "a", "payload": 1}))
        await until(lambda: api.relay.progress().buffered == 1)
        stop = asyncio.create_task(api.part.drain(30))
        await until(lambda: api.api.stopping)
        await until(lambda: not listens(api.source.port))
        publisher.released.set()
        assert (await request)[0] == 200
        assert await stop == 0


async def test_a_stop_while_the_broker_is_away_answers_503() -> None:
    publisher = Held()
    async with running_api(publisher) as api:
        request = asyncio.create_task(api.post("/produce", {"id": "a", "payload": 1}))
        await until(lambda: api.relay.progress().buffered == 1)
        assert await api.part.drain(0.05) == 1
        status, answer, _ = await request
        assert (status, answer["error"]) == (503, "this process stops. Repeat the request with the same ids.")


async def test_a_taken_port_is_a_clear_error(api: RunningApi) -> None:
    with pytest.raises(ConfigError, match=f"PORT: expected a free host:port, got {HOST}:[0-9]+, which is in use"):
        RunningApi(MemoryPublisher()).source.__class__(api.api, HOST, api.source.port)


async def test_metrics_have_the_template_of_the_route(api: RunningApi) -> None:
    await api.post("/produce", {"id": "a", "payload": 1})
    await api.post("/produce", {"id": "a"})
    await api.post("/random-4711", {})
    status, text = await api.get("/metrics")
    assert status == 200
    assert 'http_request_duration_seconds_count{route="/produce"} 2.0' in text
    assert 'http_requests_total{route="/produce",status="422"} 1.0' in text
    assert 'http_requests_total{route="unmatched",status="404"} 1.0' in text
    assert "messages_produced_total 1.0" in text
    assert "4711" not in text


async def test_an_unforeseen_error_is_500_and_logged(api: RunningApi) -> None:
    with patch.object(api.relay, "offer", side_effect=ZeroDivisionError), capture_logs() as lines:
        status, answer, _ = await api.post("/produce", {"id": "a", "payload": 1})
    assert (status, answer["error"]) == (500, "an unforeseen error of the server")
    assert "request.failed" in [line["event"] for line in lines]


async def test_malformed_requests_leave_no_line_in_the_log(api: RunningApi, caplog: pytest.LogCaptureFixture) -> None:
    for request in (b"GET / HTTP/1.1\r\nA\r\n\r\n", b"\x16\x03\x01\r\n\r\n"):
        reader, writer = await asyncio.open_connection(HOST, api.source.port)
        writer.write(request)
        assert (await reader.read()).startswith(b"HTTP/1.0 400 ")
        writer.close()
    assert not caplog.records


def test_the_openapi_document_is_valid_and_complete() -> None:
    found: dict[str, Any] = document()
    validate(found)
    assert set(found["paths"]) == {
        "/produce",
        "/batch-produce",
        "/api/messages",
        "/health",
        "/metrics",
        "/openapi.json",
    }
    schema = found["components"]["schemas"]["MessageToProduce"]
    assert schema["required"] == ["id", "payload"]
    assert re.search("255 bytes", schema["properties"]["id"]["description"])
