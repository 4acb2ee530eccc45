"""Nodes: what the browser shows, as JSON that `static/page.js` turns into elements.

A node is a text, a number, or a list: ["p.hint", {"title": "…"}, *children]. The name contains the classes; the
attributes may be missing. ["", *children] has no element of its own. A name that begins with a capital letter is a part
that the browser completes, so that frames stay small. Text is only ever set as text. None, False and "" show nothing.
"""

import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from peekaping_producer.service.text import clock_time, duration

Node: TypeAlias = str | int | float | list[Any] | None
Attributes: TypeAlias = Mapping[str, str | float]
Column: TypeAlias = tuple[str, str]
"""A heading, and the class of the cells below it."""
Pair: TypeAlias = tuple[str, Node] | tuple[str, Node, str]
"""A name, its value, and the class of the value. Without a value it is left out."""

VERSION = 2
"""Of frames and views: incremented when the scripts of a page that is open can no longer show them."""

_DIGITS = string.digits + string.ascii_lowercase
_SPARK_OF_AT_LEAST = 5
"""The count whose height is the whole line, if none is higher: a few hand-offs look like a few."""
_JOINERS = "\u200c\u200d"
"""Parts of words and of emojis; they hide nothing."""
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of characters that control, reorder or break a line, or that JSON cannot contain."""


def visible(text: str) -> str:
    """Return user input with control and bidirectional format characters as codes: `\\u202e`.

    Other texts stay as they are, with quotes and emojis: an element has no end that they could forge, as a line has.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    is_hidden = unicodedata.category(character) in _INVISIBLE and character not in _JOINERS
    return f"\\u{ord(character):04x}" if is_hidden else character


def user_text(text: str) -> Node:
    """Return user input as an element that isolates its direction."""
    return ["bdi", visible(text)]


def prose(text: str) -> Node:
    """Return a text of the program; what is between backticks becomes code."""
    parts = visible(text).split("`")
    if len(parts) % 2 == 0:
        return user_text(text)
    return ["", *(["code" if i % 2 else "bdi", part] for i, part in enumerate(parts) if part)]


def tag(word: Node, css: str = "") -> Node:
    """Return a word in a colored box."""
    return [f"span.tag {css}".rstrip(), word]


def sub(*children: Node) -> Node:
    """Return a small second line."""
    return ["span.sub", *children]


def hint(*children: Node) -> Node:
    """Return a paragraph that explains."""
    return ["p.hint", *children]


def card(title: str, note: Node, *children: Node) -> Node:
    """Return a section with a heading, and a note beside it."""
    shown = [child for child in children if child is not None]
    return ["section.card", ["header", ["h2", title], ["span.note", *([note] if note else [])]], *shown]


def link(monitor_id: str, name: str | None = None) -> Node:
    """Return a link to the page of a monitor."""
    return ["Link", monitor_id, visible(name or monitor_id)]


def table(css: str, columns: Sequence[Column], rows: Iterable[Sequence[Node]]) -> Node:
    """Return a table; each row has a cell for each column."""
    return ["Table", css, list(columns), [list(row) for row in rows]]


def pairs(css: str, rows: Iterable[Pair]) -> Node:
    """Return names with their values."""
    return ["Pairs", css, [list(row if row[-1] else row[:2]) for row in rows if row[1] not in (None, "", False)]]


def spark(counts: Sequence[int]) -> Node:
    """Return a small line of counts by second: their heights as digits of base 36, and the highest count."""
    highest = max(counts)
    scale = (len(_DIGITS) - 1) / max(highest, _SPARK_OF_AT_LEAST)
    return ["Spark", "".join(_DIGITS[round(count * scale)] for count in counts), highest]


def stack(parts: Iterable[tuple[str, float]], whole: float, name: str) -> Node:
    """Return parts of a whole, side by side; a part is its class and its size."""
    return ["Stack", list(parts), whole, name]


def slot(name: str) -> Node:
    """Return the place of what only the browser can show: `acts`, `spans`, `around`, `silent`."""
    return ["Slot", name]


_SHAPES: Mapping[str, Node] = {
    "good": ["circle", {"cx": 7, "cy": 7, "r": 7}],
    "warn": ["path", {"d": "M7 0L14 7L7 14L0 7Z"}],
    "bad": ["rect", {"width": 14, "height": 14}],
    "off": ["path", {"d": "M0 5H14V9H0Z"}],
}


def verdict(
    level: str,
    word: str,
    sentence: str,
    details: str,
    *,
    now_ms: float,
    since_ms: float | None = None,
    ends_ms: float | None = None,
) -> Node:
    """Return the verdict with the acts: its level as shape, color and word, the sentence, and what follows."""
    shape: Node = ["svg", {"viewBox": "0 0 14 14", "aria-hidden": "true"}, _SHAPES[level]]
    since: Node = ["span", f"since {at(since_ms, now_ms)}"] if since_ms else None
    ends: Node = ["span", f"until {at(ends_ms, now_ms)}"] if ends_ms else None
    head: Node = ["p.level", shape, ["b", word], since, ends]
    return [f"section.verdict {level}", head, ["h1", prose(sentence)], ["p", prose(details)], slot("acts")]


_PROBLEMS = ("fail", "lost", "refus", "silent", "reject", "block", "omit", "expired", "reclaimed", "raised")


class Entry(msgspec.Struct, frozen=True):
    """An event as the page shows it: one of a frame, or of the document of a monitor."""

    at_ms: float
    kind: str
    """The name of the log event."""
    message: str
    monitor_id: str | None
    who: str


def log(entries: Iterable[Entry], now_ms: float) -> Node:
    """Return events, in this order."""
    return ["Log", [_cells(entry, now_ms) for entry in entries]]


def _cells(entry: Entry, now_ms: float) -> list[Node]:
    css = "warn" if any(word in entry.kind for word in _PROBLEMS) else ""
    who = "" if entry.who in entry.message else visible(entry.who)
    return [clock_time(entry.at_ms, now_ms), visible(entry.kind), css, visible(entry.message), entry.monitor_id, who]


def at(at_ms: float, now_ms: float) -> str:
    """Return the time of day in UTC and its distance from now: `03:11:00 (in 40.8 s)`."""
    away = f"{age(at_ms, now_ms)} ago" if at_ms < now_ms else f"in {age(now_ms, at_ms)}"
    return f"{clock_time(at_ms, now_ms)} ({away})"


def clock(at_ms: float | None, now_ms: float) -> str:
    """Return the time of day in UTC; a dash if the time is not known."""
    return "–" if at_ms is None else clock_time(at_ms, now_ms)


def age(at_ms: float | None, now_ms: float) -> str:
    """Return how long ago the time was."""
    return span(None if at_ms is None else max(0.0, now_ms - at_ms) / 1000)


def span(seconds: float | None) -> str:
    """Return a duration; a dash if it is not known."""
    return "–" if seconds is None else duration(seconds)


def count(number: float | None) -> str:
    """Return a number; a question mark if it is not known."""
    return "?" if number is None else f"{round(number):,}"
