"""What commands share: error lines, logs, and the end by a signal."""

import argparse
import asyncio
import getpass
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from peekaping_producer import logs
from peekaping_producer.errors import ConfigError
from peekaping_producer.service.text import wrapped
from peekaping_producer.settings import Settings

T = TypeVar("T")


def print_error(problem: str) -> None:
    """Print one line to stderr."""
    print(f"peekaping-producer: {problem}", file=sys.stderr)


def print_lines(lines: Iterable[str], *, flush: bool = False) -> None:
    """Print lines to stdout; if that is a terminal, those that are longer than its width are wrapped."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    parts = [part for line in lines for part in wrapped(line, width)] if width else lines
    print("\n".join(parts), flush=flush)


def print_found(args: argparse.Namespace, document: Mapping[str, Any], lines: Iterable[str]) -> None:
    """Print the document with --json, the lines otherwise."""
    if args.json:
        print(json.dumps(document))
    else:
        print_lines(lines)


def print_failure(args: argparse.Namespace, *problems: str) -> None:
    """Print each problem to stderr, and with --json also an object with all of them to stdout."""
    for problem in problems:
        print_error(problem)
    if getattr(args, "json", False):
        print(json.dumps({"version": 1, "error": "; ".join(problems)}))


def set_up_logs(settings: Settings, level: str | None = None) -> None:
    """Log from `level` up, or from LOG_LEVEL; secrets are masked. Raises ConfigError if LOG_FILE cannot be opened."""
    from peekaping_producer.logs.setup import configure

    file = settings.log_file
    try:
        configure(settings.log_mode, level or settings.log_level, settings.service_name, settings.secrets, file=file)
    except OSError as error:
        problem = f"LOG_FILE: expected the path of a writable file, got {file!r} ({error.strerror})"
        raise ConfigError([problem]) from None


def log_warnings(settings: Settings) -> None:
    """Log the settings that are probably a mistake."""
    import structlog

    log = structlog.stdlib.get_logger()
    for warning in settings.warnings:
        log.warning("config.warning", message=warning)


def login_name() -> str:
    """Return the login name of the person who runs the command; in a container a user may have none."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return f"user {os.getuid()}"


def _print_signal(number: signal.Signals) -> None:
    print_error(f"ended by {number.name}")


def run_interruptible(work: Coroutine[Any, Any, T], on_signal: Callable[[signal.Signals], None] = _print_signal) -> T:
    """The result of `work`; SIGINT, SIGTERM and SIGHUP end the process at once with 128 + the signal's number.

    `on_signal` is called before.
    """

    def exit_by(number: signal.Signals) -> None:
        on_signal(number)
        logs.drain()
        os._exit(128 + number)

    async def interruptible() -> T:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a job in the background
                asyncio.get_running_loop().add_signal_handler(number, exit_by, number)
        return await work

    return asyncio.run(interruptible())
