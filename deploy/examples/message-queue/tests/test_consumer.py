"""From the producer through RabbitMQ to the consumer, with the system running. CONSUMER_URL: one of the consumers."""

import time
import urllib.request
import uuid

from management import queues, setting
from producer import Producer

_WITHIN_S = 60.0


def test_messages_leave_the_queue(producer: Producer) -> None:
    name = f"test-{uuid.uuid4()}"
    messages = [{"id": f"{name}-{number}", "payload": number} for number in range(10)]
    assert producer.post("/batch-produce", {"messages": messages}).status == 200
    deadline = time.monotonic() + _WITHIN_S
    while True:
        queue = queues()[setting("RABBITMQ_QUEUE", "logs")]
        if queue.consumers and not queue.ready + queue.unacked:
            break
        assert time.monotonic() < deadline, f"{queue.ready} ready, {queue.unacked} unacked, {queue.consumers} consumers"
        time.sleep(0.5)


def test_the_consumer_counts_messages() -> None:
    url = setting("CONSUMER_URL", "http://localhost:8000")
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    for metric in (
        "messages_consumed_total",
        "message_processing_duration_seconds_count",
        "message_processing_errors_total",
    ):
        assert f"\n{metric} " in text
