"""Whether Redis and the database work, judged once per process, however many loops wait for them.

A dependency fails while the last turn of any place (a kind of loop) failed. Where it did not answer, any call that
works ends that. Where it refused the call (missing rights, full memory), or where the place failed again although
other calls worked, the calls of that place alone go wrong: only a turn of its own that works ends that, or
SETTLED_AFTER_S without another failure.
"""

import math
import time
from collections.abc import Callable, Mapping

import msgspec
import structlog

from peekaping_producer.errors import BatchError, DependencyError, UnreachableError
from peekaping_producer.metrics import Metrics

log = structlog.stdlib.get_logger()

REMIND_AFTER_S = 30.0
"""A dependency that keeps failing is logged at first and then this often."""
SETTLED_AFTER_S = 30.0
"""Longer than a failing turn and the pause after it; a place that is idle does not count as failing for longer."""
BRIEF_S = 1.0
"""A trouble that begins within REMIND_AFTER_S of the last line is logged once it lasts for longer than this, so that
single calls that fail now and then do not fill the log."""
_LONGEST_REASON = 300


class Trouble(msgspec.Struct, frozen=True):
    """Why a dependency fails, and since when."""

    since: float
    """By the clock of `Dependencies` (time.monotonic)."""
    reason: str
    """The last error, at most 300 characters."""


class _Failure(msgspec.Struct, frozen=True):
    reason: str
    at: float
    alone: bool
    """Other calls that work prove nothing."""


class Dependencies:
    """Told by the loops what failed and what worked; logs when a dependency begins to fail and when it works again."""

    def __init__(self, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._errors = metrics.errors_by_dependency
        self._clock = clock
        self._known: dict[str, _Dependency] = {}

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """The dependencies that fail now, by name."""
        return {name: each.trouble for name, each in self._known.items() if each.failing}

    def failed(self, error: DependencyError, where: str) -> None:
        """A call of the place `where` failed: count it, and log it where that is news."""
        if counter := self._errors.get(error.dependency):
            counter.labels(where).inc()
        self._of(error.dependency).failed(error, where, self._clock())

    def worked(self, dependency: str, where: str = "") -> None:
        """A call worked; with `where`, everything that this place does."""
        self._of(dependency).worked(where, self._clock())

    def forget(self, where: str) -> None:
        """The place `where` calls no more: what it saw last says nothing about now."""
        for each in self._known.values():
            each.forget(where)

    def _of(self, dependency: str) -> "_Dependency":
        known = self._known.get(dependency)
        if known is None:
            known = self._known[dependency] = _Dependency(dependency)
        return known


class _Dependency:
    def __init__(self, name: str) -> None:
        self.failing: dict[str, _Failure] = {}
        """By place, the one that failed last at the end."""
        self._name = name
        self._since = 0.0
        self._worked_at = -math.inf
        self._failed_at: dict[str, float] = {}
        """By place: its last failure, where no turn of its own has worked since."""
        self._said: set[str] = set()
        """The kinds of errors that were logged in this trouble."""
        self._said_at = -math.inf
        self._unsaid = 0

    @property
    def trouble(self) -> Trouble:
        return Trouble(self._since, list(self.failing.values())[-1].reason)

    def failed(self, error: DependencyError, where: str, now: float) -> None:
        if not self.failing:
            self._since = now
            self._said.clear()
        refusal = not isinstance(error, UnreachableError | BatchError)
        alone = refusal or self._failed_at.get(where, math.inf) < self._worked_at
        self.failing.pop(where, None)
        self.failing[where] = _Failure(_reason_of(error), now, alone)
        self._failed_at[where] = now
        self._unsaid += 1
        self._say(error.kind if refusal else "no answer", now)

    def worked(self, where: str, now: float) -> None:
        self._worked_at = now
        self._failed_at.pop(where, None)
        if not self.failing:
            return
        self.failing = {
            place: each
            for place, each in self.failing.items()
            if place != where and each.alone and now - each.at < SETTLED_AFTER_S
        }
        if not self.failing and self._said:
            log.info(
                "dependency.recovered",
                message=f"{self._name.capitalize()} works again.",
                dependency=self._name,
                after_s=round(now - self._since, 1),
            )

    def forget(self, where: str) -> None:
        self.failing.pop(where, None)
        self._failed_at.pop(where, None)

    def _say(self, kind: str, now: float) -> None:
        overdue = now - self._said_at >= REMIND_AFTER_S
        news = kind not in self._said and (bool(self._said) or now - self._since >= BRIEF_S)
        if not (overdue or news):
            return
        self._said.add(kind)
        log.warning(
            "dependency.failing",
            message=f"{self._name.capitalize()} fails: the loops that need it wait and try again.",
            dependency=self._name,
            where=sorted(self.failing),
            error=self.trouble.reason,
            for_s=round(now - self._since, 1),
            failed_calls=self._unsaid,
        )
        self._said_at = now
        self._unsaid = 0


def _reason_of(error: DependencyError) -> str:
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
