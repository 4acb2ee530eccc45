"""A client of the producer's HTTP API. PRODUCER_URL (http://localhost:5000) and API_TOKEN select it."""

import http.client
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from management import setting

URL = setting("PRODUCER_URL", f"http://localhost:{setting('PRODUCER_PORT', '5000')}")
_TIMEOUT_S = 30


class Answer(NamedTuple):
    """Status, headers and body; the body is decoded if it is JSON."""

    status: int
    headers: http.client.HTTPMessage
    body: Any


class Producer:
    """One connection, which stays open. Use one for each thread."""

    def __init__(self, url: str = URL) -> None:
        parts = urlsplit(url)
        token = setting("API_TOKEN", "")
        self._authorization = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection = http.client.HTTPConnection(parts.hostname or "localhost", parts.port, timeout=_TIMEOUT_S)

    def get(self, path: str) -> Answer:
        """Send a GET. Raises OSError or http.client.HTTPException."""
        return self._send("GET", path)

    def post(self, path: str, body: object, content_type: str = "application/json") -> Answer:
        """Send a POST; `bytes` are sent as they are, anything else as JSON. Raises as `get`."""
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._send("POST", path, encoded, {"Content-Type": content_type, **self._authorization})

    def _send(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        self._connection.request(method, path, body or None, dict(headers or {}))
        response = self._connection.getresponse()
        text = response.read()
        is_json = response.headers.get_content_type() == "application/json"
        return Answer(response.status, response.headers, json.loads(text) if is_json else text.decode())
