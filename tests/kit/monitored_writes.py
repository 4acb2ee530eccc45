"""Writes to the schedule and the queue in Redis' order, with the script of ours that made each, by MONITOR."""

import asyncio
import codecs
import contextlib
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha1

from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_peer import PENDING, task_id
from tests.kit.scripts import SCRIPT_NAMES

_MAX_LINE_BYTES = 1 << 26
_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Write:
    """One write to the schedule or to the queue's list."""

    by: str
    """The script of ours that made it, or "" for another client."""
    call: int
    """Writes of one script have the same number."""
    words: tuple[str, ...]


class MonitoredWrites:
    """The lines of MONITOR about the schedule and the queue, recorded during a block."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            if any(each in line for each in (b'"peekaping:sched:', b'"EVAL', b":pending")):
                self._lines.append(line)

    def writes(self) -> Iterator[Write]:
        """The writes so far."""
        by = ""
        for number, line in enumerate(self._lines):
            by_script = b" lua] " in line[:40]
            if not by_script:
                by, call = _caller(line), number
            # The call of a script of ours is long, and its writes follow.
            if by_script or b'"EVAL' not in line[:60]:
                yield Write(by, call, tuple(map(_text, _WORD.findall(line))))


def _caller(line: bytes) -> str:
    """The script of ours that is called, if it is one."""
    words = _WORD.finditer(line)
    command = next(words)[1].upper()
    if command == b"EVALSHA":
        return SCRIPT_NAMES.get(_text(next(words)[1]), "")
    if command == b"EVAL":
        return SCRIPT_NAMES.get(sha1(_text(next(words)[1]).encode()).hexdigest(), "")
    return ""


def _text(quoted: bytes) -> str:
    return codecs.escape_decode(quoted)[0].decode(errors="replace")


@asynccontextmanager
async def monitored_writes(host: str, port: int) -> AsyncIterator[MonitoredWrites]:
    """Record for the length of the block."""
    reader, writer = await asyncio.open_connection(host, port, limit=_MAX_LINE_BYTES)
    writer.write(b"MONITOR\r\n")
    assert await reader.readline() == b"+OK\r\n"
    monitored = MonitoredWrites()
    listening = asyncio.create_task(monitored._listen(reader))
    try:
        yield monitored
        assert not listening.done(), "the server closed the connection of MONITOR"
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        writer.close()


@dataclass
class WriteVerdict:
    """What the writes did to the schedule."""

    duplicated: list[str] = field(default_factory=list)
    """Ours handed a monitor off for a tick that ours had handed off, and no other client had made it due again."""
    moved_back: list[str] = field(default_factory=list)
    """A write of ours made a monitor due before the time that our last hand-off wrote, and no other client had."""
    removed: list[str] = field(default_factory=list)
    """A write of ours left a monitor in neither set."""
    reopened: set[str] = field(default_factory=set)
    """Monitors that another client made due, or removed, before the tick that ours had written."""
    taken_away: set[str] = field(default_factory=set)
    """Monitors whose lease of ours another client removed."""
    made_by: dict[str, list[str]] = field(default_factory=dict)
    """By monitor: who enqueued each of its tasks, "ours" or "theirs", in order."""

    def require_ours_are_right(self) -> None:
        assert (self.duplicated, self.moved_back, self.removed) == ([], [], [])


class WriteJudge:
    """Applies the writes to a model of the schedule, one after the other."""

    def __init__(self) -> None:
        self.verdict = WriteVerdict()
        self._due: dict[str, float] = {}
        self._lease: dict[str, bool] = {}
        """Whether it is ours."""
        self._not_before: dict[str, float] = {}
        """The next due time that our last hand-off wrote."""

    def judge(self, writes: Iterable[Write]) -> WriteVerdict:
        call, touched, by = -1, set[str](), ""
        for each in writes:
            if each.call != call:
                self._require_present(touched, by)
                call, touched, by = each.call, set(), each.by
            touched |= self._apply(each)
        self._require_present(touched, by)
        return self.verdict

    def _apply(self, write: Write) -> set[str]:
        """Returns the monitors that it concerns."""
        command, key, *rest = (*write.words, "", "")[: max(2, len(write.words))]
        if command.upper() == "LPUSH" and key == PENDING:
            for each in rest:
                whose = "ours" if write.by else "theirs"
                self.verdict.made_by.setdefault(each.removeprefix(task_id("")), []).append(whose)
        if key not in (KEYS.due, KEYS.lease):
            return set()
        if command.upper() == "ZREM":
            for each in rest:
                self._remove(write, key, each)
            return set(rest)
        if command.upper() == "ZADD":
            earlier_only = rest[0].upper() == "LT"
            pairs = rest[earlier_only:]
            for score, each in zip(pairs[::2], pairs[1::2], strict=True):
                self._add(write, key, each, float(score), earlier_only=earlier_only)
            return set(pairs[1::2])
        return set()

    def _remove(self, write: Write, key: str, monitor_id: str) -> None:
        if key == KEYS.due:
            self._due.pop(monitor_id, None)
        elif self._lease.pop(monitor_id, False) and not write.by:
            self.verdict.taken_away.add(monitor_id)

    def _add(self, write: Write, key: str, monitor_id: str, score: float, *, earlier_only: bool) -> None:
        if key == KEYS.lease:
            self._lease[monitor_id] = bool(write.by)
            return
        if earlier_only and score >= self._due.get(monitor_id, float("inf")):
            return
        self._due[monitor_id] = score
        last = self._not_before.get(monitor_id, float("-inf"))
        if not write.by:
            self._reopen(monitor_id, score)
        elif write.by == "hand_off" and score <= last:
            self.verdict.duplicated.append(f"{monitor_id}: handed off again, next due {score:.0f} after {last:.0f}")
        elif score < last:
            self.verdict.moved_back.append(f"{monitor_id}: {write.by} made it due at {score:.0f}, before {last:.0f}")
        if write.by == "hand_off":
            self._not_before[monitor_id] = score

    def _require_present(self, touched: set[str], by: str) -> None:
        """After the last write of a script."""
        for each in touched - self._due.keys() - self._lease.keys():
            if by:
                self.verdict.removed.append(f"{each}: {by} left it in neither set")
            else:
                self._reopen(each, float("-inf"))

    def _reopen(self, monitor_id: str, score: float) -> None:
        if score < self._not_before.get(monitor_id, float("-inf")):
            self._not_before[monitor_id] = score
            self.verdict.reopened.add(monitor_id)
