"""What the page reads of the replica that serves it: from memory, without a call to Redis or the database."""

from typing import Protocol

from peekaping_producer.operations.longest_waits import LongestWaits
from peekaping_producer.operations.look import Look


class ReplicaView(Protocol):
    """A running replica."""

    @property
    def node(self) -> str:
        """Its name among the replicas."""

    @property
    def waits(self) -> LongestWaits:
        """What its readings of the schedule have found."""

    def look(self) -> Look:
        """Return the latest readings of the schedule, the queue and the heartbeats."""

    def sample_soon(self) -> None:
        """Begin the next reading now."""

    def now_ms(self) -> int:
        """Return Redis TIME; the local time until Redis has answered."""
