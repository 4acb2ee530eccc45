"""What people did to the schedule, by the acted lines of a history: holds, and acts that have had no effect yet."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf

from peekaping_producer.schedule import ALL_MONITORS
from tests.chaos.history import Acted

RELEASED_NOW = "released_now"
"""Released without an interval: the monitor is due at once."""
RELEASED = ("released", RELEASED_NOW)


@dataclass
class Hold:
    """A hold on one monitor, or on all. The times are Redis TIME, in ms."""

    since_ms: int
    until_ms: float
    """Earlier than was asked for where it was released or replaced, its monitor stopped, or Redis lost it."""
    on_all: bool
    is_lost: bool = False
    """It ended with its monitor or with Redis' memory: the monitor was due at once."""
    due_now: bool = False
    """It was released without an interval, which made the monitor due at once."""

    def covers(self, moment_ms: float) -> bool:
        return self.since_ms < moment_ms < self.until_ms


class Holds:
    """Every hold of one world, also those that have ended."""

    def __init__(self) -> None:
        self._holds: dict[str, list[Hold]] = {}

    def of(self, monitor: str) -> Iterator[Hold]:
        """The holds that apply to a monitor."""
        yield from self._holds.get(monitor, ())
        yield from self._holds.get(ALL_MONITORS, ())

    def blocked_ms(self, monitor: str, start_ms: float, end_ms: float) -> Iterator[tuple[float, float]]:
        """The parts of one tick in which holds keep the monitor from being handed off.

        A hold on one monitor takes the rest of a tick, since the monitor resumes at the first tick after the end; a
        hold on all, and one whose end made the monitor due at once, leave what remains after their end.
        """
        for hold in self.of(monitor):
            if hold.since_ms < end_ms and start_ms <= hold.until_ms:
                yield hold.since_ms, hold.until_ms if hold.on_all or hold.due_now else end_ms

    def update(self, line: Acted) -> None:
        """Apply an act."""
        for monitor, outcome in line.outcomes.items():
            if outcome in ("held", *RELEASED) and line.act in ("hold", "release"):
                self._end(self._holds.get(monitor, ()), line.redis_ms, due_now=outcome == RELEASED_NOW)
            if outcome == "held" and line.act == "hold":
                assert line.until_ms is not None
                hold = Hold(line.redis_ms, line.until_ms, on_all=monitor == ALL_MONITORS)
                self._holds.setdefault(monitor, []).append(hold)

    def stopped(self, monitors: Iterable[str], at_ms: float) -> None:
        """Rows ceased to run: their holds end."""
        for monitor in monitors:
            self._end(self._holds.get(monitor, ()), at_ms, is_lost=True)

    def memory_lost(self, at_ms: float) -> None:
        """Redis lost all of them."""
        for holds in self._holds.values():
            self._end(holds, at_ms, is_lost=True)

    @staticmethod
    def _end(holds: Iterable[Hold], at_ms: float, *, is_lost: bool = False, due_now: bool = False) -> None:
        for hold in holds:
            if hold.until_ms > at_ms:
                hold.until_ms, hold.is_lost, hold.due_now = at_ms, is_lost, due_now


class OpenActs:
    """Acts on monitors, each until its effect was seen: it allows that once."""

    def __init__(self) -> None:
        self._acts_ms: dict[str, list[int]] = {}

    def note(self, line: Acted, *outcomes: str) -> None:
        """Keep the monitors with these outcomes."""
        for monitor, became in line.outcomes.items():
            if became in outcomes:
                self._acts_ms.setdefault(monitor, []).append(line.redis_ms)

    def take(self, monitor: str, until_ms: int) -> float:
        """Remove the acts on a monitor until a moment; returns the time of the latest one, -inf if there is none."""
        acts_ms = self._acts_ms.pop(monitor, [])
        if later := [act_ms for act_ms in acts_ms if act_ms > until_ms]:
            self._acts_ms[monitor] = later
        return max((act_ms for act_ms in acts_ms if act_ms <= until_ms), default=-inf)
