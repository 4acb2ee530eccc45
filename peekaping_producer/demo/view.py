"""What a view of the demo gets to show, and the plain one: a line now and then, for pipes and logs."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import msgspec

from peekaping_producer.demo.ledger import Ledger

_LINE_EVERY_S = 3.0


class Picture(msgspec.Struct, frozen=True):
    """The state of things at one moment."""

    elapsed_s: float
    seconds: float
    leader: str
    ledger: Ledger


class View(Protocol):
    """Shows the demo. Every method may raise OSError when nobody looks any more (a closed terminal or pipe)."""

    def show(self, picture: Picture) -> None:
        """Called a few times a second."""
        ...

    def tell(self, sentence: str) -> None:
        """Something happened that the viewer is to notice."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class Lines:
    """Plain lines on stdout."""

    def __init__(self, *, colors: bool = False) -> None:
        self._next_at = time.monotonic() + _LINE_EVERY_S
        self._emphasis, self._plain = ("\x1b[1;33m", "\x1b[0m") if colors else ("", "")

    def show(self, picture: Picture) -> None:
        """One summary line every few seconds."""
        if time.monotonic() < self._next_at:
            return
        self._next_at += _LINE_EVERY_S
        ledger = picture.ledger
        print(
            f"{picture.elapsed_s:3.0f} s  leader: {picture.leader};  handed off {ledger.handed_off}, "
            f"completed {ledger.completed} ({ledger.up} up), at most {ledger.latest_ms} ms late",
            flush=True,
        )

    def tell(self, sentence: str) -> None:
        """At once, with the time of day."""
        print(f"{time.strftime('%H:%M:%S')}  {self._emphasis}{sentence}{self._plain}", flush=True)

    def close(self) -> None:
        """Nothing to restore."""


def counted(count: int, noun: str) -> str:
    """As in "1 check" and "2 checks"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


class Audience:
    """A view that may lose its viewer: from then on nothing is shown, and `gone` has been called."""

    def __init__(self, view: View, *, gone: Callable[[], None]) -> None:
        self._view = view
        self._gone = gone

    def show(self, picture: Picture) -> None:
        """See View."""
        with self._perhaps_alone():
            self._view.show(picture)

    def tell(self, sentence: str) -> None:
        """See View."""
        with self._perhaps_alone():
            self._view.tell(sentence)

    def close(self) -> None:
        """See View."""
        with self._perhaps_alone():
            self._view.close()

    def say(self, text: str) -> None:
        """Plain text, once the view is closed."""
        with self._perhaps_alone():
            print(text, flush=True)

    @contextmanager
    def _perhaps_alone(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._gone()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())  # else what is still in the buffer raises again at exit
            os.close(nowhere)
