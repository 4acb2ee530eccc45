"""Logs: `configure` sets up structlog once per process; `Redaction` keeps secrets out of every line."""

from peekaping_producer.logs.redaction import Redaction
from peekaping_producer.logs.setup import LEVELS, configure

__all__ = ["LEVELS", "Redaction", "configure"]
