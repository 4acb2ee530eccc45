"""Output of a demo: the interface of a view, and plain lines for pipes and logs."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec

from peekaping_producer.logs.setup import wants_colors

_LINE_EVERY_S = 3.0

Styled = tuple[str, str]
"""A text, and its style in the words of rich, such as "bold red"."""
Cell = Sequence[Styled]
"""The parts of a text."""


class Column(msgspec.Struct, frozen=True):
    """A column of the live table."""

    title: str
    right: bool = False
    """Whether its cells are aligned to the right."""
    min_width: int | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """The state of a demo at one moment: as a table, and as a line."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    footer: Cell
    line: str


class View(Protocol):
    """Shows a demo. Every method may raise OSError (a closed terminal or pipe)."""

    def show(self, snapshot: Snapshot) -> None:
        """Show the state; called a few times a second."""
        ...

    def announce(self, sentence: str) -> None:
        """Show an event."""
        ...

    def close(self) -> None:
        """Restore the terminal."""
        ...


def open_view() -> View:
    """Return a live table on a terminal, else plain lines."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return Lines(colors=wants_colors(sys.stdout))
    try:
        from peekaping_producer.demo.table import LiveTable
    except ModuleNotFoundError:
        print("For the live table: pip install rich")
        return Lines(colors=wants_colors(sys.stdout))
    return LiveTable()


class Lines:
    """Plain lines on stdout."""

    def __init__(self, *, colors: bool = False) -> None:
        self._next_at = time.monotonic() + _LINE_EVERY_S
        self._emphasis, self._plain = ("\x1b[1;33m", "\x1b[0m") if colors else ("", "")

    def show(self, snapshot: Snapshot) -> None:
        """Print one line every few seconds."""
        if time.monotonic() < self._next_at:
            return
        self._next_at += _LINE_EVERY_S
        print(snapshot.line, flush=True)

    def announce(self, sentence: str) -> None:
        """Print the event at once, with the time of day."""
        print(f"{time.strftime('%H:%M:%S')}  {self._emphasis}{sentence}{self._plain}", flush=True)

    def close(self) -> None:
        """Do nothing."""


def plain(text: object) -> Cell:
    """Return a cell without a style."""
    return ((str(text), ""),)


def counted(count: int, noun: str) -> str:
    """Return "1 check", "2 checks"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


class GuardedView:
    """A view that survives a closed terminal or pipe: it calls `gone` once and shows nothing more."""

    def __init__(self, view: View, *, gone: Callable[[], None]) -> None:
        self._view = view
        self._gone = gone

    def show(self, snapshot: Snapshot) -> None:
        """See View."""
        with self._close_on_oserror():
            self._view.show(snapshot)

    def announce(self, sentence: str) -> None:
        """See View."""
        with self._close_on_oserror():
            self._view.announce(sentence)

    def close(self) -> None:
        """See View."""
        with self._close_on_oserror():
            self._view.close()

    def print(self, text: str) -> None:
        """Print plain text, after the view is closed."""
        with self._close_on_oserror():
            print(text, flush=True)

    @contextmanager
    def _close_on_oserror(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._gone()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())  # or the rest of the buffer raises again at exit
            os.close(nowhere)
