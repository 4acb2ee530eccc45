"""Histories made by hand: two healthy monitors, and the lines that a test adds."""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from peekaping_producer.monitors.ticks import phase_s
from tests.chaos.checker import Result, check
from tests.chaos.history import Acted, AnyLine, Claimed, EndLine, Excuse, FaultLine, Looked, RowLine, Taken

EPOCH_S = 1_800_000_000
"""Redis' clock when the history begins: a tick of every interval used here."""
LEASE_TTL_S, SYNC_S = 10.0, 5.0
EVERY_S = 0.5
UNTIL_S = 300
FAST, SLOW = "fast", "slow"
INTERVALS = {FAST: 10, SLOW: 60}

Skips = Callable[[str, int], bool]


def never(monitor: str, at: int) -> bool:
    """No task is missing."""
    return False


def between(start: int, end: int, *monitors: str) -> Skips:
    """The tasks of these monitors (of all) that are due in [start, end) are missing."""
    return lambda monitor, at: start <= at < end and (not monitors or monitor in monitors)


def tick(at: float, interval: int = 10) -> int:
    return int(EPOCH_S + at) // interval


def taken(
    at: float, monitor: str = FAST, interval: int = 10, *, due_at: float | None = None, made_by: str = "python"
) -> Taken:
    """Enqueued just before it was taken, or at `due_at`."""
    enqueued_ms = round((EPOCH_S + (at if due_at is None else due_at)) * 1000)
    return Taken(
        at=at + 0.02,
        monitor=monitor,
        tick=enqueued_ms // (interval * 1000),
        interval=interval,
        scheduled_at_ms=enqueued_ms,
        enqueued_at_ms=enqueued_ms,
        made_by=made_by,
    )


def look(at: float, **seen: object) -> Looked:
    usual = {"entered": [], "left": [], "overdue_s": 0.0, "leased": 0, "pending": 0, "leader": "a", "next_back": []}
    return msgspec.convert({"kind": "looked", "at": at, "redis_ms": int((EPOCH_S + at) * 1000)} | usual | seen, Looked)


def claimed(at: float, *monitors: str) -> Claimed:
    token_ms = (EPOCH_S + at + LEASE_TTL_S) * 1000 + 0.5
    return Claimed(at=at + 0.01, producer="a", token=f"{token_ms:.17g}", monitors=dict.fromkeys(monitors, 0.0))


def run_now(at: float, monitor: str = FAST, *, outcome: str = "due_now", written_at: float | None = None) -> Acted:
    return _acted(at, "run_now", monitor, outcome, written_at=written_at)


def hold(at: float, until: float, monitor: str = FAST) -> Acted:
    return _acted(at, "hold", monitor, "held", until_ms=_redis_ms(until))


def release(at: float, monitor: str = FAST, *, outcome: str = "released") -> Acted:
    return _acted(at, "release", monitor, outcome)


def _acted(at: float, act: str, monitor: str, outcome: str, *, written_at: float | None = None, **more: int) -> Acted:
    line = {"kind": "acted", "at": at + 0.01 if written_at is None else written_at, "who": "anna", "act": act}
    return msgspec.convert(line | {"outcomes": {monitor: outcome}, "redis_ms": _redis_ms(at)} | more, Acted)


def _redis_ms(at: float) -> int:
    return round((EPOCH_S + at) * 1000)


def fault(
    begins: float, ends: float, *excuses: Excuse, name: str = "storm", heals_within_s: float = 40
) -> list[FaultLine]:
    line = FaultLine(at=begins, name=name, phase="begins", heals_within_s=heals_within_s, excuses=list(excuses))
    return [line, msgspec.structs.replace(line, at=ends, phase="ends")]


def overdue(start: float, end: float) -> list[Looked]:
    """Looks that show how hand-offs wait since `start`."""
    return [look(start + n * EVERY_S, overdue_s=n * EVERY_S) for n in range(1, int((end - start) / EVERY_S))]


def due_times(monitor: str, interval: int, until: int, spread: range) -> Iterator[int]:
    """When a monitor is due; ticks are spread in the seconds of `spread`."""
    at = interval
    while at < until:
        yield at
        phase = phase_s(monitor, interval) if at in spread else 0
        at = ((at - phase) // interval + 1) * interval + phase


def run_with(
    *more: AnyLine, skips: Skips = never, looks: bool = True, until: int = UNTIL_S, spread: range = range(0)
) -> list[AnyLine]:
    """Two monitors that run from the beginning. A look in `more` replaces the healthy one of that time."""
    special = {each.at for each in more if isinstance(each, Looked)}
    lines: list[AnyLine] = [RowLine(at=0.0, monitors=[each], interval=s, runs=True) for each, s in INTERVALS.items()]
    lines.append(look(0.25, entered=[FAST, SLOW]))
    if looks:
        times = (n * EVERY_S for n in range(1, int(until / EVERY_S)) if n * EVERY_S not in special)
        lines += (look(at, spread=int(at) in spread) for at in times)
    for monitor, interval in INTERVALS.items():
        due = (at for at in due_times(monitor, interval, until, spread) if not skips(monitor, at))
        lines += (taken(at, monitor, interval) for at in due)
    return [*sorted([*lines, *more], key=lambda line: line.at), EndLine(at=until)]


def judged(lines: Iterable[AnyLine]) -> Result:
    return check(lines, lease_ttl_s=LEASE_TTL_S, sync_s=SYNC_S)


def broken(lines: Iterable[AnyLine]) -> list[tuple[str, str, str | None, int | None]]:
    """Invariant, kind, monitor, tick of everything that is broken."""
    return [
        (each.broken.invariant, each.broken.kind, each.broken.monitor, each.broken.tick)
        for each in judged(lines).violations
    ]


def lost(*ats: int, monitor: str = FAST, interval: int = 10) -> list[tuple[str, str, str | None, int | None]]:
    return [("I1", "lost", monitor, tick(at, interval)) for at in ats]
