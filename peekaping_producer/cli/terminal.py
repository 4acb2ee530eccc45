"""A terminal that shows a screen: entered for a while, and left as it was."""

import asyncio
import codecs
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_ENTER = "\033[?1049h\033[?25l"
"""The alternate screen, without a cursor."""
_LEAVE = "\033[?25h\033[?1049l"
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\033[H", "\033[K", "\033[J"


def is_usable() -> bool:
    """Whether standard output is a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}


class Terminal:
    """Standard output, and the keys of standard input if that is a terminal, too."""

    def __init__(self) -> None:
        self.has_colors = not os.environ.get("NO_COLOR")
        self.has_unicode = "utf" in (sys.stdout.encoding or "").lower()
        self._keys = sys.stdin.fileno() if sys.stdin and sys.stdin.isatty() else None
        self._mode: list[Any] | None = None
        self._is_entered = False

    @contextlib.contextmanager
    def entered(self, on_key: Callable[[str], None], on_resize: Callable[[], None]) -> Iterator[None]:
        """Show the screen. A signal that ends the process must call `leave` itself."""
        loop = asyncio.get_running_loop()
        self.enter()
        try:
            loop.add_signal_handler(signal.SIGWINCH, on_resize)
            loop.add_signal_handler(signal.SIGTSTP, self._suspend, on_resize)
            if self._keys is not None:
                decoder = codecs.getincrementaldecoder("utf-8")("replace")
                loop.add_reader(self._keys, self._read_keys, self._keys, decoder, on_key)
            yield
        finally:
            if self._keys is not None:
                loop.remove_reader(self._keys)
            self.leave()

    def enter(self) -> None:
        """Change the terminal."""
        if self._keys is not None:
            self._mode = termios.tcgetattr(self._keys)
            tty.setcbreak(self._keys)  # Ctrl-C still is a signal
        self._is_entered = True
        self._write(_ENTER)

    def leave(self) -> None:
        """Restore the terminal; does nothing if it is restored, or gone."""
        if not self._is_entered:
            return
        self._is_entered = False
        with contextlib.suppress(OSError):
            self._write(_LEAVE)
        if self._keys is not None and self._mode is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._keys, termios.TCSADRAIN, self._mode)

    def size(self) -> tuple[int, int]:
        """Return its columns and lines."""
        try:
            width, height = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return 80, 24
        return width or 80, height or 24

    def show(self, lines: Sequence[str]) -> None:
        """Replace what is shown. Each line must fit."""
        self._write(_HOME + "\r\n".join(f"{line}{_END_OF_LINE}" for line in lines) + _END_OF_SCREEN)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def _suspend(self, redraw: Callable[[], None]) -> None:
        """Ctrl-Z: stop with the terminal as it was, and go on when the shell continues the process."""
        self.leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.enter()
        redraw()

    def _read_keys(self, keys: int, decoder: codecs.IncrementalDecoder, on_key: Callable[[str], None]) -> None:
        try:
            data = os.read(keys, 1024)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            asyncio.get_running_loop().remove_reader(keys)
        elif data == b"\x1b" or not data.startswith(b"\x1b"):  # other sequences are arrows and function keys
            for character in decoder.decode(data):
                on_key(character)
