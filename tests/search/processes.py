"""The processes around Redis as state machines: each step is one call, or an end.

Every process may be slow, frozen or dead at any step, so none has a clock: a process that was stopped just before a
deadline may still do what the deadline forbids. A state is a small number here too, and its steps are computed once.

Reading rows commutes with everything but an edit. So a process that has not read yet (`rows` is None) reads when it
writes, or just before an edit: `reads` returns the states that it may be in then.
"""

from collections.abc import Hashable, Iterable, Iterator
from itertools import count
from typing import Any, NamedTuple

from peekaping_producer.brokers import Outcome
from peekaping_producer.monitors.ticks import is_tick, next_tick, phase_s
from peekaping_producer.schedule import CampaignOutcome
from peekaping_producer.schedule.keys import KEYS
from tests.kit.invariants import InvariantError
from tests.search.rules import ABSENT, PAUSED, Intervals
from tests.search.world import Redis, Sid, due_later, lease_later

Pid = int
"""The number of a process's state; 0 holds nothing."""
Read = tuple[tuple[str, int], ...]
"""Rows by monitor id."""
FIRST_TERM, SECOND_TERM = "node/0", "node/1"
"""A term without a slash is that of a Go producer."""


class Transition(NamedTuple):
    """A possible next step of a process."""

    label: str
    """For the trace."""
    call: str
    """The product's call, for the judge; '' if only the process changes."""
    sid: Sid
    pid: Pid


class Numbers:
    """Numbers states in the order in which they are first seen."""

    def __init__(self) -> None:
        self.states: list[Any] = []
        self._numbers: dict[Hashable, Pid] = {}
        self.of(None)

    def of(self, state: Hashable) -> Pid:
        number = self._numbers.setdefault(state, len(self.states))
        if number == len(self.states):
            self.states.append(state)
        return number


class Held(NamedTuple):
    """A producer that holds a claim."""

    token: str
    due: tuple[tuple[str, float], ...]
    spread: bool = False
    """Whether ticks were spread when it was claimed."""
    rows: Read | None = None
    """Rows that were read before the last edit, or are left to handle."""


def nonce(token: float) -> int:
    return int(token % 1 * 1024)


class Producers:
    """Claim, load, hand off and drop; a lost reply and the repeat; give back; death."""

    def __init__(self, redis: Redis, ids: tuple[str, ...]) -> None:
        self._redis = redis
        self._ids = ids
        self.numbers = Numbers()

    def steps(self, sid: Sid, pid: Pid, rows: Intervals, drawn: int) -> Iterator[Transition]:
        """`drawn` is the nonce of the other producer's claim, or 0. It is not used again, nor are those of leases."""
        held: Held | None = self.numbers.states[pid]
        if held:
            yield from self._busy(sid, pid, held, rows)
            return
        taken = {drawn, *map(nonce, self._redis.views[sid].lease.values())}
        after, (token, due, spread) = self._redis.do(sid, "claim", next(each for each in count(1) if each not in taken))
        if due:
            yield Transition("claims", "claim", after, self.numbers.of(Held(token, due, spread)))

    def _busy(self, sid: Sid, pid: Pid, held: Held, rows: Intervals) -> Iterator[Transition]:
        do = self._redis.do
        yield Transition("dies", "", sid, 0)
        after, _ = do(sid, "give_back", held.token, held.due)
        if after != sid:
            yield Transition("gives back", "give_back", after, 0)
        after, _ = do(sid, "postpone", held.token, held.due)
        if after != sid:
            yield Transition("postpones", "postpone", after, 0)
        read = self._read(held, rows) if held.rows is None else held.rows
        if plans := tuple(each for each in read if each[1] > 0):
            after, outcome = do(sid, "hand_off", held.token, held.due, plans, held.spread)
            self._check_ticks(after, plans, held.spread, dict(outcome))
            left = tuple(each for each in read if each[1] <= 0)
            then = self.numbers.of(held._replace(rows=left)) if left else 0
            yield Transition(f"hands off {dict(plans)}: {dict(outcome)}", "hand_off", after, then)
            if after != sid:
                yield Transition(f"hands off {dict(plans)}, the reply is lost", "hand_off", after, pid)
        elif gone := tuple(each for each, row in read if row == PAUSED):
            after, _ = do(sid, "drop", held.token, held.due, gone)
            yield Transition(f"drops {gone}", "drop", after, 0)

    def _check_ticks(self, sid: Sid, plans: Read, spread: bool, outcome: dict[str, Outcome]) -> None:
        """Each that was handed off is due at its next tick, with the phase if ticks were spread at the claim."""
        view = self._redis.views[sid]
        for each, interval in plans:
            tick = next_tick(view.now_ms, interval, phase_s(each, interval) if spread else 0)
            if outcome.get(each) is not Outcome.LOST and view.due[each] != tick:
                raise InvariantError("due", each, f"rescheduled for {view.due[each]:.0f}, not for its tick {tick}")

    def _read(self, held: Held, rows: Intervals) -> Read:
        now = dict(zip(self._ids, rows, strict=True))
        return tuple((each, now[each]) for each, _ in held.due if now[each] != ABSENT)

    def reads(self, pid: Pid, rows: Intervals) -> list[Pid]:
        """The states that it may be in just before an edit of these rows."""
        held: Held | None = self.numbers.states[pid]
        if held is None or held.rows is not None:
            return [pid]
        return [pid, self.numbers.of(held._replace(rows=self._read(held, rows)))]

    def stale(self, pid: Pid) -> frozenset[str]:
        """The monitors whose rows it has read and not yet used."""
        held: Held | None = self.numbers.states[pid]
        return frozenset(each for each, _ in held.rows) if held and held.rows else frozenset()

    def unless_lost(self, sid: Sid, pid: Pid) -> Pid:
        """The same state while its claim holds a monitor, otherwise 0."""
        held: Held | None = self.numbers.states[pid]
        view = self._redis.views[sid]
        if held is None or (float(held.token) > view.now_ms and float(held.token) in view.lease.values()):
            return pid
        return 0

    def drawn(self, pid: Pid) -> int:
        held: Held | None = self.numbers.states[pid]
        return nonce(float(held.token)) if held else 0

    def later(self, pid: Pid, now_ms: int, back_ms: int) -> Pid:
        held: Held | None = self.numbers.states[pid]
        if held is None:
            return 0
        token = f"{lease_later(float(held.token), now_ms, back_ms):.17g}"
        due = tuple((each, due_later(score, now_ms, back_ms)) for each, score in held.due)
        return self.numbers.of(held._replace(token=token, due=due))


class Leading(NamedTuple):
    """The replica whose term is in Redis."""

    term: str
    stage: str = ""
    """The next step: 'asked' (no reply yet), 'place', 'reread', 'move', 'compare' or 'remove'."""
    rows: Read = ()
    """Read before the last edit."""
    seen: tuple[tuple[str, float], ...] = ()
    """Misaligned, or members to be removed."""
    key: str = ""
    """The set that they were seen in."""


class Leaders:
    """Campaign, place, move, remove, and resign: sync and hints, with each read of the rows apart from the write.

    Two replicas, of which at most one leads. Once a term is over, its writes are refused: `unless_stale` tests that as
    soon as the term is over, and the replica is a follower again.
    """

    def __init__(self, redis: Redis, ids: tuple[str, ...]) -> None:
        self._redis = redis
        self._ids = ids
        self.numbers = Numbers()
        self._parts = [(each,) for each in ids] + ([ids] if len(ids) > 1 else [])

    def steps(self, sid: Sid, pid: Pid, rows: Intervals) -> Iterator[Transition]:
        state: Leading | None = self.numbers.states[pid]
        if state is None or state.stage == "asked":
            yield from self._ask(sid, state)
        if state is None:
            return
        do, of = self._redis.do, self.numbers.of
        yield Transition("dies", "", sid, 0)
        if state.stage == "asked":
            return
        after, _ = do(sid, "campaign", state.term, "-")
        if after != sid:
            yield Transition("renews", "campaign", after, pid)
        if not state.stage:
            after, _ = do(sid, "resign", state.term)
            yield Transition("resigns", "resign", after, 0)
            for key in (KEYS.due, KEYS.lease):
                _, seen = do(sid, "walk", key)
                if seen:
                    then = of(state._replace(stage="compare", seen=seen, key=key))
                    yield Transition(f"sees {seen} in {key}", "", sid, then)
        yield from self._write(sid, state)
        for reads in self._read(state, rows):
            yield from self._write(sid, reads)

    def _ask(self, sid: Sid, state: Leading | None) -> Iterator[Transition]:
        leader = self._redis.views[sid].leader
        term = state.term if state else SECOND_TERM if leader == FIRST_TERM else FIRST_TERM
        after, answer = self._redis.do(sid, "campaign", "", term)
        if answer is CampaignOutcome.WON:
            yield Transition(f"leads ({term})", "campaign", after, self.numbers.of(Leading(term)))
            if not state:
                yield Transition(
                    f"campaigns ({term}), no reply yet", "campaign", after, self.numbers.of(Leading(term, "asked"))
                )

    def _write(self, sid: Sid, state: Leading) -> Iterator[Transition]:
        do, of, term = self._redis.do, self.numbers.of, state.term
        if state.stage == "place":
            after, misaligned = do(sid, "place", term, state.rows)
            then = Leading(term, "reread", seen=misaligned) if misaligned else Leading(term)
            yield Transition(f"places {dict(state.rows)}, misaligned: {misaligned}", "place", after, of(then))
            retried, _ = do(sid, "place", term, state.rows, True)
            if retried != after:
                yield Transition(f"places {dict(state.rows)} and retries", "place", retried, of(then))
        elif state.stage == "move":
            after, _ = do(sid, "move", term, state.seen, state.rows)
            self._check_moved(sid, after, state.rows)
            yield Transition(f"moves {state.seen} by {dict(state.rows)}", "move", after, of(Leading(term)))
        elif state.stage == "remove":
            after, _ = do(sid, "remove", term, state.key, state.seen)
            yield Transition(f"removes {state.seen} from {state.key}", "remove", after, of(Leading(term)))

    def _check_moved(self, before: Sid, after: Sid, rows: Read) -> None:
        """A due time that fits either grid of the row stands; another one is moved to the next tick by the switch."""
        was, now = self._redis.views[before], self._redis.views[after]
        for each, interval in rows:
            due = was.due.get(each)
            if due is None or interval <= 0 or now.due[each] == due:
                continue
            phase = phase_s(each, interval)
            if is_tick(due, interval, phase) and due <= was.now_ms + interval * 1000:
                raise InvariantError("due", each, f"moved from {due:.0f}, which is a tick of its interval")
            if now.due[each] != next_tick(was.now_ms, interval, phase if was.spread else 0):
                raise InvariantError("due", each, f"moved to {now.due[each]:.0f}, not to its next tick")

    def _read(self, state: Leading, rows: Intervals) -> Iterator[Leading]:
        """The states after a read now, as plans: an absent row has no interval, like a paused one."""
        now = {each: max(row, 0) for each, row in zip(self._ids, rows, strict=True)}
        if not state.stage:
            for part in self._parts:
                yield state._replace(stage="place", rows=tuple((each, now[each]) for each in part))
        elif state.stage == "reread":
            yield state._replace(stage="move", rows=tuple((each, now[each]) for each, _ in state.seen))
        elif state.stage == "compare":
            gone = tuple(each for each in state.seen if not now[each[0]])
            yield state._replace(stage="remove", seen=gone) if gone else Leading(state.term)

    def reads(self, pid: Pid, rows: Intervals) -> list[Pid]:
        """The states that it may be in just before an edit of these rows."""
        state: Leading | None = self.numbers.states[pid]
        return [pid, *map(self.numbers.of, self._read(state, rows))] if state else [pid]

    def stale(self, pid: Pid) -> frozenset[str]:
        """The monitors whose rows it has read and not yet used."""
        state: Leading | None = self.numbers.states[pid]
        if state is None or state.stage not in ("place", "move", "remove"):
            return frozenset()
        return frozenset(each for each, _ in state.rows or state.seen)

    def unless_stale(self, sid: Sid, pid: Pid) -> Pid:
        """The same state while its term is the one in Redis; otherwise 0, after its writes were refused."""
        state: Leading | None = self.numbers.states[pid]
        if state is None or state.term == self._redis.views[sid].leader:
            return pid
        for each, what in self._writes(state):
            after, answer = self._redis.do(sid, each, state.term, *what)
            if answer != "stale" or after != sid:
                raise InvariantError("I5", "-", f"{each} {what} of the ended term {state.term} was not refused")
        return 0

    def _writes(self, state: Leading) -> Iterable[tuple[str, tuple[Any, ...]]]:
        if state.stage == "place":
            return [("place", (state.rows,))]
        if state.stage in ("reread", "move"):
            return [("move", (state.seen, tuple((each, 20) for each, _ in state.seen)))]
        if state.stage in ("compare", "remove"):
            return [("remove", (state.key, state.seen))]
        return [("place", (tuple((each, row) for each in self._ids),)) for row in (0, 20)]

    def later(self, pid: Pid, now_ms: int, back_ms: int) -> Pid:
        state: Leading | None = self.numbers.states[pid]
        if state is None or not state.seen:
            return pid
        shifted = lease_later if state.key == KEYS.lease else due_later
        seen = tuple((each, shifted(score, now_ms, back_ms)) for each, score in state.seen)
        return self.numbers.of(state._replace(seen=seen))
