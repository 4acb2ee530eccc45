"""One run: one world after the other, and in each one fault at a time."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from redis.exceptions import RedisError

from tests.chaos import clocks, history
from tests.chaos.faults import Fault, MissedError
from tests.chaos.history import EndLine, Recorder
from tests.chaos.timing import Timing
from tests.chaos.world import ChaosWorld, world

SHARE_OF_SENTINELS = 0.15
"""Of the time, for the world in which Redis is behind Sentinel."""


@dataclass(frozen=True)
class Course:
    """What to run."""

    faults: Sequence[Fault]
    seed: int
    until_s: float
    """The length of the run: every fault comes once, and again while there is time."""
    monitors: int
    timing: Timing


def left_out(faults: Sequence[Fault]) -> dict[str, str]:
    """Faults that are not possible on this machine, and what to install."""
    return {each.name: clocks.HOW_TO_GET_IT for each in faults if each.sets_clocks and clocks.library() is None}


async def run(course: Course, folder: Path, recorder: Recorder, say: Callable[[str], None]) -> dict[str, str]:
    """Write a whole history. Returns the faults that did not once come to pass, and why."""
    began_at = time.monotonic()
    missed = left_out(course.faults)
    came: set[str] = set()
    chance = random.Random(course.seed)
    possible = [each for each in course.faults if each.name not in missed]
    for sentinels in (True, False):  # the world that fills the remaining time comes last
        faults = [each for each in possible if each.sentinels is sentinels]
        if not faults:
            continue
        until = began_at + course.until_s * (SHARE_OF_SENTINELS if sentinels else 1.0)
        name = "Redis behind Sentinel" if sentinels else "Redis alone"
        recorder.write(history.WorldLine(name=name))
        async with world(folder, recorder, course.timing, chance, course.monitors, sentinels=sentinels) as here:
            say(f"{name}, {len(here.members)} replicas, {course.monitors} monitors: ready")
            for fault in _in_turn(faults, chance, until):
                if why := await _one(fault, here, say):
                    missed[fault.name] = why
                else:
                    came.add(fault.name)
            await here.all_ran()
    recorder.write(EndLine())
    return {name: why for name, why in missed.items() if name not in came}


def _in_turn(faults: Sequence[Fault], chance: random.Random, until: float) -> Iterator[Fault]:
    """Each once in an order by chance, then again while there is time."""
    first = True
    while first or time.monotonic() < until:
        for fault in chance.sample(faults, len(faults)):
            if not first and time.monotonic() >= until:
                return
            yield fault
        first = False


async def _one(fault: Fault, here: ChaosWorld, say: Callable[[str], None]) -> str | None:
    heals_within_s = fault.heals_within_s or here.timing.heals_s
    why = None

    def note(phase: str) -> None:
        here.recorder.write(
            history.FaultLine(name=fault.name, phase=phase, heals_within_s=heals_within_s, excuses=list(fault.excuses))
        )

    began_at = time.monotonic()
    note("begins")
    try:
        await fault.inflict(here)
    except (MissedError, AssertionError, OSError, RedisError, asyncpg.PostgresError) as error:
        why = f"{type(error).__name__}: {error}"
    note("ends")
    for each in (here.consumer, here.editor, here.sampler):
        each.still_runs()
    took_s = time.monotonic() - began_at
    healed_s = await here.healed(heals_within_s + 30)
    state = here.sampler.problem() or f"recovered after {healed_s:5.1f} s"
    say(f"{fault.name:50} {took_s:6.1f} s   {why or state}")
    for member in here.members:
        if not member.runs:
            say(f"{member.name} ended by itself; see {member.logs[-1]}")
            member.note_death()
            await member.start()
    await here.queue_empty()
    return why
