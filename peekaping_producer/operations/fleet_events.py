"""Fleet events: what replicas did and what changed, in a stream that keeps about the latest thousand."""

from collections.abc import Iterable, Iterator

import msgspec

from peekaping_producer.schedule import StoredEvent
from peekaping_producer.service.text import one_line

_MAX_MESSAGE_LENGTH = 300
_MAX_NAME_LENGTH = 100


class FleetEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event."""

    at_ms: int
    """Redis TIME."""
    kind: str
    """The name of the log event."""
    message: str
    """A sentence without secrets."""
    node: str = ""
    monitor_id: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(FleetEvent).decode


def encode_event(event: FleetEvent) -> bytes:
    """Encode as JSON of at most a few hundred characters."""
    short = FleetEvent(
        event.at_ms,
        one_line(event.kind, _MAX_NAME_LENGTH),
        one_line(event.message, _MAX_MESSAGE_LENGTH),
        one_line(event.node, _MAX_NAME_LENGTH),
        None if event.monitor_id is None else one_line(event.monitor_id, _MAX_NAME_LENGTH),
    )
    return _encode(short)


def decode_event(text: bytes) -> FleetEvent | None:
    """Decode an event; None if it is malformed."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None


def decode_events(stored: Iterable[StoredEvent]) -> Iterator[FleetEvent]:
    """Decode events, in their order; without malformed ones."""
    return (event for entry in stored if (event := decode_event(entry.text)))
