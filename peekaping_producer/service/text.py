"""Text in messages: of other programs (printable, on one line, bounded), numbers, durations and times."""

import re
import textwrap
from datetime import UTC, datetime

_COLOR = re.compile("\033\\[[0-9;]*m")
_COLUMN = r"(?:\s*\S+(?: \S+)?\s{2,})"
_PREFIXES = [re.compile(pattern) for pattern in (_COLUMN + _COLUMN, _COLUMN, r"\s+")]
"""Two columns, one, or none."""
_LONGEST_WORD = 24
"""Characters; longer ones, such as ids, are cut."""


def escaped(text: str) -> str:
    """Return `text`; as a Python literal if it contains characters that could control a terminal or forge a line."""
    return text if text.isprintable() else repr(text)


def one_line(text: str, max_length: int = 200) -> str:
    """Return `text`, escaped; of a longer one the words in its first `max_length` characters, and an ellipsis."""
    return escaped(text if len(text) <= max_length else f"{_cut(text, max_length)}…")


def _cut(text: str, max_length: int) -> str:
    """Return the beginning of `text`, cut between words if one of the last characters is a space."""
    end = text.rfind(" ", max(1, max_length - _LONGEST_WORD), max_length + 1)
    return text[:max_length] if end < 0 else text[:end].rstrip()


def wrapped(line: str, width: int) -> list[str]:
    """Return a line in parts of at most `width` characters, cut between words; the parts after the first are indented.

    The indent is that of the line, with its first columns (texts before two or more spaces) if they leave enough room.
    Colors count as no characters; a longer word is not cut.
    """
    if len(_COLOR.sub("", line)) <= width:
        return [line]
    prefixes = [found[0] for pattern in _PREFIXES if (found := pattern.match(line))]
    fitting = (prefix for prefix in prefixes if len(_COLOR.sub("", prefix)) <= width // 2)
    prefix = next(fitting, "")
    indent = " " * len(_COLOR.sub("", prefix))
    room = max(width - len(indent), 1)
    words = textwrap.wrap(line[len(prefix) :], room, break_long_words=False, break_on_hyphens=False)
    return [f"{indent if n else prefix}{part}" for n, part in enumerate(words)]


def first_sentence(text: str) -> str:
    """Return the first sentence of a server's message as one line, without the punctuation at its end."""
    return one_line(re.split(r"(?<=[.!?;])\s|[\r\n]", text.strip(), maxsplit=1)[0].rstrip(".;"))


def counted(number: int, one: str, many: str = "") -> str:
    """Return the number with the noun that agrees with it; `many` if it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Return a duration in the units that suit it: `0.4 ms`, `12 ms`, `9.4 s`, `4.4 min`, `1 h 53 min`, `2 d 3 h`."""
    if seconds < 1:
        return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    if seconds < 172_800:
        return _in_two_units(seconds, 60, 60, "h", "min")
    return _in_two_units(seconds, 3600, 24, "d", "h")


def _in_two_units(seconds: float, small_s: int, per_large: int, large: str, small: str) -> str:
    """Round half up, as the page does."""
    count, rest = divmod((seconds / small_s + 0.5) // 1, per_large)
    return f"{count:.0f} {large} {rest:.0f} {small}" if rest else f"{count:.0f} {large}"


def clock_time(at_ms: float, now_ms: float) -> str:
    """Return a time of Redis as `03:07:40` (UTC); with the date if it is not within a day of now."""
    try:
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return "an invalid time"
    return at.strftime("%H:%M:%S" if abs(now_ms - at_ms) < 86_400_000 else "%Y-%m-%d %H:%M:%S")
