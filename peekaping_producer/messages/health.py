"""Whether a consumer works, for the probes of the process."""

import time
from collections.abc import Callable

from peekaping_producer.messages.consumer import Consumer
from peekaping_producer.service.dependencies import Dependencies

STALLED_AFTER_S = 60.0


class ConsumerHealth:
    """See web.health.Health. A consumer that receives nothing is ready."""

    def __init__(
        self, consumer: Consumer, dependencies: Dependencies, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock`: that of `dependencies`."""
        self._consumer = consumer
        self._dependencies = dependencies
        self._clock = clock

    def stalled(self) -> list[str]:
        """See Health."""
        return [loop.name for loop in self._consumer.loops if loop.stalled_s > STALLED_AFTER_S]

    def unready(self) -> dict[str, str]:
        """See Health: `draining`, and `<dependency>_unavailable` for broker, output and workers."""
        reasons = {"draining": "the consumer stops"} if self._consumer.stopping else {}
        now = self._clock()
        for name, trouble in self._dependencies.troubles.items():
            reasons[f"{name}_unavailable"] = f"for {now - trouble.since:.0f} s: {trouble.reason}"
        return reasons

    def notes(self) -> list[str]:
        """See Health: none."""
        return []
