"""Log lines of the sender: timestamp, upper-case level and text, on stderr and in LOG_FILE.

It uses the standard module, not structlog: its users search these lines by text, and it starts faster.
"""

import logging
import sys
import time
from collections.abc import Iterable

from peekaping_producer.logs import LEVELS, Redaction

log = logging.getLogger(__name__)


class _Formatter(logging.Formatter):
    """UTC with milliseconds; secrets are masked."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self.converter = time.gmtime
        self._redaction = Redaction(secrets)

    def format(self, record: logging.LogRecord) -> str:
        return self._redaction.text(super().format(record))


class _File(logging.FileHandler):
    """The lines of LOG_FILE; the first that cannot be written is reported on the console."""

    _failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name in the standard module
        if not self._failed:
            self._failed = True
            error = sys.exc_info()[1]
            log.error("LOG_FILE: %s cannot be written (%s)", self.baseFilename, getattr(error, "strerror", error))


def configure(level: str, file: str | None, secrets: Iterable[str]) -> None:
    """Log from `level` up (a key of LEVELS); libraries log warnings and errors.

    A `file` that cannot be used is reported in the log: it must not keep a message from being sent.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    problem = None
    if file is not None:
        try:
            handlers.append(_File(file, encoding="utf-8", errors="backslashreplace"))
        except OSError as error:
            problem = error.strerror
    formatter = _Formatter(secrets)
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(handlers=handlers, level=max(logging.WARNING, LEVELS[level]), force=True)
    logging.getLogger("peekaping_producer").setLevel(LEVELS[level])
    logging.raiseExceptions = False  # a full disk must not fill stderr with tracebacks
    if problem:
        log.error(
            "LOG_FILE: expected the path of a writable file, got %r (%s); only the console is used", file, problem
        )
