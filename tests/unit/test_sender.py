"""The sender against a real endpoint: attempts, waits, texts, metrics."""

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from peekaping_producer.metrics import PREFIX
from peekaping_producer.sender.gauges import Gauges
from peekaping_producer.sender.report import Report
from peekaping_producer.sender.sender import Sender
from peekaping_producer.targets import HttpTarget
from tests.kit.endpoint import Answer, Endpoint, break_off, hang, redirect, retry_after, running_endpoint

PAGE = Path(__file__).parents[2] / "docs" / "sender.md"
NOW = 1705314600.0
"""2024-01-15 10:30:00."""
MESSAGE = b'{"datetime": "2024-01-15 10:30:00", "environment": "prod"}'
CREATED = f"INFO Message created: {MESSAGE.decode()}"
STORED = '{"id": 7, "datetime": "2024-01-15 10:30:00"}'


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with running_endpoint("/api/messages") as endpoint:
        yield endpoint


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The log lines so far, as level and text."""
    caplog.set_level(logging.INFO)
    lines: list[str] = []

    def emit(record: logging.LogRecord) -> None:
        lines.append(f"{record.levelname} {record.getMessage()}")

    monkeypatch.setattr(caplog.handler, "emit", emit)  # of the handler that all tests of a process share
    return lines


async def sent(
    endpoint: Endpoint, *answers: int | Answer, count: int = 1, **changes: Any
) -> tuple[Report, list[float]]:
    """Send; returns the report, and the waits, which take no time."""
    endpoint.answers = list(answers)
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    target = HttpTarget(url=endpoint.url, user_agent="Test-Agent", success=frozenset({201}), retry_delay_s=30)
    sender = Sender(msgspec.structs.replace(target, **changes), "prod", sleep=wait, now=lambda: NOW)
    await sender.send(count)
    await sender.close()
    return sender.report, waits


def body(text: str | bytes, status: int = 201, **headers: str) -> Answer:
    data = text.encode() if isinstance(text, str) else text
    return lambda _: web.Response(status=status, body=data, headers=headers)


async def test_a_message_is_one_post(endpoint: Endpoint, lines: list[str]) -> None:
    report, waits = await sent(endpoint, body(STORED))
    ((path, message, headers),) = endpoint.requests
    assert (path, message) == ("/api/messages", MESSAGE)
    assert (headers["Content-Type"], headers["User-Agent"]) == ("application/json", "Test-Agent")
    assert "Authorization" not in headers
    assert lines == [
        CREATED,
        "INFO Sending message to API (attempt 1/3)",
        "INFO Successfully sent message to API: {'id': 7, 'datetime': '2024-01-15 10:30:00'}",
    ]
    assert (report.sent, report.failed, report.attempts) == (1, 0, {"success": 1, "error": 0, "failed": 0})
    assert waits == []


async def test_an_error_of_the_api_is_followed_by_a_wait_and_another_attempt(
    endpoint: Endpoint, lines: list[str]
) -> None:
    report, waits = await sent(endpoint, 500, break_off, 201)
    assert waits == [30, 30]
    assert endpoint.bodies == [MESSAGE] * 3
    assert lines[:5] == [
        CREATED,
        "INFO Sending message to API (attempt 1/3)",
        "ERROR API returned error 500: what is wrong",
        "INFO Waiting 30 seconds before retry...",
        "INFO Sending message to API (attempt 2/3)",
    ]
    assert lines[5].startswith(f"ERROR Request failed (attempt 2/3): {endpoint.url}: ServerDisconnectedError: ")
    assert lines[6:] == [
        "INFO Waiting 30 seconds before retry...",
        "INFO Sending message to API (attempt 3/3)",
        "INFO Successfully sent message to API: what is wrong",
    ]
    assert report.attempts == {"success": 1, "error": 1, "failed": 1}


@pytest.mark.parametrize("status", [200, 202, 204, 301, 400, 401, 404, 422, 429, 503])
async def test_no_other_status_than_201_is_a_success(endpoint: Endpoint, lines: list[str], status: int) -> None:
    report, waits = await sent(endpoint, status, attempts=2)
    assert (report.sent, report.failed, waits) == (0, 1, [30])
    assert lines[-1] == "ERROR Failed to send message to API after 2 attempts"
    text = "(no body)" if status == 204 else "what is wrong"
    assert lines.count(f"ERROR API returned error {status}: {text}") == 2


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (body(b"\xff{"), "�{"),
        (body('{"id": '), '{"id":'),
        (body(""), "(no body)"),
        (body("[" * 60_000), "[" * 500 + "…"),
        (body("a\nERROR forged"), r"'a\nERROR forged'"),
        (body(json.dumps("x" * 1_000_000)), '"' + "x" * 499 + "…"),
        (body(b"no", **{"Content-Encoding": "gzip"}), "(no body)"),
    ],
    ids=["not UTF-8", "cut off", "empty", "nested", "lines", "huge", "damaged"],
)
async def test_201_is_a_success_whatever_the_body(
    endpoint: Endpoint, lines: list[str], answer: Answer, shown: str
) -> None:
    report, _ = await sent(endpoint, answer)
    assert (report.sent, len(endpoint.requests)) == (1, 1)
    assert lines[-1].strip("'") == f"INFO Successfully sent message to API: {shown}".strip("'")


async def test_a_redirect_is_followed_on_the_same_server_only(endpoint: Endpoint, lines: list[str]) -> None:
    async with running_endpoint() as other:
        report, _ = await sent(endpoint, redirect(308, "/new"), 201)
        assert (report.sent, [path for path, *_ in endpoint.requests]) == (1, ["/api/messages", "/new"])
        for status in (302, 307):
            report, _ = await sent(endpoint, redirect(status, other.url), attempts=1)
            assert report.failed == 1
        assert other.requests == []
    assert lines[-2].startswith(f"ERROR Request failed (attempt 1/1): {endpoint.url}: redirects to http://127.0.0.1;")


@pytest.mark.parametrize(
    ("value", "waited"), [("7", (7, 7)), ("date", (30, 60)), ("soon", (30, 30)), ("86400", (300, 300))]
)
async def test_retry_after_replaces_the_wait(endpoint: Endpoint, value: str, waited: tuple[float, float]) -> None:
    if value == "date":
        value = formatdate(time.time() + 60, usegmt=True)
    report, (wait,) = await sent(endpoint, retry_after(value), 201)
    assert waited[0] <= wait <= waited[1]
    assert report.sent == 1


async def test_retry_after_of_the_last_attempt_holds_for_the_next_message(endpoint: Endpoint, lines: list[str]) -> None:
    report, waits = await sent(endpoint, retry_after("9"), 201, count=2, attempts=1)
    assert (report.sent, report.failed, waits) == (1, 1, [9])
    assert "INFO Waiting 9 seconds before the next message..." in lines


async def test_several_messages_use_one_connection_and_a_failure_stops_no_other(endpoint: Endpoint) -> None:
    report, _ = await sent(endpoint, 201, 500, 500, 201, count=3, attempts=2)
    assert (report.sent, report.failed) == (2, 1)
    assert len(endpoint.requests) == 4
    assert len(endpoint.peers) == 1


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:1: cannot connect: Connection refused"),
        ("http://nosuch.invalid", "http://nosuch.invalid: cannot connect: "),
    ],
)
async def test_an_api_that_is_away_is_logged_with_the_reason(
    endpoint: Endpoint, lines: list[str], url: str, text: str
) -> None:
    report, _ = await sent(endpoint, 201, url=url, attempts=1)
    assert lines[-2].startswith(f"ERROR Request failed (attempt 1/1): {text}")
    assert report.attempts["failed"] == 1


async def test_the_timeout_holds_for_the_attempt_as_a_whole(endpoint: Endpoint, lines: list[str]) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.write(b"HTTP/1.1 201 Created\r\n")
        while True:  # headers without an end: each read succeeds
            request.transport.write(b"X: y\r\n")
            await asyncio.sleep(0.05)

    for answer in (hang, trickle):
        report, _ = await sent(endpoint, answer, timeout_s=0.3, attempts=1)
        assert report.failed == 1
        assert lines[-2] == f"ERROR Request failed (attempt 1/1): {endpoint.url}: no answer within 0.3 s"


def test_the_metrics_are_gauges_and_a_failed_run_keeps_the_time_of_the_last_success() -> None:
    def values(report: Report) -> dict[str, float]:
        families = list(Gauges(report, took_s=2.5, ended_at=NOW).registry.collect())
        assert {family.type for family in families} == {"gauge"}
        return {
            sample.name.removeprefix(f"{PREFIX}_send_") + "".join(f"/{value}" for value in sample.labels.values()): (
                sample.value
            )
            for family in families
            for sample in family.samples
        }

    good = Report(sent=2, attempts={"success": 2, "error": 1, "failed": 0}, slowest_answer_s=0.5)
    assert values(good) == {
        "sent_messages": 2,
        "failed_messages": 0,
        "attempts/success": 2,
        "attempts/error": 1,
        "attempts/failed": 0,
        "slowest_answer_seconds": 0.5,
        "duration_seconds": 2.5,
        "last_run_timestamp_seconds": NOW,
        "last_success_timestamp_seconds": NOW,
    }
    assert values(Report(sent=1, failed=1)).keys() == values(good).keys() - {"last_success_timestamp_seconds"}


def test_every_metric_is_documented() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("\n## Metrics\n")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `(\w+)", table, re.MULTILINE))
    names = {family.name.removeprefix(f"{PREFIX}_send_") for family in Gauges(Report(), took_s=1).registry.collect()}
    assert documented == names


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (202, []),
        (400, ["ERROR Pushgateway returned error 400: what is wrong"]),
        (break_off, ["ERROR Push to Pushgateway failed: "]),
    ],
)
async def test_metrics_are_added_to_the_group_of_the_environment(
    endpoint: Endpoint, lines: list[str], answer: int | Answer, expected: list[str]
) -> None:
    endpoint.answers = [answer]
    await Gauges(Report(sent=1), took_s=1).push(endpoint.url.removesuffix("/api/messages"), "test")
    ((path, pushed, _),) = endpoint.requests
    assert path == "/metrics/job/peekaping-sender/environment/test"
    assert b"peekaping_producer_send_sent_messages 1.0" in pushed
    assert [line[: len(text)] for line, text in zip(lines, expected, strict=True)] == expected
