"""Spreading switched on and off under load: 100,000 monitors of 60 s and two replicas, restarted one after the other.

Takes 5 minutes a round. The leader is stopped while the hand-offs of a full minute are under way, so that some of them
follow the old value of the switch and some the new one. A consumer takes every task at once; every hand-off is judged
by the rules of the chaos run, and by the due times that hand-offs set.
"""

import asyncio
from collections import Counter
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from bench.due_times import DueTimes, due_times_of
from bench.figures import Figure, percentile
from bench.hand_offs import HandOffRecord, recorded
from bench.harness import BenchHarness, now_ms, reaches
from bench.options import Options
from peekaping_producer.monitors.ticks import phase_s
from tests.chaos.checker import Result, Violation, check
from tests.kit.replicas import ReplicaProcess, leader_pid, replicas
from tests.kit.waiting import until

MONITORS = 100_000
INTERVAL_S = 60
_PERIOD_MS = INTERVAL_S * 1000
_ROLLOUT_BEFORE_MS = 12_000
"""Before a tick: the first replica is restarted in this time, the leader within the hand-offs of the tick."""
_INTO_TICK_MS = 300
_ALL_SPREAD_MS = 75_000
"""After the tick of the switch: the monitors that followed the old value have been handed off once more."""
_LEASE_TTL_S, _SYNC_S = 10.0, 30.0
"""The defaults of LEASE_TTL and SYNC_INTERVAL."""


class Fleet:
    """Two replicas."""

    def __init__(self, harness: BenchHarness, folder: Path, started: list[ReplicaProcess]) -> None:
        self._harness = harness
        self._folder = folder
        self._started = started
        self.running: list[ReplicaProcess] = []

    async def start(self, *, spread: bool) -> None:
        """Start one more replica, and wait until it works."""
        settings = self._harness.environment_of_commands(SPREAD_TICKS=str(spread).lower())
        replica = ReplicaProcess(self._folder, settings)
        self._started.append(replica)
        self.running.append(replica)
        await until(lambda: "producer.started" in replica.events(), "a replica starts")

    async def restart(self, *, spread: bool, leader_stops_ms: float) -> None:
        """Replace each replica by one with this value of SPREAD_TICKS, the leader last and at this time."""
        leader = await leader_pid(self._harness.redis)
        for old in sorted(self.running, key=lambda replica: replica.process.pid == leader):
            await self.start(spread=spread)
            if old.process.pid == leader:
                await wait_until_ms(leader_stops_ms)
            await self.stop(old)

    async def stop(self, replica: ReplicaProcess) -> None:
        """Stop it as a rollout does."""
        self.running.remove(replica)
        code = await asyncio.to_thread(replica.terminate)
        assert code == 0, f"a replica that was stopped ended with exit code {code}"

    def switches(self) -> list[str]:
        """What the leaders logged about the switch, in order."""
        lines = [line for replica in self._started for line in replica.lines()]
        return [str(line["event"]) for line in lines if str(line["event"]).startswith("spread.")]


class Round(msgspec.Struct):
    """One round, judged."""

    result: Result
    due: DueTimes
    tick_ms: float
    """The tick in which spreading was switched on."""

    def late_ms(self, after_ms: float, *, for_ms: float = 1.0) -> list[float]:
        """The lateness of what was due from so long after the tick on."""
        start_ms = self.tick_ms + after_ms
        return self.due.late_ms(start_ms, start_ms + for_ms)


async def run(harness: BenchHarness, options: Options) -> list[Figure]:
    """Measure lost and doubled checks, the longest gaps, and the lateness before, between and after the switches."""
    rounds = [await _round(harness, options.monitors or MONITORS) for _ in range(options.rounds)]
    spread = [found.late_ms(_ALL_SPREAD_MS, for_ms=_PERIOD_MS) for found in rounds]
    bounds = " · ".join(f"{INTERVAL_S + found.due.worst_ms / 1000:.2f}" for found in rounds)
    return [
        Figure("checks handed off", "checks", [float(found.result.tasks) for found in rounds], better="higher"),
        _none("lost", "lost", rounds),
        _none("doubled", "duplicated", rounds),
        Figure(
            "due while their last task was in the queue",
            "checks",
            [float(len(found.due.overlapped)) for found in rounds],
            note="no second task, by design",
        ),
        Figure(
            "longest time from a hand-off to the next due time",
            "s",
            [found.due.longest_wait_ms / 1000 for found in rounds],
            required=INTERVAL_S,
        ),
        Figure(
            "longest time between two hand-offs of a monitor",
            "s",
            [found.due.longest_gap_ms / 1000 for found in rounds],
            note=f"within {bounds}: that and the worst lateness",
        ),
        Figure(
            "due times of one monitor that were closer than the interval",
            "",
            [float(found.due.most_shorter_gaps) for found in rounds],
            required=2,
            note="one for each switch",
        ),
        *_lateness("at one instant, switched on meanwhile", [found.late_ms(0) for found in rounds]),
        *_lateness("spread", spread, required=500, target=250),
        *_lateness("at one instant again", [found.late_ms(4 * _PERIOD_MS) for found in rounds]),
    ]


async def _round(harness: BenchHarness, count: int) -> Round:
    """Switch on, off, and judge."""
    ids = await harness.fill(count, interval=INTERVAL_S)
    with TemporaryDirectory(prefix="peekaping-bench-") as name, replicas(Path(name)) as started:
        fleet = Fleet(harness, Path(name), started)
        async with recorded(harness.redis, ids, INTERVAL_S) as record:
            tick_ms = await _switch(fleet, record)
        switches = fleet.switches()
    assert switches == ["spread.enabled", "spread.disabled"], f"the switch: {switches}"
    _print_load(record)
    result = await asyncio.to_thread(check, record.lines(), lease_ttl_s=_LEASE_TTL_S, sync_s=_SYNC_S)
    due = due_times_of(record.hand_offs, INTERVAL_S)
    result.violations = without_overlaps(result.violations, due, INTERVAL_S)
    others = [found for found in result.violations if found.broken.kind not in ("lost", "duplicated")]
    assert not others, f"{len(others)} violations: {others[0]}"
    assert not due.early, f"{due.early} hand-offs before the due time"
    return Round(result, due, tick_ms)


def without_overlaps(violations: list[Violation], due: DueTimes, interval_s: int) -> list[Violation]:
    """Leave out the ticks at which the consumer had not yet taken the task of the tick before."""
    period_ms = interval_s * 1000
    ticks = {
        (monitor, (due_ms - phase_ms) // period_ms)
        for monitor, due_ms in due.overlapped
        for phase_ms in (0, phase_s(monitor, interval_s) * 1000)
        if (due_ms - phase_ms) % period_ms == 0
    }
    return [
        found
        for found in violations
        if found.broken.kind != "lost" or (found.broken.monitor, found.broken.tick) not in ticks
    ]


async def _switch(fleet: Fleet, record: HandOffRecord) -> float:
    """Run two replicas, and switch on and off; returns the tick in which spreading was switched on."""
    for _ in range(2):
        await fleet.start(spread=False)
    await _handed_off(record, fleet, 0.0)
    tick_ms = float(((now_ms() + 2 * _ROLLOUT_BEFORE_MS) // _PERIOD_MS + 1) * _PERIOD_MS)
    await wait_until_ms(tick_ms - _ROLLOUT_BEFORE_MS)
    await fleet.restart(spread=True, leader_stops_ms=tick_ms + _INTO_TICK_MS)
    await wait_until_ms(tick_ms + _ALL_SPREAD_MS + _PERIOD_MS)
    await fleet.restart(spread=False, leader_stops_ms=0.0)
    await wait_until_ms(tick_ms + 4 * _PERIOD_MS)
    await _handed_off(record, fleet, tick_ms + 5 * _PERIOD_MS)
    await asyncio.sleep(INTERVAL_S / 6)  # so that the checker judges the ticks before
    for replica in list(fleet.running):
        await fleet.stop(replica)
    await until(lambda: record.looks[-1].pending == 0, "every task is taken")
    return tick_ms


async def _handed_off(record: HandOffRecord, fleet: Fleet, due_ms: float) -> None:
    """Wait until every monitor was handed off, and its next due time is `due_ms` or later."""

    async def done() -> int:
        return sum(next_ms >= due_ms for next_ms in record.next_due_ms.values())

    await reaches(len(record.ids), done, "monitors handed off", [each.process for each in fleet.running], every_s=0.5)


async def wait_until_ms(moment_ms: float) -> None:
    """Wait until a time of the local clock, which Redis uses, too."""
    await asyncio.sleep((moment_ms - now_ms()) / 1000)


def _none(name: str, kind: str, rounds: list[Round]) -> Figure:
    """The number of violations of a kind, of which there must be none; with the first one."""
    found = [[line for line in of_round.result.violations if line.broken.kind == kind] for of_round in rounds]
    first = next((str(line) for of_round in found for line in of_round), "")
    return Figure(name, "checks", [float(len(of_round)) for of_round in found], required=0, note=first)


def _lateness(
    name: str, rounds: list[list[float]], *, required: float | None = None, target: float | None = None
) -> list[Figure]:
    return [
        Figure(f"{name}, lateness p50", "ms", [percentile(late, 50) for late in rounds]),
        Figure(
            f"{name}, lateness p99", "ms", [percentile(late, 99) for late in rounds], required=required, target=target
        ),
        Figure(f"{name}, lateness worst", "ms", [max(late) for late in rounds]),
    ]


def _print_load(record: HandOffRecord) -> None:
    """Print how many checks were handed off around each switch."""
    seconds = Counter(int(hand_off.enqueued_ms // 1000) for hand_off in record.hand_offs)
    for before, after in pairwise(record.looks):
        if before.spread != after.spread:
            second = after.redis_ms // 1000
            around = sum(seconds[second + n] for n in (-1, 0, 1))
            print(f"switched {'on' if after.spread else 'off'}: {around:,} hand-offs in the 3 s around it", flush=True)
