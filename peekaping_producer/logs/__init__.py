"""Logs: `configure` sets up structlog once per process; `Redaction` masks secrets in every line.

`unblock_stderr` makes writes to stderr return at once; `drain` waits, with a limit, until they are written.
"""

from peekaping_producer.logs.redaction import Redaction
from peekaping_producer.logs.setup import LEVELS, configure, wants_colors
from peekaping_producer.logs.stream import drain, dropped_lines, unblock_stderr

__all__ = ["LEVELS", "Redaction", "configure", "drain", "dropped_lines", "unblock_stderr", "wants_colors"]
