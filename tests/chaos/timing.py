"""Durations: those of the fault matrix for the long run, shorter ones for the short run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Durations in seconds."""

    lease_ttl_s: float
    sync_s: float
    brief_s: float
    """An outage too short to be noticed."""
    outage_s: float
    """An outage that is noticed."""
    long_outage_s: float
    """An outage of the database until an operator repairs it."""
    spell_s: float
    """The duration of a condition, such as a slow database or a wrong clock."""
    intervals: tuple[int, ...]
    """Of the monitors. Not the shortest, so that an outage of a few seconds does not hit every tick."""
    rows_deleted: int
    events: int

    @property
    def heals_s(self) -> float:
        """The limit for nearly every fault: all monitors run again within 35 s and the duration of a sync."""
        return 35.0 + 5.0

    @property
    def settles_s(self) -> float:
        """An event may be lost, and then a sync finds the edit."""
        return 35.0 + self.sync_s

    @property
    def frozen_s(self) -> float:
        """Longer than any lease."""
        return self.lease_ttl_s + 2


LONG = Timing(
    lease_ttl_s=10,
    sync_s=30,
    brief_s=1,
    outage_s=20,
    long_outage_s=180,
    spell_s=30,
    intervals=(5, 10, 15, 20, 30, 60),
    rows_deleted=100_000,
    events=50_000,
)
SHORT = Timing(
    lease_ttl_s=3,
    sync_s=5,
    brief_s=1,
    outage_s=4,
    long_outage_s=6,
    spell_s=6,
    intervals=(5, 10, 15, 20),
    rows_deleted=3_000,
    events=5_000,
)
