"""Requests that the HTTP API refuses because of their bodies: no JSON, a wrong shape, too large, too slow."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import suppress
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from tests.kit.api import RunningApi, running_api
from tests.kit.processes import HOST
from tests.kit.waiting import until

HEAD = b"POST /produce HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
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
    with patch("peekaping_producer.api.app.MAX_LARGE_BODIES", 1):
        async with running_api() as api:
            reader, writer = await asyncio.open_connection(HOST, api.source.port)
            writer.write(HEAD % len(large) + large[:-1])
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


async def test_a_compressed_body_is_415_and_is_never_decompressed(api: RunningApi) -> None:
    data = gzip.compress(b'{"id":"a","payload":1}')
    with patch("zlib.decompressobj", side_effect=AssertionError("decompressed")):
        status, answer, headers = await api.post("/produce", data=data, **{"Content-Encoding": "gzip"})
    assert (status, headers["Accept-Encoding"]) == (415, "identity")
    assert answer["error"] == "Content-Encoding: expected a body that is not compressed, got 'gzip'"
    body = {"id": "a", "payload": 1}
    assert (await api.post("/produce", body, **{"Content-Encoding": "Identity"}))[0] == 200


@pytest.mark.parametrize("length", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_a_client_that_goes_away_while_it_sends_is_no_error_of_the_server(api: RunningApi, length: str) -> None:
    with capture_logs() as logs:
        reader, writer = await asyncio.open_connection(HOST, api.source.port)
        head = f"POST /produce HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\n"
        writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
        await reader.readuntil(b"100 Continue\r\n\r\n")
        writer.write(b"16\r\n{")
        writer.close()
        await until(lambda: api.sample("http_requests_total", route="/produce", status="400") == 1)
    assert [line for line in logs if line["log_level"] == "error"] == []


async def test_a_body_that_does_not_arrive_in_time_is_408() -> None:
    async with running_api(body_timeout_s=0.5) as api:
        reader, writer = await asyncio.open_connection(HOST, api.source.port)
        writer.write(HEAD % 100)
        trickle = asyncio.create_task(send_slowly(writer, b" " * 99))
        answer = await reader.readuntil(b"}")
        trickle.cancel()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"\r\nConnection: close\r\n" in answer
        assert b"within 0.5 s (API_BODY_TIMEOUT)" in answer
        assert (await api.post("/produce", {"id": "a", "payload": 1}))[0] == 200


async def test_slow_bodies_give_their_places_to_others() -> None:
    with patch("peekaping_producer.api.app.MAX_LARGE_BODIES", 1):
        async with running_api(body_timeout_s=0.5) as api:
            _, writer = await asyncio.open_connection(HOST, api.source.port)
            writer.write(HEAD % 100_000)
            await until(lambda: api.api._large_bodies.locked())
            assert (await api.post("/produce", {"id": "b", "payload": "x" * 100_000}))[0] == 200
            writer.close()


@pytest.mark.parametrize("sent", [b"", b"POST /produce HTTP/1.1\r\nHost: "], ids=["nothing", "a part of the head"])
async def test_a_connection_without_a_whole_request_is_closed(sent: bytes) -> None:
    with patch("peekaping_producer.api.server.IDLE_TIMEOUT_S", 0.2):
        async with running_api() as api:
            reader, writer = await asyncio.open_connection(HOST, api.source.port)
            trickle = asyncio.create_task(send_slowly(writer, sent + b"x" * 100 if sent else b""))
            with suppress(ConnectionResetError):  # bytes that were on the way
                assert await reader.read() == b""
            trickle.cancel()
            writer.close()


async def test_a_client_that_waits_for_a_100_gets_it_or_a_refusal(api: RunningApi) -> None:
    body = b'{"id":"a","payload":1}'
    for size, status in ((len(body), b"100"), (10_001, b"413")):
        reader, writer = await asyncio.open_connection(HOST, api.source.port)
        writer.write((HEAD % size).replace(b"Host", b"Expect: 100-continue\r\nHost"))
        assert (await reader.readline()).startswith(b"HTTP/1.1 " + status)
        if status == b"100":
            assert await reader.readline() == b"\r\n"
            writer.write(body)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def send_slowly(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.01)
