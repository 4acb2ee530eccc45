"""From the producer through RabbitMQ to the consumer, with the system running.

CONSUMER_URL: where a consumer serves its metrics, http://localhost:8000; in containers `make metrics` prints them.
"""

import subprocess
import time
import urllib.request
import uuid
from pathlib import Path

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


def metrics() -> str:
    """Those of one consumer."""
    url = setting("CONSUMER_URL", "http://localhost:8000")
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        example = Path(__file__).parents[1]
        return subprocess.run(["make", "metrics"], cwd=example, stdout=subprocess.PIPE, text=True, check=True).stdout


def test_the_consumer_counts_messages() -> None:
    text = metrics()
    for metric in (
        "messages_consumed_total",
        "message_processing_duration_seconds_count",
        "message_processing_errors_total",
    ):
        assert f"\n{metric} " in text
