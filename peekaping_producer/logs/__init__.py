"""Logs: `configure` sets up structlog once per process; `Redaction` keeps secrets out of every line.

`unblock_stderr` keeps a stderr that does not flow from holding up the process; `drain` waits for it within bounds.
"""

from peekaping_producer.logs.redaction import Redaction
from peekaping_producer.logs.setup import LEVELS, configure, wants_colors
from peekaping_producer.logs.stream import drain, dropped_lines, unblock_stderr

__all__ = ["LEVELS", "Redaction", "configure", "drain", "dropped_lines", "unblock_stderr", "wants_colors"]
