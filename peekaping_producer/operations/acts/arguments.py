"""Checks the arguments of acts, and writes them into events."""

from collections.abc import Iterable, Sequence

from peekaping_producer.errors import ActError
from peekaping_producer.operations.acts.model import MAX_WHO, MAX_WHY, Actor
from peekaping_producer.operations.fleet_events import encode_act
from peekaping_producer.schedule import ALL_MONITORS
from peekaping_producer.service.text import one_line


def distinct(ids: Sequence[str], most: int) -> list[str]:
    """Return the ids, each once. Raises ActError."""
    distinct = list(dict.fromkeys(ids))
    if not 1 <= len(distinct) <= most:
        raise ActError(f"monitors: expected 1 to {most:,}, got {len(distinct):,}")
    if ALL_MONITORS in distinct:
        raise ActError(f"monitors: expected ids, got {ALL_MONITORS!r}, which is reserved")
    return distinct


def by(actor: Actor, why: str, *, must_say_why: bool = False) -> str:
    """Return who asks, from where and why, as the end of a sentence. Raises ActError."""
    for name, text, most, needed in (("who", actor.who, MAX_WHO, True), ("why", why, MAX_WHY, must_say_why)):
        if needed and not text.strip():
            raise ActError(f"{name}: expected a text, got none")
        if len(text) > most:
            raise ActError(f"{name}: expected at most {most} characters, got {len(text)}")
    reason = f': "{one_line(why)}"' if why.strip() else ""
    return f"by {one_line(actor.who)} ({one_line(actor.origin, 60)}){reason}."


def check_duration(for_s: float, longest_s: float) -> None:
    """Raise ActError unless a hold may last so long."""
    if not 1 <= for_s <= longest_s:
        raise ActError(f"for: expected 1 to {longest_s:,.0f} s, got {for_s:g}")


def events_of(kind: str, text: str, ids: Iterable[str], actor: Actor) -> dict[str, bytes]:
    """Return an event for each monitor."""
    return {monitor_id: encode_act(kind, text, actor.who, monitor_id) for monitor_id in ids}
