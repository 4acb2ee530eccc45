"""The HTTP API over a real socket: what it publishes and answers, its metrics and its OpenAPI document."""

import asyncio
import json
import re
from typing import Any
from unittest.mock import patch

import pytest
from openapi_spec_validator import validate
from structlog.testing import capture_logs

from peekaping_producer.api.openapi import document
from peekaping_producer.api.source import ApiSource
from peekaping_producer.errors import ConfigError
from peekaping_producer.messages.handlers import processing_time_s
from tests.kit.api import TIMESTAMP, RunningApi
from tests.kit.processes import HOST


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


async def test_a_taken_port_is_a_clear_error(api: RunningApi) -> None:
    taken = f"PORT: expected a free host:port, got {HOST}:{api.source.port}, which is in use; set another PORT"
    with pytest.raises(ConfigError, match=f"^{re.escape(taken)}$"):
        ApiSource(api.api, HOST, api.source.port)


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


async def test_other_paths_and_methods_are_refused_in_json(api: RunningApi) -> None:
    assert (await api.post("/nothing", {}))[0] == 404
    async with api.session.get("/produce") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert await response.json() == {"error": "Method Not Allowed", "status": "error"}
    async with api.session.head("/health") as response:
        assert (response.status, await response.read()) == (200, b"")
    assert (await api.post("/health", {}))[2]["Allow"] == "GET,HEAD"


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
