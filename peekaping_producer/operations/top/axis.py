"""The axis of time with now in the middle: what was handed off, and what will be due."""

from collections.abc import Sequence

from peekaping_producer.operations.heartbeat import SLOTS
from peekaping_producer.operations.top.styled import Line, Part, Style, columns, plain
from peekaping_producer.operations.top.view import View
from peekaping_producer.service.text import clock_time, duration

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = " .:-=+*#@"


def axis_lines(view: View, width: int, *, unicode: bool) -> list[Line]:
    """Return three lines: what the halves are, the bars, and the times. Fewer slots where `width` has no room."""
    slots = max(min(SLOTS, (width - 1) // 2), 1)
    handed_off, late = view.hand_offs
    past, late, due = handed_off[-slots:], late[-slots:], view.due[:slots]
    highest = max((*past, *due), default=0)
    blocks, now = (_BLOCKS, "│") if unicode else (_ASCII_BLOCKS, "|")
    bars: list[Part] = [
        (_bar(count, highest, blocks), Style.BAD if is_late else Style.PLAIN)
        for count, is_late in zip(past, late, strict=True)
    ]
    bars.append((now, Style.DIM))
    bars += [(_bar(count, highest, blocks), Style.PLAIN) for count in due]
    return [plain(_labels(view, slots)), _joined(bars), [(_times(view.width_s * slots, slots), Style.DIM)]]


def _bar(count: int, highest: int, blocks: str) -> str:
    """Return a block; never an empty one for a count above 0."""
    return blocks[max(round((len(blocks) - 1) * count / highest), 1)] if count else blocks[0]


def _labels(view: View, slots: int) -> str:
    span = "s" if view.width_s == 1 else f"{view.width_s} s"
    past = f"handed off each {span}"
    if (fullest := view.fullest) is None:
        return f"{past:<{slots}.{slots}} none is due"
    at_ms, most = fullest
    at = f"{'at' if view.width_s == 1 else 'from'} {clock_time(at_ms, view.now_ms)}"
    coming = f"due each {span}, most: {most:,} {at}"
    left = f", in {duration((at_ms - view.now_ms) / 1000)}"
    return f"{past:<{slots}.{slots}} {coming}{left if columns(coming + left) <= slots else ''}"


def _times(span_s: int, slots: int) -> str:
    begin, end = f"-{_whole(span_s)}", f"+{_whole(span_s)}"
    left = max(slots - columns(begin) - 1, 0)
    return f"{begin}{' ' * left}now{' ' * max(slots - columns(end) - 2, 0)}{end}"


def _whole(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds % 60 == 0 and seconds > 60 else f"{seconds} s"


def _joined(parts: Sequence[Part]) -> Line:
    """Join neighbors of one style, so that a line is few ANSI sequences."""
    joined: list[Part] = []
    for text, style in parts:
        if joined and joined[-1][1] is style:
            joined[-1] = (joined[-1][0] + text, style)
        else:
            joined.append((text, style))
    return joined
