"""Bounds for numbers and texts of other programs."""

from peekaping_producer.service.text import one_line

_MAX = 2**53
"""JavaScript has no larger exact integers."""


def bounded(number: float) -> int:
    """Return the number, at most 2**53 away from 0."""
    return int(max(-_MAX, min(number, _MAX)))


def short(text: str, max_length: int) -> str:
    """Return the text on one line, of at most `max_length` characters also where some had to be escaped."""
    shown = one_line(text, max_length)
    return shown if len(shown) <= max_length + 1 else f"{shown[:max_length]}…"
