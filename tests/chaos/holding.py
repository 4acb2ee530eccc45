"""A held monitor waits for the end of its hold, and for its first tick after that."""

import math
from collections.abc import Iterator

from tests.chaos.acts import Hold
from tests.chaos.history import Acted, AnyLine, Claimed, Taken
from tests.chaos.model import Model
from tests.chaos.rules import Breach


class HeldMonitorsWait:
    """No monitor is claimed while a hold on it or on all lasts; a monitor resumes at its first tick after its hold.

    A claim made before a hold on all may still be handed off. A monitor with a claim cannot be held itself.
    """

    def __init__(self) -> None:
        self._run_now_ms: dict[str, int] = {}

    def see(self, line: AnyLine, model: Model) -> Iterator[Breach]:
        if model.excuse("clock_step"):
            return
        match line:
            case Acted(act="run_now"):
                asked = (monitor for monitor, outcome in line.outcomes.items() if outcome == "due_now")
                self._run_now_ms.update(dict.fromkeys(asked, line.redis_ms))
            case Claimed():
                claimed_ms = math.floor(float(line.token)) - model.lease_ttl_s * 1000
                for monitor in line.monitors:
                    if any(hold.covers(claimed_ms) for hold in model.holds.of(monitor)):
                        yield Breach("hold", "claimed while held", f"by {line.producer}", monitor)
            case Taken(made_by="python", enqueued_at_ms=int(enqueued_ms)):
                for hold in model.holds.of(line.monitor):
                    allowed_ms = model.lease_ttl_s * 1000 if hold.on_all else 0
                    if hold.covers(enqueued_ms - allowed_ms) and enqueued_ms < hold.until_ms:
                        what = f"{hold.until_ms - enqueued_ms:.0f} ms before the end of its hold"
                        yield Breach("hold", "handed off while held", what, line.monitor, line.tick)
                    elif self._is_early(line, enqueued_ms, hold, model):
                        what = f"{enqueued_ms - hold.until_ms:.0f} ms after its hold, before its next tick"
                        yield Breach("hold", "resumed early", what, line.monitor, line.tick)

    def _is_early(self, taken: Taken, enqueued_ms: int, hold: Hold, model: Model) -> bool:
        """Whether it was enqueued between the end of its own hold and the tick after that, and no person asked."""
        row = model.rows.get(taken.monitor)
        if hold.on_all or hold.is_lost or hold.due_now or enqueued_ms < hold.until_ms or row is None:
            return False
        if hold.until_ms <= self._run_now_ms.get(taken.monitor, -math.inf) <= enqueued_ms:
            return False
        since = (hold.since_ms - (model.ahead_ms or 0.0)) / 1000
        if row.changed_at > since - model.settles_s:  # its due time may be a tick of another interval
            return False
        period_ms = taken.interval * 1000
        phases_ms = [phase * 1000 for phase in model.phases(taken.monitor, taken.interval, since)]
        return enqueued_ms < min(math.ceil((hold.until_ms - ms) / period_ms) * period_ms + ms for ms in phases_ms)
