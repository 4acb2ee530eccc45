"""Test the running system: one message, a batch, bad input, then many requests at once, and that no message is lost.

    python scripts/test_system.py [--requests 2000] [--connections 32]

The exit code is 1 if a check fails. No other program may produce messages meanwhile. The addresses are those of
producer.py and management.py.
"""

import argparse
import http.client
import itertools
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import management
from producer import URL, Producer

_RUN = uuid.uuid4().hex[:8]
_COUNTED_WITHIN_S = 60.0
_MAX_PAUSE_S = 5.0
BAD_INPUT = [
    (400, b"{", "application/json"),
    (415, b'{"id": "a", "payload": 1}', "text/plain"),
    (422, b'{"id": "a"}', "application/json"),
    (422, b'{"id": 1, "payload": 1}', "application/json"),
    (422, b'{"id": "%s", "payload": 1}' % (b"x" * 256), "application/json"),
    (422, b'{"id": "a", "payload": 1, "processing_time": -1}', "application/json"),
]
"""Status, body and Content-Type of requests for /produce that are refused."""


class CheckError(Exception):
    """The system did not answer as it must."""


def expect(condition: object, text: str) -> None:
    """Raise CheckError with `text` unless `condition` holds."""
    if not condition:
        raise CheckError(text)


class SystemTest:
    """The checks, in their order; each returns what it found. `produced` counts the messages that were accepted."""

    def __init__(self, requests: int, connections: int) -> None:
        self._requests = requests
        self._connections = connections
        self._producer = Producer()
        self.produced = 0
        self._received_before = 0

    def health(self) -> str:
        """GET /health."""
        answer = self._producer.get("/health")
        expect(answer.status == 200 and answer.body["status"] == "healthy", f"/health: got {answer}")
        self._received_before = management.received_when_stable()
        return "the producer is healthy"

    def single(self) -> str:
        """POST /produce."""
        name = f"{_RUN}-single"
        answer = self._producer.post("/produce", {"id": name, "payload": {"text": "Hello"}, "processing_time": 0.1})
        expect(answer.status == 200 and answer.body["message_id"] == name, f"/produce: got {answer}")
        self.produced += 1
        return "1 message"

    def batch(self) -> str:
        """POST /batch-produce."""
        messages = [{"id": f"{_RUN}-batch-{number}", "payload": number} for number in range(100)]
        answer = self._producer.post("/batch-produce", {"messages": messages})
        expect(answer.status == 200 and answer.body["messages_produced"] == 100, f"/batch-produce: got {answer}")
        self.produced += 100
        return "100 messages"

    def bad_input(self) -> str:
        """Requests that are refused: none of their messages may arrive, which `nothing_lost` shows."""
        for status, body, content_type in BAD_INPUT:
            answer = self._producer.post("/produce", body, content_type)
            expect(answer.status == status, f"{body.decode()[:60]!r}: expected {status}, got {answer}")
            expect(answer.body["error"], f"{body.decode()[:60]!r}: expected an error, got {answer}")
        mixed = {"messages": [{"id": f"{_RUN}-good", "payload": 1}, {"id": f"{_RUN}-bad"}]}
        answer = self._producer.post("/batch-produce", mixed)
        expect(answer.status == 422, f"a batch with a bad message: expected 422, got {answer}")
        expect("$.messages[1]" in answer.body["error"], f"expected the place of the error, got {answer}")
        return f"{len(BAD_INPUT) + 1} requests refused"

    def load(self) -> str:
        """Send requests over several connections at once. One that is answered with 503 is repeated with its id."""
        numbers = itertools.count()
        lock = threading.Lock()
        durations: list[float] = []
        repeated = 0

        def send() -> None:
            nonlocal repeated
            producer = Producer()
            while (number := next(numbers)) < self._requests:
                message = {"id": f"{_RUN}-load-{number}", "payload": "x" * 100}
                began_at = time.perf_counter()
                while (answer := producer.post("/produce", message)).status in {429, 503}:
                    with lock:
                        repeated += 1
                    time.sleep(min(float(answer.headers["Retry-After"]), _MAX_PAUSE_S))
                    began_at = time.perf_counter()
                expect(answer.status == 200, f"/produce: got {answer}")
                with lock:
                    durations.append(time.perf_counter() - began_at)

        began_at = time.perf_counter()
        with ThreadPoolExecutor(self._connections) as threads:
            for future in [threads.submit(send) for _ in range(self._connections)]:
                future.result()
        took_s = time.perf_counter() - began_at
        expect(len(durations) == self._requests, f"expected {self._requests} answers, got {len(durations)}")
        self.produced += self._requests
        durations.sort()
        p50, p99 = (1000 * durations[int(len(durations) * part)] for part in (0.5, 0.99))
        return (
            f"{self._requests:,} requests over {self._connections} connections: {self._requests / took_s:,.0f} "
            f"requests/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {repeated} repeated"
        )

    def nothing_lost(self) -> str:
        """The queue must have received exactly the messages that were accepted."""
        deadline = time.monotonic() + _COUNTED_WITHIN_S
        while (received := management.received() - self._received_before) != self.produced:
            text = f"{self.produced:,} messages were accepted, the queue received {received:,}"
            expect(time.monotonic() < deadline, text)
            time.sleep(0.5)
        return f"{self.produced:,} messages were accepted, and the queue received {received:,}"


def main() -> int:
    """Run all checks up to the first that fails; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000, help="requests of the load test (2000)")
    parser.add_argument("--connections", type=int, default=32, help="connections of the load test (32)")
    args = parser.parse_args()
    test = SystemTest(args.requests, args.connections)
    for check in (test.health, test.single, test.batch, test.bad_input, test.load, test.nothing_lost):
        name = check.__name__.replace("_", " ")
        try:
            print(f"{name:13} ok      {check()}", flush=True)
        except (CheckError, OSError, http.client.HTTPException) as error:
            print(f"{name:13} FAILED  {error or type(error).__name__} ({URL})", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
