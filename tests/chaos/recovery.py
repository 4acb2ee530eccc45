"""How long a fault takes to heal, as the schedule shows it from outside."""

from tests.chaos.history import AnyLine, FaultLine, Looked
from tests.chaos.model import ON_TIME_S, Model
from tests.chaos.rules import TheScheduleAgreesWithTheRows

RELAPSE_S = 5.0
"""A busy machine may be late for a moment also when all is well."""


class Recovery:
    """Of the latest fault: from its end until a replica leads and no monitor is late or missing, for good."""

    def __init__(self, schedule: TheScheduleAgreesWithTheRows) -> None:
        self._schedule = schedule
        self.took_s: float | None = None
        """Seconds until all became well, for the last time if more than once; None as long as it never was."""
        self._first_s: float | None = None
        """When all was well for the first time."""
        self._ill_since: float | None = None
        self._was_ill = False

    def see(self, line: AnyLine, model: Model) -> None:
        """Apply a line, after the rules have seen it."""
        match line:
            case FaultLine():
                self.took_s = self._first_s = self._ill_since = None
                self._was_ill = False
            case Looked() if model.windows and not model.closing:
                ended_at = model.windows[-1].ended_at
                if line.at >= ended_at:
                    self._look(line, line.at - ended_at, model)

    def failed(self, model: Model) -> str | None:
        """The reason why the fault did not heal within its limit; None where it did."""
        limit_s = model.windows[-1].fault.heals_within_s
        if self._first_s is None:
            return "never recovered"
        if self._first_s > limit_s:
            return f"recovered after {self._first_s:.1f} s"
        if self._ill_since is not None and model.at - self._ill_since > RELAPSE_S and not model.closing:
            return f"recovered after {self._first_s:.1f} s, but not for the last {model.at - self._ill_since:.1f} s"
        return None

    def _look(self, look: Looked, since_s: float, model: Model) -> None:
        if look.leader is None or look.overdue_s >= ON_TIME_S or self._schedule.settled_absent(model):
            self._was_ill = True
            self._ill_since = look.at if self._ill_since is None else self._ill_since
            return
        if self.took_s is None or self._ill_since is not None:
            self.took_s = since_s if self._was_ill else 0.0
        self._first_s = self.took_s if self._first_s is None else self._first_s
        self._ill_since = None
