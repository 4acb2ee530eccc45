"""What Redis was told, in its order, and which script of ours did it, if one did (MONITOR)."""

import asyncio
import codecs
import contextlib
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from importlib.resources import files

from peekaping_producer.redis_client.script import CLOCK
from peekaping_producer.schedule import keys
from tests.asynq_peer import PENDING, task_id

_LONGEST_LINE = 1 << 26
_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_SCRIPTS = {
    sha1((CLOCK + path.read_text()).encode()).hexdigest(): path.name.removesuffix(".lua")
    for package in ("peekaping_producer.schedule", "peekaping_producer.brokers")
    for path in files(package).joinpath("scripts").iterdir()
    if path.name.endswith(".lua")
}


@dataclass(frozen=True)
class Told:
    """One write to the schedule or to the queue's list."""

    by: str
    """The script of ours that did it, or "" for anybody else."""
    call: int
    """Writes of one script have the same number."""
    words: tuple[str, ...]


class Overheard:
    """The lines of MONITOR that can matter, from the beginning of the block to its end."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            if any(each in line for each in (b'"peekaping:sched:', b'"EVAL', b":pending")):
                self._lines.append(line)

    def told(self) -> Iterator[Told]:
        """What was written so far."""
        by = ""
        for number, line in enumerate(self._lines):
            by_script = b" lua] " in line[:40]
            if not by_script:
                by, call = _caller(line), number
            # What a script of ours was asked is long, and what it did follows.
            if by_script or b'"EVAL' not in line[:60]:
                yield Told(by, call, tuple(map(_text, _WORD.findall(line))))


def _caller(line: bytes) -> str:
    """The script of ours that is called, if it is one."""
    words = _WORD.finditer(line)
    command = next(words)[1].upper()
    if command == b"EVALSHA":
        return _SCRIPTS.get(_text(next(words)[1]), "")
    if command == b"EVAL":
        return _SCRIPTS.get(sha1(_text(next(words)[1]).encode()).hexdigest(), "")
    return ""


def _text(quoted: bytes) -> str:
    return codecs.escape_decode(quoted)[0].decode(errors="replace")


@asynccontextmanager
async def overheard(host: str, port: int) -> AsyncIterator[Overheard]:
    """Listen for the length of the block."""
    reader, writer = await asyncio.open_connection(host, port, limit=_LONGEST_LINE)
    writer.write(b"MONITOR\r\n")
    assert await reader.readline() == b"+OK\r\n"
    what = Overheard()
    listening = asyncio.create_task(what._listen(reader))
    try:
        yield what
        assert not listening.done(), "the server ended it"
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        writer.close()


@dataclass
class Verdict:
    """What was done to the schedule, by whom."""

    doubled: list[str] = field(default_factory=list)
    """A monitor was handed off by ours for a tick that ours had handed off, and nobody else had made it due again."""
    moved_back: list[str] = field(default_factory=list)
    """A write of ours made a monitor due sooner than its last hand-off of ours said, and nobody else had done so."""
    removed: list[str] = field(default_factory=list)
    """A write of ours left a monitor in neither set."""
    reopened: set[str] = field(default_factory=set)
    """Monitors that somebody else made due, or took out, before the tick that ours had said."""
    taken_away: set[str] = field(default_factory=set)
    """Monitors whose lease of ours somebody else took."""
    made_by: dict[str, list[str]] = field(default_factory=dict)
    """By monitor: whose each of its tasks was, "ours" or "theirs", in their order."""

    def require_ours_are_right(self) -> None:
        assert (self.doubled, self.moved_back, self.removed) == ([], [], [])


class Judge:
    """Repeats the writes, one after the other."""

    def __init__(self) -> None:
        self.verdict = Verdict()
        self._due: dict[str, float] = {}
        self._lease: dict[str, bool] = {}
        """Whether it is ours."""
        self._not_before: dict[str, float] = {}
        """The next due time that our last hand-off wrote."""

    def hear(self, told: Iterable[Told]) -> Verdict:
        call, touched, by = -1, set[str](), ""
        for each in told:
            if each.call != call:
                self._require_present(touched, by)
                call, touched, by = each.call, set(), each.by
            touched |= self._repeat(each)
        self._require_present(touched, by)
        return self.verdict

    def _repeat(self, told: Told) -> set[str]:
        """Returns the monitors that it is about."""
        command, key, *rest = (*told.words, "", "")[: max(2, len(told.words))]
        if command.upper() == "LPUSH" and key == PENDING:
            for each in rest:
                whose = "ours" if told.by else "theirs"
                self.verdict.made_by.setdefault(each.removeprefix(task_id("")), []).append(whose)
        if key not in (keys.DUE, keys.LEASE):
            return set()
        if command.upper() == "ZREM":
            for each in rest:
                self._remove(told, key, each)
            return set(rest)
        if command.upper() == "ZADD":
            earlier_only = rest[0].upper() == "LT"
            pairs = rest[earlier_only:]
            for score, each in zip(pairs[::2], pairs[1::2], strict=True):
                self._add(told, key, each, float(score), earlier_only=earlier_only)
            return set(pairs[1::2])
        return set()

    def _remove(self, told: Told, key: str, monitor_id: str) -> None:
        if key == keys.DUE:
            self._due.pop(monitor_id, None)
        elif self._lease.pop(monitor_id, False) and not told.by:
            self.verdict.taken_away.add(monitor_id)

    def _add(self, told: Told, key: str, monitor_id: str, score: float, *, earlier_only: bool) -> None:
        if key == keys.LEASE:
            self._lease[monitor_id] = bool(told.by)
            return
        if earlier_only and score >= self._due.get(monitor_id, float("inf")):
            return
        self._due[monitor_id] = score
        last = self._not_before.get(monitor_id, float("-inf"))
        if not told.by:
            self._reopen(monitor_id, score)
        elif told.by == "hand_off" and score <= last:
            self.verdict.doubled.append(f"{monitor_id}: handed off again, next due {score:.0f} after {last:.0f}")
        elif score < last:
            self.verdict.moved_back.append(f"{monitor_id}: {told.by} made it due at {score:.0f}, before {last:.0f}")
        if told.by == "hand_off":
            self._not_before[monitor_id] = score

    def _require_present(self, touched: set[str], by: str) -> None:
        """Deduplicator a script is through."""
        for each in touched - self._due.keys() - self._lease.keys():
            if by:
                self.verdict.removed.append(f"{each}: {by} left it in neither set")
            else:
                self._reopen(each, float("-inf"))

    def _reopen(self, monitor_id: str, score: float) -> None:
        if score < self._not_before.get(monitor_id, float("-inf")):
            self._not_before[monitor_id] = score
            self.verdict.reopened.add(monitor_id)
