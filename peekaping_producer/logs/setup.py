"""The set-up of structlog; every line passes `Redaction` before it is rendered.

A line contains timestamp (ISO 8601, UTC, ms), level, service, event (a dotted name), message (a sentence) and other
fields. Lines go to stderr, as in Peekaping's Go services (zap's default), and to LOG_FILE.
"""

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog
from structlog import dev, processors
from structlog.typing import EventDict, Processor, WrappedLogger

from peekaping_producer.logs.levels import LEVELS
from peekaping_producer.logs.redaction import Redaction
from peekaping_producer.logs.stream import QueuedStream, append_to
from peekaping_producer.service.text import escaped

_Stream = TextIO | QueuedStream


def configure(
    mode: Literal["dev", "prod", "test"],
    level: str,
    service: str,
    secrets: Iterable[str],
    *,
    stream: TextIO | None = None,
    file: str | None = None,
) -> None:
    """Log from `level` up (a key of LEVELS) to `stream` (stderr): colored lines in dev, JSON lines in prod and test.

    The lines are also appended to `file`, without colors. Raises OSError if that cannot be opened.

    `secrets` are the texts to mask. Also logs what libraries log (from warning up), Python's warnings, and uncaught
    exceptions.
    """
    streams: list[_Stream] = [sys.stderr if stream is None else stream]
    if file:
        streams.append(append_to(file))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            processors.add_log_level,
            processors.format_exc_info,
            Redaction(secrets),
            _head(service),
            _renderer(mode, streams),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: _Lines(streams),
        # A cached logger keeps its first configuration, and tests change it.
        cache_logger_on_first_use=mode != "test",
    )
    logging.basicConfig(handlers=[_Libraries()], level=max(logging.WARNING, LEVELS[level]), force=True)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # errors of the standard module would bypass all of this
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread
    for output, name in zip(streams, ("stderr", file), strict=False):
        if isinstance(output, QueuedStream):
            output.on_dropped = partial(_dropped, name)


class _Lines:
    """Writes rendered lines. A closed or full stream loses them, since a log must not stop the work."""

    def __init__(self, streams: Sequence[_Stream]) -> None:
        self._streams = streams

    def msg(self, *lines: str) -> None:
        """Write a line, rendered for each stream."""
        for stream, line in zip(self._streams, lines, strict=True):
            with contextlib.suppress(OSError, ValueError):
                stream.write(line + "\n")
                stream.flush()

    debug = info = warning = warn = error = exception = critical = fatal = log = msg


class _Libraries(logging.Handler):
    """Logs the records of libraries through structlog, as event `library.<package>`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record through structlog."""
        try:
            text = record.getMessage()
        except Exception:  # the record's arguments do not fit its format
            text = str(record.msg)
        package = record.name.partition(".")[0]
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)  # structlog has no levels between
        structlog.stdlib.get_logger().log(
            level, f"library.{package}", message=text, logger=record.name, exc_info=record.exc_info
        )


def _head(service: str) -> Processor:
    def head(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Put the fields that every line has first, in this order."""
        timestamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        level = event.pop("level")
        first = {"timestamp": timestamp, "level": level, "service": service, "event": event.pop("event")}
        if "message" in event:
            first["message"] = event.pop("message")
        return first | {name: value for name, value in event.items() if name not in first}

    return head


def _renderer(mode: str, streams: Sequence[_Stream]) -> Processor:
    """The last processor: it renders an event for each stream; only the first may have colors."""
    if mode == "dev":
        colors = [wants_colors(streams[0]), *(False for _ in streams[1:])]
        renderers: list[Processor] = [_console_renderer(is_colored) for is_colored in colors]
    else:
        renderers = [processors.JSONRenderer(serializer=json.dumps)] * len(streams)

    def render(logger: WrappedLogger, method: str, event: EventDict) -> Any:
        if mode == "dev":
            event = _with_printable_exception(event)
        return tuple(renderer(logger, method, {**event}) for renderer in renderers), {}

    return render


def _console_renderer(colors: bool) -> dev.ConsoleRenderer:
    """The renderer for terminals. Control characters in values cannot forge a line or move the cursor."""
    dim, bright, cyan, reset = (dev.DIM, dev.BRIGHT, dev.CYAN, dev.RESET_ALL) if colors else ("", "", "", "")
    levels = dev.ConsoleRenderer.get_default_level_styles(colors=colors)

    def plain(style: str, width: int = 0) -> dev.ColumnFormatter:
        return dev.KeyValueColumnFormatter(None, style, reset, _printable, width)

    return dev.ConsoleRenderer(
        columns=[
            dev.Column("timestamp", plain(dim)),
            dev.Column("level", dev.LogLevelColumnFormatter(levels, reset)),
            dev.Column("event", plain(bright, 28)),
            dev.Column("message", plain("")),
            dev.Column("", dev.KeyValueColumnFormatter(cyan, "", reset, _printable)),
        ],
        sort_keys=False,
        # Tracebacks are rendered already; structlog's rich ones would show local variables.
        exception_formatter=dev.plain_traceback,
    )


def wants_colors(stream: _Stream) -> bool:
    """Whether output has colors: never with NO_COLOR, always with FORCE_COLOR, otherwise on a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def _printable(value: object) -> str:
    return escaped(str(value))


def _with_printable_exception(event: EventDict) -> EventDict:
    """Escape the lines of a traceback one by one: it is the only field with several lines."""
    if "exception" in event:
        event["exception"] = "\n".join(map(_printable, str(event["exception"]).split("\n")))
    return event


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.stdlib.get_logger().critical(
        "process.uncaught", message="Uncaught exception.", exc_info=(kind, error, trace)
    )


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _unraisable(args: "sys.UnraisableHookArgs") -> None:
    """Log an exception that Python would print and ignore, such as one in a destructor."""
    error = args.exc_value if args.exc_value is not None else args.exc_type()
    structlog.stdlib.get_logger().error(
        "process.unraisable",
        message=f"{args.err_msg or 'Exception ignored'} in {type(args.object).__name__}.",
        exc_info=(args.exc_type, error, args.exc_traceback),
    )


def _dropped(name: str | None, lines: int, seconds: float) -> None:
    structlog.stdlib.get_logger().warning(
        "logs.dropped",
        message=f"Log lines were dropped: {name} was blocked, full, or read too slowly.",
        count=lines,
        for_s=round(seconds, 1),
    )
