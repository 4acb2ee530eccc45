"""The error that ends a request."""

from collections.abc import Mapping
from http import HTTPStatus


class RequestError(Exception):
    """Ends a request with this status. `headers`: those of the response."""

    def __init__(self, status: HTTPStatus, reason: str, *, retry_after_s: int = 0, headers: Mapping[str, str] = {}):
        self.status = status
        self.reason = reason
        self.headers = dict(headers)
        if retry_after_s:
            self.headers["Retry-After"] = str(retry_after_s)
        super().__init__(reason)
