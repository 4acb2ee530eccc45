"""Check a history: which invariant broke for which monitor and tick, and what each fault cost.

python -m tests.chaos.checker HISTORY [--lease-ttl SECONDS] [--sync SECONDS]
"""

import argparse
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.chaos import history
from tests.chaos.history import Acted, AnyLine, UnreadableError
from tests.chaos.holding import HeldMonitorsWait
from tests.chaos.model import ORDER_S, Model
from tests.chaos.recovery import Recovery
from tests.chaos.rules import (
    Breach,
    DueTimesOnlyGrow,
    FiguresStayInTheirLimits,
    NothingStartsAfterItsStop,
    NoTickIsDoubled,
    OneLeaderWrites,
    Rule,
    StopsAreClean,
    TheScheduleAgreesWithTheRows,
    TicksFollowRedisClock,
)
from tests.chaos.ticks import NoTickIsLost
from tests.chaos.timing import LONG

RULES: tuple[type[Rule], ...] = (
    NoTickIsLost,
    NoTickIsDoubled,
    NothingStartsAfterItsStop,
    TicksFollowRedisClock,
    OneLeaderWrites,
    StopsAreClean,
    FiguresStayInTheirLimits,
    DueTimesOnlyGrow,
    HeldMonitorsWait,
)


@dataclass(frozen=True)
class Violation:
    """A broken invariant, and the fault during or after which it broke."""

    at: float
    fault: str
    broken: Breach

    def __str__(self) -> str:
        broken = self.broken
        about = f"{broken.invariant} {broken.kind}"
        about += f", monitor {broken.monitor}" if broken.monitor else ""
        about += "" if broken.tick is None else f", tick {broken.tick}"
        return f"{self.at:9.2f} s, {self.fault}: {about}: {broken.what}"


@dataclass
class FaultCost:
    """What a fault cost, over all its occurrences."""

    times: int = 0
    lost: int = 0
    duplicated: int = 0
    extra: int = 0
    """Ticks that ran twice without a violation: a run-now, Redis lost its memory, or its clock stepped back."""
    others: int = 0
    recovery_s: float | None = 0.0
    """The longest; None where it exceeded its limit."""

    def count(self, kind: str) -> None:
        """One more of a kind."""
        name = kind if kind in ("lost", "duplicated", "extra") else "others"
        setattr(self, name, getattr(self, name) + 1)


@dataclass
class Result:
    """The result of a check."""

    violations: list[Violation] = field(default_factory=list)
    verdicts: dict[str, FaultCost] = field(default_factory=dict)
    tasks: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def summary(self) -> str:
        """One line."""
        verdicts = self.verdicts.values()
        lost, duplicated, extra = (
            sum(getattr(each, name) for each in verdicts) for name in ("lost", "duplicated", "extra")
        )
        broken = f"{len(self.violations)} violations" if self.violations else "no invariant broken"
        return f"{self.tasks:,} tasks taken, {lost} lost, {duplicated} duplicated, {extra} extra; {broken}"


def check(lines: Iterable[AnyLine], *, lease_ttl_s: float, sync_s: float) -> Result:
    """Check a whole history. The times are LEASE_TTL and SYNC_INTERVAL of the replicas."""
    judge = _Judge(lease_ttl_s, sync_s)
    line: AnyLine | None = None
    for line in acts_first(lines):
        judge.see(line)
    judge.close(whole=isinstance(line, history.EndLine))
    return judge.result


def acts_first(lines: Iterable[AnyLine]) -> Iterator[AnyLine]:
    """Put each act before the lines of the last ORDER_S: what it made may have been written before it."""
    recent: deque[AnyLine] = deque()
    for line in lines:
        while recent and recent[0].at < line.at - ORDER_S:
            yield recent.popleft()
        if isinstance(line, Acted):
            yield msgspec.structs.replace(line, at=recent[0].at) if recent else line
        else:
            recent.append(line)
    yield from recent


class _Judge:
    """Keeps the model of one world at a time, and lets the rules see each line."""

    def __init__(self, lease_ttl_s: float, sync_s: float) -> None:
        self.result = Result()
        self._lease_ttl_s, self._sync_s = lease_ttl_s, sync_s
        self._begin_world()

    def see(self, line: AnyLine) -> None:
        match line:
            case history.WorldLine():
                self._settle()
                self._begin_world()
            case history.FaultLine(phase="begins"):
                self._settle()
                self._verdict(line.name).times += 1
            case history.Taken():
                self.result.tasks += 1
            case history.Handed():
                self.result.outcomes.update(line.outcomes.values())
        self._model.update(line)
        for rule in self._rules:
            for broken in rule.see(line, self._model):
                self._report(broken)
        self._recovery.see(line, self._model)

    def close(self, *, whole: bool) -> None:
        """End the check."""
        if whole:
            self._settle()
        else:
            self._report(Breach("I1", "cut off", "the history is incomplete: its last line is not `ended`"))

    def _begin_world(self) -> None:
        self._model = Model(self._sync_s, self._lease_ttl_s)
        schedule = TheScheduleAgreesWithTheRows()
        self._rules: list[Rule] = [schedule, *(rule() for rule in RULES)]
        self._recovery = Recovery(schedule)

    def _settle(self) -> None:
        """Record how long the recovery from the latest fault took."""
        model = self._model
        if not model.windows:
            return
        fault = model.windows[-1].fault
        took_s = self._recovery.took_s
        if (what := self._recovery.failed(model)) is not None:
            self._report(Breach("I1", "not healed", f"{what}, allowed {fault.heals_within_s:g} s", fault=fault.name))
            took_s = None
        verdict = self._verdict(fault.name)
        worst = verdict.recovery_s
        verdict.recovery_s = None if took_s is None or worst is None else max(worst, took_s)

    def _verdict(self, fault: str) -> FaultCost:
        return self.result.verdicts.setdefault(fault, FaultCost())

    def _report(self, broken: Breach) -> None:
        fault = broken.fault or self._model.fault_at(self._model.at)
        self._verdict(fault).count(broken.kind)
        if broken.kind != "extra":
            self.result.violations.append(Violation(self._model.at, fault, broken))


def main() -> int:
    """Print the result. Exit code 0: nothing broken, 1: violations, 2: unreadable."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("history", type=Path)
    parser.add_argument("--lease-ttl", type=float, default=LONG.lease_ttl_s)
    parser.add_argument("--sync", type=float, default=LONG.sync_s)
    args = parser.parse_args()
    try:
        result = check(history.read(args.history), lease_ttl_s=args.lease_ttl, sync_s=args.sync)
    except (OSError, UnreadableError) as error:
        print(error, file=sys.stderr)
        return 2
    for name, verdict in result.verdicts.items():
        print(f"{name}: {verdict}")
    print(*result.violations, result.summary(), sep="\n")
    return int(bool(result.violations))


if __name__ == "__main__":
    sys.exit(main())
