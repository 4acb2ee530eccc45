"""The outcomes of acts. The codes are stable: scripts may rely on them."""

from enum import StrEnum

import msgspec

from peekaping_producer.schedule import ALL_MONITORS

DEFAULT_HOLD_S, DEFAULT_HOLD_ALL_S = 3600.0, 900.0
MAX_RUN_NOW = 100
"""Monitors of one call."""
MAX_WHO, MAX_WHY = 64, 200
"""Characters."""


class Actor(msgspec.Struct, frozen=True):
    """Who asks."""

    who: str
    """The name of a person."""
    origin: str
    """From where, for the event: `command line on vm-a`, `page, 10.0.0.3`."""


class ActCode(StrEnum):
    """What became of one monitor."""

    DUE_NOW = "due_now"
    OVERLAP = "overlap"
    """It is due now, and its earlier task is pending or running: no second one will be enqueued."""
    ALREADY_DUE = "already_due"
    HANDING_OFF = "handing_off"
    """A claim holds it."""
    IS_HELD = "is_held"
    ALL_HELD = "all_held"
    HELD = "held"
    RELEASED = "released"
    RELEASED_NOW = "released_now"
    """Its interval is unknown."""
    NOT_HELD = "not_held"
    UNANSWERED = "unanswered"
    """Redis failed after a part of the act."""
    TOO_MANY_HOLDS = "too_many_holds"
    PAUSED = "paused"
    UNSCHEDULABLE = "unschedulable"
    NOT_SCHEDULED = "not_scheduled"
    UNKNOWN = "unknown"
    GO_PRODUCER = "go_producer"
    """A Go producer takes part, which would ignore a hold on all monitors."""


class ActOutcome(msgspec.Struct, frozen=True):
    """What became of one monitor, or of all."""

    monitor_id: str
    """ALL_MONITORS for all."""
    code: ActCode
    done: bool
    """Whether the monitor is now as the person wants it."""
    sentence: str
    """Plain text, without the monitor's name."""
    until_ms: int | None = None
    """Redis TIME: the end of the hold on it."""

    @property
    def is_on_all(self) -> bool:
        """Whether it is about all monitors."""
        return self.monitor_id == ALL_MONITORS


class ActResult(msgspec.Struct, frozen=True):
    """What one act did."""

    now_ms: int
    """Redis TIME."""
    outcomes: tuple[ActOutcome, ...]
    """In the order in which the monitors were named."""
    events_refused: str | None = None
    """Why Redis refused to record the events, if it did; the act took place."""

    @property
    def done(self) -> bool:
        """Whether every monitor is as the person wants it."""
        return all(outcome.done for outcome in self.outcomes)
