"""The form of a fault."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos.world import ChaosWorld


class MissedError(Exception):
    """The fault did not take effect, so it proves nothing; the message names what was missing."""


@dataclass(frozen=True)
class Fault:
    """One fault, or one way in which one happens."""

    name: str
    row: str
    """The row of the fault matrix that it belongs to (docs/reliability.md)."""
    inflict: Callable[[ChaosWorld], Awaitable[None]]
    """Begin and end the fault; the replicas must recover by themselves. Raises MissedError."""
    heals_within_s: float | None = None
    """Where it differs from the timing's `heals_s`."""
    excuses: tuple[str, ...] = ()
    """The violations that the checker excuses meanwhile; see history.Fault."""
    short: bool = False
    """Whether it is part of the short run."""
    sentinels: bool = False
    """Whether it needs Redis behind Sentinel."""
    sets_clocks: bool = False
    """Whether it needs libfaketime."""
