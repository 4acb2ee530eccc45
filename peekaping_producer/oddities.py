"""What is odd about single monitors: said once for each, counted always, stopping nobody."""

import structlog

from peekaping_producer.metrics import Metrics
from peekaping_producer.once import Once

log = structlog.stdlib.get_logger()


class Oddities:
    """Warns of each (monitor, kind, reason) once, as long as it remembers it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._said = Once()

    def report(self, monitor_id: str, kind: str, reason: str) -> None:
        """`kind` is a dotted event name, `reason` a sentence without secrets."""
        self._metrics.oddities.labels(kind).inc()
        if self._said.first((monitor_id, kind, reason)):
            log.warning(kind, message=reason, monitor_id=ascii(monitor_id)[1:-1])
