"""Tracks whether Redis and the database work, for all loops of the process.

A dependency is failing while the last turn of any kind of loop failed. If it did not answer, any call that succeeds
ends that. If it refused the call (missing permissions, full memory), or this kind of loop failed again although other
calls succeeded, only its calls fail: a successful turn of its own ends that, or SETTLED_AFTER_S without a failure.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import msgspec
import structlog

from peekaping_producer.errors import (
    BROKER,
    CHECKPOINT,
    DATABASE,
    OUTPUT,
    REDIS,
    SOURCE,
    WORKERS,
    BatchError,
    DependencyError,
    UnreachableError,
)
from peekaping_producer.metrics import Metrics
from peekaping_producer.service.text import one_line

log = structlog.stdlib.get_logger()

SLOW_AFTER_S = 10.0
"""A call that takes longer counts as a failure of its dependency until it ends."""
_ASK_EVERY_S = 1.0
REMIND_AFTER_S = 30.0
"""Interval between log lines while a dependency keeps failing."""
SETTLED_AFTER_S = 30.0
"""Longer than a failing turn and its backoff; an idle loop counts as failing for this long at most."""
BRIEF_S = 1.0
"""Trouble that begins within REMIND_AFTER_S of the last line is logged only after this time, so that single failed
calls do not fill the log."""
_MAX_REASON_LENGTH = 300
_IN_A_SENTENCE = {
    REDIS: "Redis",
    DATABASE: "the database",
    BROKER: "the broker",
    SOURCE: "the source",
    CHECKPOINT: "the checkpoint",
    OUTPUT: "the output",
    WORKERS: "the worker processes",
}


class Trouble(msgspec.Struct, frozen=True):
    """Why a dependency is failing, and since when."""

    since: float
    """By the clock of `Dependencies` (time.monotonic)."""
    reason: str
    """The last error that has a cause, otherwise the last one, of at most 300 characters."""
    loops: tuple[str, ...] = ()
    """The kinds of loops whose calls fail."""


class _Failure(msgspec.Struct, frozen=True):
    reason: str
    at: float
    only_this_loop: bool
    """Other calls that succeed do not end this failure."""
    has_cause: bool


class Dependencies:
    """Collects the failures and successes of all loops; logs when a dependency begins to fail and when it recovers."""

    def __init__(self, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._errors = metrics.errors_by_dependency
        self._clock = clock
        self._known: dict[str, _Dependency] = {}

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """The dependencies that are failing, by name."""
        return {name: known.trouble for name, known in self._known.items() if known.failing}

    def failed(self, error: DependencyError, loop_kind: str) -> None:
        """Record a failed call of loops of this kind, and log it unless that was logged just now."""
        if counter := self._errors.get(error.dependency):
            counter.labels(loop_kind).inc()
        self._of(error.dependency).failed(error, loop_kind, self._clock())

    def succeeded(self, dependency: str, loop_kind: str = "") -> None:
        """Record a successful call; with `loop_kind`, a successful turn of such a loop."""
        self._of(dependency).succeeded(loop_kind, self._clock())

    @contextmanager
    def watching(self, loop_kind: str, problem: Callable[[float], DependencyError | None]) -> Iterator[None]:
        """Enclose a call that ends by itself, perhaps late.

        `problem` is called every second with the seconds that the call has taken. If it returns an error, the
        dependency counts as failing until a call succeeds: by convention after SLOW_AFTER_S.
        """
        loop, began_at = asyncio.get_running_loop(), time.monotonic()
        timer: asyncio.TimerHandle

        def ask() -> None:
            nonlocal timer
            error = problem(time.monotonic() - began_at)
            if error:
                self.failed(error, loop_kind)
            timer = loop.call_later(SLOW_AFTER_S if error else _ASK_EVERY_S, ask)

        timer = loop.call_later(_ASK_EVERY_S, ask)
        try:
            yield
        finally:
            timer.cancel()

    def forget(self, loop_kind: str) -> None:
        """Remove the failures of a loop that has ended."""
        for dependency in self._known.values():
            dependency.forget(loop_kind)

    def _of(self, dependency: str) -> "_Dependency":
        known = self._known.get(dependency)
        if known is None:
            known = self._known[dependency] = _Dependency(dependency)
        return known


class _Dependency:
    def __init__(self, name: str) -> None:
        self.failing: dict[str, _Failure] = {}
        """By kind of loop; the latest failure is the last."""
        self._name = name
        self._called = _IN_A_SENTENCE.get(name, name)
        self._since = 0.0
        self._succeeded_at = -math.inf
        self._failed_at: dict[str, float] = {}
        """By kind of loop: its last failure, if no turn of its own has succeeded since."""
        self._logged_kinds: set[str] = set()
        """The kinds of errors logged since the dependency began to fail."""
        self._logged_at = -math.inf
        self._unlogged = 0

    @property
    def trouble(self) -> Trouble:
        failures = list(self.failing.values())
        reason = next((failure for failure in reversed(failures) if failure.has_cause), failures[-1]).reason
        return Trouble(self._since, reason, tuple(sorted(self.failing)))

    def failed(self, error: DependencyError, loop_kind: str, now: float) -> None:
        if not self.failing:
            self._since = now
            self._logged_kinds.clear()
        refusal = not isinstance(error, UnreachableError | BatchError)
        only_this_loop = refusal or self._failed_at.get(loop_kind, math.inf) < self._succeeded_at
        reason = one_line(str(error) or "no answer", _MAX_REASON_LENGTH)
        self.failing.pop(loop_kind, None)
        self.failing[loop_kind] = _Failure(reason, now, only_this_loop, error.has_cause)
        self._failed_at[loop_kind] = now
        self._unlogged += 1
        self._log(error.kind if refusal else "no answer", now)

    def succeeded(self, loop_kind: str, now: float) -> None:
        self._succeeded_at = now
        self._failed_at.pop(loop_kind, None)
        if not self.failing:
            return
        self.failing = {
            kind: failure
            for kind, failure in self.failing.items()
            if kind != loop_kind and failure.only_this_loop and now - failure.at < SETTLED_AFTER_S
        }
        if not self.failing and self._logged_kinds:
            log.info(
                "dependency.recovered",
                message=f"{self._called[0].upper()}{self._called[1:]} is available again.",
                dependency=self._name,
                after_s=round(now - self._since, 1),
            )

    def forget(self, loop_kind: str) -> None:
        self.failing.pop(loop_kind, None)
        self._failed_at.pop(loop_kind, None)

    def _log(self, kind: str, now: float) -> None:
        overdue = now - self._logged_at >= REMIND_AFTER_S
        is_new = kind not in self._logged_kinds and (bool(self._logged_kinds) or now - self._since >= BRIEF_S)
        if not (overdue or is_new):
            return
        self._logged_kinds.add(kind)
        log.warning(
            "dependency.failing",
            message=f"Calls to {self._called} are failing; the loops retry.",
            dependency=self._name,
            where=sorted(self.failing),
            error=self.trouble.reason,
            for_s=round(now - self._since, 1),
            failed_calls=self._unlogged,
        )
        self._logged_at = now
        self._unlogged = 0
