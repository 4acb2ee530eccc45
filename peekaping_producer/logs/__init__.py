"""Logs: `setup.configure` sets up structlog once per process; `Redaction` masks secrets in every line.

`unblock_stderr` makes writes to stderr return at once; `drain` waits, with a limit, until they are written.
This package imports no structlog, so that a command that does not use it starts fast.
"""

from peekaping_producer.logs.levels import LEVELS
from peekaping_producer.logs.redaction import Redaction
from peekaping_producer.logs.stream import begin_lines_with, drain, dropped_lines, unblock_stderr

__all__ = ["LEVELS", "Redaction", "begin_lines_with", "drain", "dropped_lines", "unblock_stderr"]
