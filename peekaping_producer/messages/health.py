"""Whether a relay or a consumer works, for the probes of the process."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.loop import Loop

STALLED_AFTER_S = 60.0


class Watched(Protocol):
    """A relay with its source, or a consumer."""

    @property
    def loops(self) -> Sequence[Loop]:
        """The loops that must advance."""

    @property
    def stopping(self) -> bool:
        """Whether no more messages are accepted."""


class MessagesHealth:
    """See web.health.Health. A process without messages is ready."""

    def __init__(
        self, watched: Watched, dependencies: Dependencies, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock`: that of `dependencies`."""
        self._watched = watched
        self._dependencies = dependencies
        self._clock = clock

    def stalled(self) -> list[str]:
        """See Health."""
        return [loop.name for loop in self._watched.loops if loop.stalled_s > STALLED_AFTER_S]

    def unready(self) -> dict[str, str]:
        """See Health: `draining`, and `<dependency>_unavailable` for broker, output and workers."""
        reasons = {"draining": "the process stops"} if self._watched.stopping else {}
        now = self._clock()
        for name, trouble in self._dependencies.troubles.items():
            reasons[f"{name}_unavailable"] = f"for {now - trouble.since:.0f} s: {trouble.reason}"
        return reasons

    def notes(self) -> list[str]:
        """See Health: none."""
        return []
