"""The events that Peekaping's API server publishes when a monitor changes: channels and contents."""

import msgspec

CHANNEL_PREFIX = "peekaping:events:"
TYPES = ("monitor.created", "monitor.updated", "monitor.deleted")
CHANNELS = tuple(CHANNEL_PREFIX + each for each in TYPES)


class _Event(msgspec.Struct):
    type: str
    payload: msgspec.Raw = msgspec.Raw(b"null")


class _Monitor(msgspec.Struct):
    id: str


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_payload = msgspec.json.Decoder(_Monitor | str | None).decode


def monitor_id_of(message: bytes) -> str | None:
    """Return the id of the monitor in an event message; None if it has none (an unknown id was patched).

    Raises ValueError for a malformed message.
    """
    try:
        payload = _decode_payload(_decode_event(message).payload)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise ValueError(str(error)) from None
    return payload.id if isinstance(payload, _Monitor) else payload
