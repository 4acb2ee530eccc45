"""The last line of a terminal, which shows how far a process has come."""

import asyncio
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress

from peekaping_producer import logs

CLEAR = "\r\x1b[K"
"""Moves to the beginning of the line, and empties it."""
_EVERY_S = 1.0


async def show(progress: Callable[[], str]) -> None:
    """Keep the line up to date until canceled, then leave it. Log lines are written above it.

    Does nothing if stdout is not a terminal, nor while this is a background job of the shell.
    """
    if not sys.stdout.isatty():
        return
    logs.begin_lines_with(CLEAR)
    try:
        while True:
            _write(f"{CLEAR}{progress()}")
            await asyncio.sleep(_EVERY_S)
    finally:
        logs.begin_lines_with("")
        _write(f"{CLEAR}{progress()}\n")


def _is_in_background() -> bool:
    """Whether the line would be mixed with the prompt, or with the line of the job in the foreground."""
    try:
        return os.tcgetpgrp(sys.stdout.fileno()) != os.getpgrp()
    except OSError:  # a terminal without jobs: it is not the controlling one
        return False


def _write(text: str) -> None:
    """Write to stdout, unless that would block: a terminal that is stopped by Ctrl-S must not stop the process."""
    if not _is_in_background() and select.select([], [sys.stdout], [], 0)[1]:
        with suppress(OSError):  # the terminal was closed
            print(text, end="", flush=True)
