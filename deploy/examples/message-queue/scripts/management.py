"""The queues of RabbitMQ, as its management API reports them.

Where it is: MANAGEMENT_URL (http://localhost:15672), RABBITMQ_USER, RABBITMQ_PASS and RABBITMQ_VHOST.
"""

import base64
import json
import os
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

_TIMEOUT_S = 10
_STABLE_S = 6.0
"""RabbitMQ updates its statistics every 5 s."""


def setting(name: str, default: str) -> str:
    """A variable of the environment, otherwise of ../.env, otherwise `default`."""
    path = Path(__file__).resolve().parents[1] / ".env"
    lines = path.read_text().splitlines() if path.exists() else []
    in_file = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return os.environ.get(name) or in_file.get(name) or default


class Queue:
    """The state of one queue."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.ready: int = document.get("messages_ready", 0)
        self.unacked: int = document.get("messages_unacknowledged", 0)
        self.consumers: int = document.get("consumers", 0)
        self._statistics = document.get("message_stats", {})

    @property
    def received(self) -> int:
        """How many messages the queue has ever received: those that consumers acknowledged, and those in it."""
        return int(self._statistics.get("ack", 0)) + self.ready + self.unacked

    def rate(self, event: str) -> float:
        """Events per second: publish, deliver_get, or ack."""
        return float(self._statistics.get(f"{event}_details", {}).get("rate", 0.0))


def management_url() -> str:
    """The address of the management API."""
    return setting("MANAGEMENT_URL", f"http://localhost:{setting('MANAGEMENT_PORT', '15672')}")


def queues() -> dict[str, Queue]:
    """All queues of the virtual host, by name. Raises OSError if the management API cannot be called."""
    vhost = quote(setting("RABBITMQ_VHOST", "/"), safe="")
    login = f"{setting('RABBITMQ_USER', 'admin')}:{setting('RABBITMQ_PASS', 'password')}"
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    request = urllib.request.Request(f"{management_url()}/api/queues/{vhost}", headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        return {document["name"]: Queue(document) for document in json.load(answer)}


def received() -> int:
    """How many messages the producer's queue has ever received."""
    queue = queues().get(setting("RABBITMQ_QUEUE", "logs"))
    return queue.received if queue else 0


def received_when_stable() -> int:
    """The same, once it has not changed for 6 s."""
    count, since = received(), time.monotonic()
    while time.monotonic() - since < _STABLE_S:
        time.sleep(0.5)
        if (now := received()) != count:
            count, since = now, time.monotonic()
    return count
