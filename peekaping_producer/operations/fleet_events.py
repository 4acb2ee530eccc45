"""Fleet events: what replicas did and what changed, in a stream that keeps about the latest thousand."""

import re
from collections.abc import Iterable, Iterator

import msgspec

from peekaping_producer.schedule import StoredEvent
from peekaping_producer.service.text import one_line

SYNCED, EDITED = "schedule.synced", "schedule.edited"
"""Kinds of events: a sync, or an edit of a monitor, changed the schedule."""
_LISTS = re.compile(r"\b(Added|Moved|Removed): (.*?)(?: and [0-9,]+ more)?\.(?= |$)")
_MAX_MESSAGE_LENGTH = 1000
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

    def is_about(self, beginning: str) -> bool:
        """Whether it is about a monitor whose id begins so; a sync names several."""
        ids = [self.monitor_id or "", *(id_ for ids in self._named().values() for id_ in ids)]
        return any(monitor_id.startswith(beginning) for monitor_id in ids if monitor_id)

    def removed(self, beginning: str) -> str:
        """Return the id of the monitor that it removed from the schedule, if that begins so; otherwise ''."""
        removed = self._named().get("Removed", [])
        if self.kind == EDITED and self.monitor_id and self.message.endswith(" 1 removed."):
            removed = [self.monitor_id]
        return next((monitor_id for monitor_id in removed if monitor_id.startswith(beginning)), "")

    def _named(self) -> dict[str, list[str]]:
        """Return the ids that a sync names, by what it did."""
        lists = _LISTS.findall(self.message) if self.kind == SYNCED else ()
        return {what: ids.split(", ") for what, ids in lists}


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(FleetEvent).decode


def encode_event(event: FleetEvent) -> bytes:
    """Encode as JSON of bounded size."""
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
