"""Every fault there is, in the order of the matrix."""

from tests.chaos.faults import acts, consumers, database, leadership, peers, redis, steps, strange
from tests.chaos.faults.fault import Fault, MissedError

FAULTS: tuple[Fault, ...] = (
    *steps.FAULTS,
    *redis.FAULTS,
    *database.FAULTS,
    *leadership.FAULTS,
    *consumers.FAULTS,
    *peers.FAULTS,
    *strange.FAULTS,
    *acts.FAULTS,
)

__all__ = ["FAULTS", "Fault", "MissedError"]
