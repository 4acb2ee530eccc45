"""Posts messages with the current time, one after another; each is tried several times."""

import asyncio
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from peekaping_producer.errors import BrokerError
from peekaping_producer.sender.report import Report
from peekaping_producer.service.text import one_line
from peekaping_producer.targets import HttpTarget
from peekaping_producer.transports.http_endpoint import HttpEndpoint

log = logging.getLogger(__name__)

_HEADERS = {"Content-Type": "application/json"}
_MAX_SHOWN = 500


class Sender:
    """Sends messages over one connection. The texts of its log lines are part of its interface: scripts search them."""

    def __init__(
        self,
        target: HttpTarget,
        environment: str,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._target = target
        self._environment = environment
        self._endpoint = HttpEndpoint(target)
        self._sleep = sleep
        self._now = now
        self._retry_after_s: float | None = None
        self.report = Report()

    async def send(self, count: int) -> None:
        """Send `count` messages. One that fails stops no other."""
        for number in range(count):
            if number and self._retry_after_s:
                log.info("Waiting %d seconds before the next message...", self._retry_after_s)
                await self._sleep(self._retry_after_s)
            if await self._send(self._message()):
                self.report.sent += 1
            else:
                self.report.failed += 1

    async def close(self) -> None:
        """Close the connection."""
        await self._endpoint.close()

    def _message(self) -> bytes:
        timestamp = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%d %H:%M:%S")
        text = json.dumps({"datetime": timestamp, "environment": self._environment})
        log.info("Message created: %s", text)
        return text.encode()

    async def _send(self, message: bytes) -> bool:
        attempts = self._target.attempts
        for attempt in range(1, attempts + 1):
            log.info("Sending message to API (attempt %d/%d)", attempt, attempts)
            if await self._attempt(message, f"(attempt {attempt}/{attempts})"):
                return True
            if attempt < attempts:
                delay_s = self._target.retry_delay_s if self._retry_after_s is None else self._retry_after_s
                log.info("Waiting %g seconds before retry...", delay_s)
                await self._sleep(delay_s)
        log.error("Failed to send message to API after %d attempts", attempts)
        return False

    async def _attempt(self, message: bytes, label: str) -> bool:
        """Post once; whether the API accepted the message. The status decides, whatever the body contains."""
        self._retry_after_s = None
        began_at = time.monotonic()
        try:
            answer = await self._endpoint.post(message, _HEADERS)
        except BrokerError as error:
            log.error("Request failed %s: %s", label, error)
            self.report.attempts["failed"] += 1
            return False
        self.report.slowest_answer_s = max(self.report.slowest_answer_s, time.monotonic() - began_at)
        if answer.status in self._target.success:
            log.info("Successfully sent message to API: %s", _shown(answer.body))
            self.report.attempts["success"] += 1
            return True
        log.error("API returned error %d: %s", answer.status, one_line(_text(answer.body), _MAX_SHOWN))
        self.report.attempts["error"] += 1
        if answer.retry_after_s is not None:
            self._retry_after_s = math.ceil(answer.retry_after_s)
        return False


def _shown(body: bytes) -> str:
    """The value of a JSON body as Python prints it; any other body as text."""
    try:
        return one_line(str(json.loads(body)), _MAX_SHOWN)
    except (ValueError, RecursionError):
        return one_line(_text(body), _MAX_SHOWN)


def _text(body: bytes) -> str:
    return body.decode(errors="replace").strip() or "(no body)"
