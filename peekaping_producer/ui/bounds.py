"""Bounds for numbers from Redis: those of other programs may not fit into JSON."""

_MAX = 2**53
"""JavaScript has no larger exact integers."""


def bounded(number: float) -> int:
    """Return the number, at most 2**53 away from 0."""
    return int(max(-_MAX, min(number, _MAX)))
