"""Decodes asynq's ServerInfo (internal/proto/asynq.proto, v0.25.1): what a worker process registers every 5 s."""

import msgspec

from peekaping_producer.transports.asynq.protobuf import WireError, read_field
from peekaping_producer.transports.asynq.worker_info import started_ms

_MAX_QUEUES = 50


class ServerInfo(msgspec.Struct, frozen=True):
    """A worker process."""

    host: str = ""
    pid: int = 0
    concurrency: int = 0
    """Number of tasks that it runs at the same time."""
    queues: tuple[str, ...] = ()
    status: str = ""
    """`active`; `stopped` and `closed` while it shuts down."""
    active: int = 0
    """Number of tasks that it runs."""
    started_ms: int | None = None
    """When it was started, in ms since the Unix epoch, by its own clock."""


def decode_server_info(data: bytes) -> ServerInfo | None:
    """Decode a ServerInfo; None if it is malformed. Unknown fields are ignored."""
    values: dict[int, int | bytes] = {}
    queues: list[str] = []
    at = 0
    try:
        while at < len(data):
            tag, value, at = read_field(data, at)
            if tag >> 3 == 5 and isinstance(value, bytes) and len(queues) < _MAX_QUEUES:
                queues.append(_key_of(value))
            values[tag >> 3] = value
    except WireError:
        return None
    return ServerInfo(
        _text(values.get(1)),
        _int(values.get(2)),
        _int(values.get(4)),
        tuple(queues),
        _text(values.get(7)),
        _int(values.get(9)),
        started_ms(data),
    )


def _key_of(entry: bytes) -> str:
    """Return the key of an entry of a map. Raises WireError."""
    at = 0
    while at < len(entry):
        tag, value, at = read_field(entry, at)
        if tag >> 3 == 1:
            return _text(value)
    return ""


def _text(value: int | bytes | None) -> str:
    return value.decode(errors="replace")[:200] if isinstance(value, bytes) else ""


def _int(value: int | bytes | None) -> int:
    return value if isinstance(value, int) else 0
