"""The producer's endpoints, with the system running."""

import re
import uuid

import pytest
from producer import Producer
from test_system import BAD_INPUT


@pytest.fixture
def name() -> str:
    """An id for a message."""
    return f"test-{uuid.uuid4()}"


def test_it_is_healthy(producer: Producer) -> None:
    body = producer.get("/health").body
    assert body["status"] == "healthy"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", body["timestamp"])


def test_it_accepts_a_message(producer: Producer, name: str) -> None:
    answer = producer.post("/produce", {"id": name, "payload": "content", "processing_time": 0.5})
    assert answer.status == 200
    assert (answer.body["status"], answer.body["message_id"]) == ("success", name)


def test_it_accepts_a_batch(producer: Producer, name: str) -> None:
    messages = [{"id": f"{name}-{number}", "payload": number} for number in range(3)]
    answer = producer.post("/batch-produce", {"messages": messages})
    assert (answer.status, answer.body) == (200, {"status": "success", "messages_produced": 3})


@pytest.mark.parametrize(("status", "body", "content_type"), BAD_INPUT)
def test_it_refuses_bad_input(producer: Producer, status: int, body: bytes, content_type: str) -> None:
    answer = producer.post("/produce", body, content_type)
    assert answer.status == status
    assert answer.body["status"] == "error"


def test_it_counts_messages_and_requests(producer: Producer, name: str) -> None:
    def produced() -> float:
        (count,) = re.findall(r"^messages_produced_total (\S+)$", producer.get("/metrics").body, re.MULTILINE)
        return float(count)

    before = produced()
    producer.post("/produce", {"id": name, "payload": 1})
    assert produced() >= before + 1
    assert 'http_request_duration_seconds_count{route="/produce"}' in producer.get("/metrics").body


def test_it_describes_itself(producer: Producer) -> None:
    assert {"/produce", "/batch-produce", "/health", "/metrics"} <= set(producer.get("/openapi.json").body["paths"])
