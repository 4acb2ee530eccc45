"""Lines of styled text, and how they fit into a number of columns."""

import textwrap
from collections.abc import Iterable, Sequence
from enum import StrEnum
from unicodedata import combining, east_asian_width

from peekaping_producer.service.text import escaped


class Style(StrEnum):
    """The parameters of an ANSI sequence."""

    PLAIN = ""
    BOLD = "1"
    DIM = "2"
    GOOD = "32"
    WARN = "33"
    BAD = "31"


Part = tuple[str, Style]
Line = Sequence[Part]


def plain(text: str) -> Line:
    """Return a line of one part."""
    return [(text, Style.PLAIN)]


def wrapped(text: str, width: int, style: Style) -> list[Line]:
    """Return the words of the text on as many lines as they need."""
    return [[(line, style)] for line in textwrap.wrap(escaped(text), max(width, 1))]


def columns(text: str) -> int:
    """Return how many columns of a terminal the text needs."""
    return sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """Return the beginning of the text that needs at most `width` columns."""
    used = 0
    for at, character in enumerate(text):
        used += _columns_of(character)
        if used > width:
            return text[:at]
    return text


def as_text(line: Line, width: int, *, color: bool) -> str:
    """Return the line, cut to `width` columns, with ANSI colors if `color`."""
    shown = ""
    for text, style in line:
        part = cut(escaped(text), width)
        width -= columns(part)
        shown += f"\033[{style}m{part}\033[0m" if color and style and part else part
        if width <= 0:
            break
    return shown


def between(left: Line, right: Line, width: int) -> Line:
    """Return a line with `right` at its end; without it if both do not fit."""
    gap = width - sum(columns(text) for text, _ in (*left, *right))
    return [*left, (" " * gap, Style.PLAIN), *right] if gap > 1 else left


def flowed(items: Iterable[Part], width: int) -> list[Line]:
    """Return lines of these items, three spaces apart, each on the first line that has room."""
    lines: list[list[Part]] = []
    used = 0
    for text, style in items:
        needed = columns(text)
        if not lines or used + 3 + needed > width:
            lines.append([(text, style)])
            used = needed
        else:
            lines[-1] += [("   ", Style.PLAIN), (text, style)]
            used += 3 + needed
    return list(lines)
