"""Which monitor a person means."""

from collections.abc import Sequence

from peekaping_producer.stores import FoundMonitor

MAX_FOUND = 20
"""Monitors that are listed if several match."""


def the_one(text: str, found: Sequence[FoundMonitor]) -> FoundMonitor | None:
    """Return the monitor that `text` names: the only match, or the only one with exactly this id or name."""
    for exact in ([one for one in found if one.plan.id == text], [one for one in found if one.name == text]):
        if len(exact) == 1:
            return exact[0]
    return found[0] if len(found) == 1 else None
