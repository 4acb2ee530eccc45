"""Fleet events: what replicas did and what changed, in a stream that keeps about the latest thousand."""

from collections.abc import Iterable, Iterator

import msgspec

from peekaping_producer.schedule import StoredEvent
from peekaping_producer.service.text import one_line

_MAX_MESSAGE_LENGTH = 400
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
    who: str = ""
    """The person who asked for it."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(FleetEvent).decode


def encode_event(event: FleetEvent) -> bytes:
    """Encode as JSON of at most a few hundred characters."""
    return _encode(_shortened(event))


def encode_act(kind: str, message: str, who: str, monitor_id: str | None) -> bytes:
    """Encode the event of an act without its time, which the script adds."""
    event = msgspec.to_builtins(_shortened(FleetEvent(0, kind, message, monitor_id=monitor_id, who=who)))
    del event["at_ms"]
    return _encode(event)


def _shortened(event: FleetEvent) -> FleetEvent:
    return FleetEvent(
        event.at_ms,
        one_line(event.kind, _MAX_NAME_LENGTH),
        one_line(event.message, _MAX_MESSAGE_LENGTH),
        one_line(event.node, _MAX_NAME_LENGTH),
        None if event.monitor_id is None else one_line(event.monitor_id, _MAX_NAME_LENGTH),
        one_line(event.who, _MAX_NAME_LENGTH),
    )


def decode_event(text: bytes) -> FleetEvent | None:
    """Decode an event; None if it is malformed."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None


def decode_events(stored: Iterable[StoredEvent]) -> Iterator[FleetEvent]:
    """Decode events, in their order; without malformed ones."""
    return (event for entry in stored if (event := decode_event(entry.text)))
