"""A hold: until when monitors are not checked, who asked for that, and why."""

import msgspec

from peekaping_producer.schedule import MAX_HOLD_ALL_S, MAX_HOLD_S

SLACK_MS = 60_000
"""Redis TIME may have stepped back since the hold began; a later end is ignored, as in the scripts."""


class Hold(msgspec.Struct, frozen=True):
    """A hold on all monitors, or on one."""

    until_ms: float
    """Redis TIME."""
    who: str
    why: str


_decode = msgspec.json.Decoder(Hold).decode
_encode = msgspec.json.Encoder().encode


def encode_hold(who: str, why: str) -> bytes:
    """Return a hold without `until_ms`, which the script adds."""
    return _encode({"who": _encodable(who), "why": _encodable(why)})


def _encodable(text: str) -> str:
    """Return a text of the command line, which may contain bytes that are not UTF-8, with ? in their places."""
    return text.encode(errors="replace").decode()


def current_hold(stored: bytes | None, now_ms: int, *, on_all: bool = False) -> Hold | None:
    """Return the hold, as it is stored; None if it has ended, ends later than any hold may, or is malformed."""
    try:
        hold = _decode(stored) if stored else None
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    longest_ms = 1000 * (MAX_HOLD_ALL_S if on_all else MAX_HOLD_S) + SLACK_MS
    return hold if hold and now_ms < hold.until_ms <= now_ms + longest_ms else None
