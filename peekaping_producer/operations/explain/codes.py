"""Verdicts on one monitor: their codes, which are stable, and their levels."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How far a monitor is from being checked as it should be."""

    OK = "ok"
    OFF = "off"
    """Not checked, as configured."""
    NOTE = "note"
    """A check is missing; the producer repairs that by itself."""
    FAIL = "FAIL"
    """Checks are missing until a person or a failed program acts."""


LEVELS: Mapping[str, Level] = {
    "row.absent": Level.FAIL,
    "row.unreadable": Level.FAIL,
    "row.no_interval": Level.FAIL,
    "row.paused": Level.OFF,
    "row.waiting": Level.NOTE,
    "redis.unavailable": Level.FAIL,
    "held": Level.OFF,
    "held.all": Level.OFF,
    "schedule.both": Level.FAIL,
    "schedule.absent": Level.NOTE,
    "lease.late": Level.FAIL,
    "lease.expired": Level.NOTE,
    "lease.holder_silent": Level.NOTE,
    "lease.held": Level.OK,
    "due.set_aside": Level.NOTE,
    "due.late": Level.FAIL,
    "due.misaligned": Level.NOTE,
    "task.failing": Level.FAIL,
    "task.stuck.archived": Level.NOTE,
    "task.stuck.orphan": Level.NOTE,
    "task.stuck.active_lost": Level.NOTE,
    "task.stuck.no_list": Level.NOTE,
    "task.stuck.unusable": Level.NOTE,
    "task.waiting_long": Level.FAIL,
    "task.late": Level.NOTE,
    "task.overlap": Level.FAIL,
    "task.running": Level.OK,
    "database.unavailable": Level.FAIL,
    "fleet.no_replica": Level.FAIL,
    "ok.maintenance": Level.OK,
    "ok": Level.OK,
}
"""All codes, in order of precedence."""


class MonitorVerdict(msgspec.Struct, frozen=True):
    """Why the monitor is checked or not, in sentences without secrets."""

    code: str
    sentence: str
    remedy: str = ""
    """What ends the problem, or what to do."""
    cause: str = ""
    """A stable word for the cause, or the code of a condition of the fleet; empty if it is not known."""
    ends_ms: int | None = None
    """When the problem ends by itself, if that is known."""

    @property
    def level(self) -> Level:
        """The level."""
        return LEVELS[self.code]

    @property
    def is_healthy(self) -> bool:
        """Whether the monitor is checked as configured."""
        return self.level in {Level.OK, Level.OFF}
