"""SIGTERM, SIGINT and SIGHUP of a process that drains: the first stops it, a second one exits at once."""

import asyncio
import signal
import time
from collections.abc import Callable

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
REPEAT_S = 0.2
"""A signal that follows within this time is a repeat: GNU timeout sends its signal to the process and to its group."""


class StopSignals:
    """Distinguishes a second signal from a repeat of the first.

    SIGHUP never counts as a second one: closing terminals send several, and service managers add one to SIGTERM.
    """

    def __init__(
        self,
        stop: Callable[[signal.Signals], None],
        abort: Callable[[], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stop` may be called several times; `abort` ends the process."""
        self._stop = stop
        self._abort = abort
        self._monotonic = monotonic
        self._first_at: float | None = None

    def listen(self) -> None:
        """Handle the signals in the running event loop, but not SIGHUP if it is ignored, as under nohup."""
        for number in SIGNALS:
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, self.receive, number)

    def ignore(self) -> None:
        """Remove the handlers."""
        for number in SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)

    def receive(self, number: signal.Signals) -> None:
        """Stop or abort."""
        now = self._monotonic()
        if number is signal.SIGHUP or self._first_at is None:
            self._first_at = self._first_at if number is signal.SIGHUP else now
            self._stop(number)
        elif now - self._first_at >= REPEAT_S:
            self._abort()
