"""The history of a run: JSON lines of what was done, seen and taken, in order.

All lines use one clock: seconds since the start of the recorder.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec


class HistoryLine(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """What all lines have."""

    at: float = 0.0
    """Seconds; the recorder sets it."""


class RowLine(HistoryLine, frozen=True, tag="row"):
    """Rows were committed, just before `at`. A later line about a monitor replaces the earlier one."""

    monitors: list[str]
    interval: int
    """Seconds."""
    runs: bool
    """False: paused or deleted."""


class Taken(HistoryLine, frozen=True, tag="taken"):
    """A consumer took a task."""

    monitor: str
    tick: int
    """scheduled_at in whole intervals since the epoch."""
    interval: int
    """Seconds, from the task."""
    scheduled_at_ms: int
    """By Redis' clock."""
    enqueued_at_ms: int | None
    """By Redis' clock; None where asynq has lost it."""
    made_by: str = "python"
    """"go" for a stand-in of upstream's producer."""

    def tick_with(self, phase: int) -> int:
        """The tick by a grid with a phase in seconds."""
        return self.tick if phase == 0 else (self.scheduled_at_ms - phase * 1000) // (self.interval * 1000)

    def last_tick_with(self, phase: int) -> int:
        """The tick in which it was handed off, if that is a later one: the next due time follows from the hand-off."""
        tick = self.tick_with(phase)
        if self.enqueued_at_ms is None:
            return tick
        return max(tick, (self.enqueued_at_ms - phase * 1000) // (self.interval * 1000))


class Claimed(HistoryLine, frozen=True, tag="claimed"):
    """The server has run a claim; the replica need not have received the reply."""

    producer: str
    token: str
    monitors: dict[str, float]
    """Monitor to its due time, ms."""


class Handed(HistoryLine, frozen=True, tag="handed"):
    """The server has run a hand-off."""

    producer: str
    token: str
    outcomes: dict[str, str]


class Led(HistoryLine, frozen=True, tag="led"):
    """The server has run, or refused as stale, a write that only a leader makes."""

    producer: str
    term: str
    script: str
    accepted: bool


class Acted(HistoryLine, frozen=True, tag="acted"):
    """The server has run an act of a person: monitors run now, held, or released."""

    who: str
    act: Literal["run_now", "hold", "release"]
    outcomes: dict[str, str]
    """Monitor, or `*` for all, to the script's outcome."""
    redis_ms: int
    """Redis' clock."""
    until_ms: int | None = None
    """The end of the holds, by Redis' clock."""


class Looked(HistoryLine, frozen=True, tag="looked"):
    """The schedule, from outside; what came and went since the last look."""

    entered: list[str]
    left: list[str]
    overdue_s: float
    """The longest wait for a hand-off since the due time, also while a claim holds the monitor."""
    leased: int
    pending: int
    redis_ms: int
    """Redis' clock at this look."""
    leader: str | None
    next_back: list[str]
    """Monitors whose due time is earlier than at the last look, without an edit."""
    spread: bool = False
    """Whether ticks are spread."""


class MemoryLost(HistoryLine, frozen=True, tag="memory_lost"):
    """Redis lost its data. It holds no hand-off of this tick, so each monitor may be handed off once more."""


Excuse = Literal["duplicated_by_go", "clock_step", "next_back"]


class FaultLine(HistoryLine, frozen=True, tag="fault"):
    """A fault begins, or ends: from here on it has to heal."""

    name: str
    phase: Literal["begins", "ends"]
    heals_within_s: float
    excuses: list[Excuse] = []


class Stopped(HistoryLine, frozen=True, tag="stopped"):
    """A replica was asked to stop (or, with an empty signal, ended by itself)."""

    producer: str
    signal: str
    exit: int
    took_s: float
    grace_s: float


class Measured(HistoryLine, frozen=True, tag="measured"):
    """A figure with its limit that a fault took itself."""

    invariant: str
    what: str
    value: float
    limit: float


class WorldLine(HistoryLine, frozen=True, tag="world"):
    """A new world begins, with other servers and other rows; nothing refers to the one before."""

    name: str


class EndLine(HistoryLine, frozen=True, tag="ended"):
    """The last line: without it the run was broken off."""


AnyLine = (
    RowLine
    | Taken
    | Claimed
    | Handed
    | Led
    | Acted
    | Looked
    | MemoryLost
    | FaultLine
    | Stopped
    | Measured
    | WorldLine
    | EndLine
)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyLine)


class UnreadableError(Exception):
    """A line of a history cannot be read; the message names it."""


class Recorder:
    """Appends lines to a file, each at once, so that a run that is killed leaves what it saw."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_at = clock()
        self._file = path.open("wb", buffering=0)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, line: AnyLine) -> None:
        """Append it, with the time of now."""
        stamped = msgspec.structs.replace(line, at=round(self._clock() - self._began_at, 4))
        self._file.write(_encoder.encode(stamped) + b"\n")


def read(path: Path) -> Iterator[AnyLine]:
    """Every line. Raises UnreadableError with the number of an incomplete or malformed one."""
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            try:
                if not text.endswith(b"\n"):
                    raise ValueError("it is cut off")
                yield _decoder.decode(text)
            except (msgspec.MsgspecError, ValueError) as error:
                raise UnreadableError(f"{path.name}, line {number}: {error}") from None
