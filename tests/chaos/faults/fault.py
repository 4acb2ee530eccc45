"""What a fault is to those who run and judge it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos.world import World


class MissedError(Exception):
    """The fault did not come to pass, so it proves nothing; the message says what was missing."""


@dataclass(frozen=True)
class Fault:
    """One fault, or one way in which one happens."""

    name: str
    row: str
    """The row of the fault matrix that it belongs to (docs/reliability.md)."""
    inflict: Callable[[World], Awaitable[None]]
    """Does it and ends it; what is left to heal is then the replicas' own business. Raises MissedError."""
    heals_within_s: float | None = None
    """Where it differs from the timing's `heals_s`."""
    excuses: tuple[str, ...] = ()
    """What the checker lets pass meanwhile; see history.Fault."""
    short: bool = False
    """Whether it is part of the short run."""
    sentinels: bool = False
    """Whether it needs Redis behind Sentinel."""
    sets_clocks: bool = False
    """Whether it needs libfaketime."""
