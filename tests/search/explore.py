"""Breadth-first search over all interleavings; every state is checked once, when it is reached."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, NamedTuple

from peekaping_producer.schedule import ALL_MONITORS
from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_peer import LEASE, PENDING, task_id
from tests.kit.invariants import InvariantError, Mutation
from tests.search.processes import FIRST_TERM, Leaders, Leading, Pid, Producers
from tests.search.rules import ABSENT, PAUSED, Fences, Healing, Interval, Intervals, Past, Pasts, StepJudge, edited
from tests.search.world import CYCLE_MS, GRID_MS, START_MS, Redis, Sid

IDS = ("m0", "m1")
IDS_WITH_PHASES = ("m5", "m34")
"""Their phases are on the grid of the search: 10 and 0 s of 20, 0 of 10."""
EDITS: dict[Interval, tuple[Interval, ...]] = {
    20: (ABSENT, PAUSED, 10),
    10: (ABSENT, PAUSED, 20),
    PAUSED: (20,),
    ABSENT: (20,),
}
"""By row: the rows that an edit may make of it."""


HOLD_S = GRID_MS // 1000
"""Of all holds: until the next step."""


@dataclass(frozen=True)
class Scope:
    """The bounds of a search."""

    monitors: int = 1
    edits: int = 2
    """Commits of a row."""
    faults: int = 0
    """Losses in Redis or of a consumer."""
    turns: int = 0
    """How often the leader turns on or off that ticks are spread."""
    acts: int = 0
    """Monitors run now, held and released; all held and released."""
    whole: bool = False
    """Keep claims that no longer hold anything, instead of testing in each state that they cannot write."""
    most: int | None = None
    """The number of states after which the search ends; None for no limit."""


class Left(NamedTuple):
    """Edits, faults, turns of the switch and acts that may still happen."""

    edits: int
    faults: int
    turns: int
    acts: int


class State(NamedTuple):
    """One state of the whole system."""

    sid: Sid
    rows: Intervals
    histories: Pasts
    producers: tuple[Pid, Pid]
    leader: Pid
    left: Left


@dataclass
class SearchResult:
    """The result of a search."""

    states: int
    transitions: int
    calls: int
    """Different script calls."""
    seconds: float
    complete: bool
    depth: int

    def __str__(self) -> str:
        return (
            f"{self.states:,} states, {self.transitions:,} transitions, {self.calls:,} different script calls, "
            f"depth {self.depth}, {'complete' if self.complete else 'bounded'}, {self.seconds:.0f} s"
        )


class Search:
    """One search. `run` raises InvariantError, with the steps that lead to it."""

    def __init__(self, scope: Scope, mutation: Mutation | None = None) -> None:
        self.redis = Redis(mutation)
        self.ids = IDS_WITH_PHASES[: scope.monitors] if scope.turns else IDS[: scope.monitors]
        self._scope = scope
        self._producers = Producers(self.redis, self.ids)
        self._leaders = Leaders(self.redis, self.ids)
        self._judge = StepJudge(self.redis, self.ids)
        self._healing = Healing(self.redis, self.ids)
        self._came: dict[State, tuple[State, str] | None] = {}
        self._transitions = 0
        # Each depends on a part of the state only, and is computed once for it.
        self._judged = cache(self._judge.after)
        self._heals = cache(self._healing.check)
        self._fenced = cache(Fences(self.redis, self.ids).check)
        self._produces = cache(lambda *args: list(self._producers.steps(*args)))
        self._leads = cache(lambda *args: list(self._leaders.steps(*args)))
        self._around = cache(self._surroundings)
        self._lose = cache(self._losses)
        self._act = cache(self._acts)
        self._edit = cache(self._edits)
        self._trusted = cache(self._leaders.unless_stale)
        self._aged = cache(self._age)
        self._holding = cache(self._held)
        self._stale = cache(
            lambda producers, leader: self._leaders.stale(leader).union(*map(self._producers.stale, producers))
        )
        self._forgot = cache(self._forget)

    def run(self) -> SearchResult:
        began = time.perf_counter()
        first = self._first()
        self._came[first] = None
        frontier, depth, most = [first], 0, self._scope.most or 1 << 60
        while frontier and len(self._came) < most:
            depth += 1
            following: list[State] = []
            for state in frontier:
                self._expand(state, following)
                if len(self._came) >= most:
                    break
            frontier = following
        seconds = time.perf_counter() - began
        return SearchResult(len(self._came), self._transitions, len(self.redis.calls), seconds, not frontier, depth)

    def _first(self) -> State:
        """Every monitor is due now with an interval of 20 s, and one replica leads."""
        sid, _ = self.redis.do(self.redis.empty, "campaign", "", FIRST_TERM)
        for each in self.ids:
            sid, _ = self.redis.do(sid, "put", KEYS.due, each, float(START_MS))
        histories = tuple(Past(float(START_MS), intervals=frozenset({20})) for _ in self.ids)
        leader = self._leaders.numbers.of(Leading(FIRST_TERM))
        left = Left(self._scope.edits, self._scope.faults, self._scope.turns, self._scope.acts)
        return State(sid, tuple(20 for _ in self.ids), histories, (0, 0), leader, left)

    def _expand(self, state: State, following: list[State]) -> None:
        came = self._came
        try:
            if not self._scope.whole:
                self._fenced(state.sid)
            self._heals(state.sid, state.rows)
            for label, then in self._next(state):
                self._transitions += 1
                if then not in came:
                    came[then] = (state, label)
                    following.append(then)
        except InvariantError as broken:
            broken.args = (f"{broken.args[0]}\n{self._trace(state)}",)
            raise

    def _next(self, state: State) -> Iterator[tuple[str, State]]:
        """Yield every state that is one step away; raises InvariantError if the step breaks an invariant."""
        sid, rows, histories, producers, leader, left = state
        for which, pid in enumerate(producers):
            if which and pid == producers[0]:
                continue  # both are in the same state
            other = producers[1 - which]
            for step in self._produces(sid, pid, rows, 0 if pid else self._producers.drawn(other)):
                both = (step.pid, other) if step.pid <= other else (other, step.pid)
                yield f"producer {step.label}", self._after(state, step.call, step.sid, both, leader)
        for step in self._leads(sid, leader, rows):
            yield f"leader {step.label}", self._after(state, step.call, step.sid, producers, step.pid)
        for label, call, after in self._around(sid):
            yield label, self._after(state, call, after, producers, leader)
        if left.faults:
            fewer = state._replace(left=left._replace(faults=left.faults - 1))
            for label, after in self._lose(sid):
                yield label, self._after(fewer, "", after, producers, leader)
        if left.turns and (term := self.redis.views[sid].leader):
            after, _ = self.redis.do(sid, "campaign", term, "-", not self.redis.views[sid].spread)
            fewer = state._replace(left=left._replace(turns=left.turns - 1))
            yield "the leader turns the switch", self._after(fewer, "campaign", after, producers, leader)
        if left.acts:
            fewer = state._replace(left=left._replace(acts=left.acts - 1))
            for label, call, after in self._act(sid):
                yield label, self._after(fewer, call, after, producers, leader)
        if left.edits:
            yield from self._edit(state)
        after, _ = self.redis.do(sid, "pass_time")
        histories, producers, leader = self._aged(sid, histories, producers, leader)
        yield "time passes", self._settled(after, rows, histories, producers, leader, left)

    def _after(self, state: State, call: str, sid: Sid, producers: tuple[Pid, Pid], leader: Pid) -> State:
        histories = state.histories
        if call and sid != state.sid:
            histories = self._judged(call, state.sid, sid, state.rows, histories)
        return self._settled(sid, state.rows, histories, producers, leader, state.left)

    def _settled(
        self, sid: Sid, rows: Intervals, histories: Pasts, producers: tuple[Pid, Pid], leader: Pid, left: Left
    ) -> State:
        """The state, reduced to what the future depends on."""
        leader = self._trusted(sid, leader)
        if not self._scope.whole:
            producers = self._holding(sid, producers)
        return State(
            sid, rows, self._forgot(sid, rows, histories, self._stale(producers, leader)), producers, leader, left
        )

    def _held(self, sid: Sid, producers: tuple[Pid, Pid]) -> tuple[Pid, Pid]:
        one, two = (self._producers.unless_lost(sid, each) for each in producers)
        return (one, two) if one <= two else (two, one)

    def _forget(self, sid: Sid, rows: Intervals, histories: Pasts, stale: frozenset[str]) -> Pasts:
        members = self.redis.views[sid].members
        return tuple(
            history if each in stale else history.forgotten(row, each in members)
            for each, row, history in zip(self.ids, rows, histories, strict=True)
        )

    def _surroundings(self, sid: Sid) -> list[tuple[str, str, Sid]]:
        """Steps of the reclaimer and of consumers: label, the product's call or '', the state after it."""
        view = self.redis.views[sid]
        steps: list[tuple[str, str, Sid]] = []

        def step(label: str, name: str, *args: Any, call: str = "") -> None:
            after, _ = self.redis.do(sid, name, *args)
            if after != sid:
                steps.append((label, call, after))

        step("reclaimer reclaims", "reclaim", call="reclaim")
        if view.pending:
            step("consumer takes a task", "dequeue", "slow")
        for each in view.active:
            if view.works(each):
                step(f"consumer finishes {each}", "finish", each)
                step(f"consumer fails {each}", "fail", each)
                step(f"consumer of {each} dies", "die", each, "dead")
            else:
                step(f"asynq archives {each}", "fail", each)
        return steps

    def _losses(self, sid: Sid) -> list[tuple[str, Sid]]:
        """Losses in Redis or of a consumer: label, the state after it."""
        view = self.redis.views[sid]
        losses: list[tuple[str, str, tuple[Any, ...]]] = [
            (f"the queue loses {each}", "lose", ("LREM", PENDING, 0, task_id(each))) for each in view.pending
        ]
        for each in view.active:
            losses.append((f"asynq's lease of {each} is lost", "lose", ("ZREM", LEASE, task_id(each))))
            if view.works(each):
                losses.append((f"consumer of {each} dies, its clock a day ahead", "die", (each, "dead, fast")))
        return [(label, self.redis.do(sid, name, *args)[0]) for label, name, args in losses]

    def _acts(self, sid: Sid) -> list[tuple[str, str, Sid]]:
        """What a person may do, by any row that was read before an edit: label, the product's call, the state after."""
        acts: list[tuple[Any, ...]] = [("run_now", each) for each in self.ids]
        for interval in (10, 20):
            for each in self.ids:
                acts += [("hold", each, interval, HOLD_S), ("release", each, interval)]
        acts += [("hold", ALL_MONITORS, 1, HOLD_S), ("release", ALL_MONITORS, 1)]
        steps = [(f"a person: {' '.join(map(str, act))}", act[0], self.redis.do(sid, *act)[0]) for act in acts]
        return [step for step in steps if step[2] != sid]

    def _edits(self, state: State) -> list[tuple[str, State]]:
        """Commits of a row; each process may have read the row just before."""
        sid, rows, histories, producers, leader, left = state
        view = self.redis.views[sid]
        reads = sorted(
            {tuple(sorted(pair)) for pair in product(*(self._producers.reads(each, rows) for each in producers))}
        )
        found = []
        for which, each in enumerate(self.ids):
            for row in EDITS[rows[which]]:
                changed = (*rows[:which], row, *rows[which + 1 :])
                known = (*histories[:which], edited(histories[which], row, view, each), *histories[which + 1 :])
                for pair, leads in product(reads, self._leaders.reads(leader, rows)):
                    label = f"row of {each} is {row} (-1 absent, 0 paused, or seconds)"
                    fewer = left._replace(edits=left.edits - 1)
                    found.append((label, self._settled(sid, changed, known, pair, leads, fewer)))
        return found

    def _age(self, sid: Sid, histories: Pasts, producers: tuple[Pid, Pid], leader: Pid) -> Any:
        now_ms = self.redis.views[sid].now_ms + GRID_MS
        back_ms = CYCLE_MS if now_ms >= START_MS + CYCLE_MS else 0
        return (
            tuple(each.later(now_ms, back_ms) for each in histories),
            tuple(sorted(self._producers.later(pid, now_ms, back_ms) for pid in producers)),
            self._leaders.later(leader, now_ms, back_ms),
        )

    def _trace(self, state: State) -> str:
        steps = []
        came = self._came[state]
        while came:
            state, label = came
            steps.append(label)
            came = self._came[state]
        return "\n".join(f"  {number}. {label}" for number, label in enumerate(reversed(steps), 1))
