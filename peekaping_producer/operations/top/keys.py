"""What a key changes: the state of the screen, without a terminal."""

from collections.abc import Sequence

from peekaping_producer.service.text import one_line

_MAX_INPUT = 200
_ENTER, _ESCAPE, _ERASE = "\r\n", "\x1b", "\x7f\b"


class Controls:
    """The state of the keys."""

    def __init__(self) -> None:
        self.width_s = 1
        """Of the slots of the axis."""
        self.is_frozen = False
        self.has_quit = False
        self.text: Sequence[str] | None = None
        """Lines that are shown in place of the fleet, until the next key."""
        self.asked = ""
        """A monitor to explain; empty again once its explanation has begun."""
        self._input: str | None = None

    @property
    def prompt_line(self) -> str:
        """The last line of the screen, if it is not the list of keys."""
        if self._input is not None:
            return f"Monitor (id, or part of its name; Esc cancels): {one_line(self._input, _MAX_INPUT)}_"
        if self.text is not None:
            return "any key: back"
        return "frozen; p continues" if self.is_frozen else ""

    def press(self, key: str) -> None:
        """Handle one character."""
        if self._input is not None:
            self._edit(self._input, key)
        elif self.text is not None:
            self.text = None
        elif key in "qQ":
            self.has_quit = True
        elif key in "pP":
            self.is_frozen = not self.is_frozen
        elif key in "10":
            self.width_s = 1 if key == "1" else 10
        elif key == "/":
            self._input = ""

    def _edit(self, text: str, key: str) -> None:
        if key in _ENTER:
            self._input, self.asked = None, text.strip()
        elif key == _ESCAPE:
            self._input = None
        elif key in _ERASE:
            self._input = text[:-1]
        elif key.isprintable() and len(text) < _MAX_INPUT:
            self._input = text + key
