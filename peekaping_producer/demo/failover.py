"""The one accident of the demo: the leading replica is killed, another takes over, the killed one comes back."""

from collections.abc import Callable, Sequence

from peekaping_producer.demo.replica import Replica

LONGEST_S = 12.0
"""The leader's TTL of 10 s, a follower's second between two campaigns, and a second for a slow machine."""
_RETURN_AFTER_S = 2.0


class Failover:
    """Times are seconds since the show began."""

    def __init__(self, replicas: Sequence[Replica], tell: Callable[[str], None], *, kill_at: float | None) -> None:
        """`kill_at`: None where nobody is to be killed."""
        self.planned = kill_at is not None
        self.killed_at_ms: int | None = None
        """By the clock of Redis."""
        self.took_s: float | None = None
        self._kill_at = kill_at if kill_at is not None else float("inf")
        self._killed_at = 0.0
        self._killed: Replica | None = None
        self._replicas = replicas
        self._tell = tell

    async def turn(self, elapsed: float, now_ms: int, term: str | None) -> None:
        """Do what is due at this moment, when `term` leads (None: nobody)."""
        leader = leading(self._replicas, term)
        if self._killed is None:
            if leader and elapsed >= self._kill_at:
                self._killed, self._killed_at, self.killed_at_ms = leader, elapsed, now_ms
                self._tell(f"{leader.name} leads, and is killed (SIGKILL, pid {leader.pid}) after {elapsed:.1f} s")
                await leader.stop(kill=True)
        elif self.took_s is None:
            if leader:
                self.took_s = elapsed - self._killed_at
                self._tell(
                    f"leader killed at {self._killed_at:.1f} s → new leader {leader.name} after {self.took_s:.1f} s"
                )
        elif self._killed.pid is None and elapsed >= self._killed_at + self.took_s + _RETURN_AFTER_S:
            self._killed.start()
            self._tell(f"{self._killed.name} is started again (pid {self._killed.pid}), and follows")


def leading(replicas: Sequence[Replica], term: str | None) -> Replica | None:
    """The replica whose term this is; None where it is nobody's, or a dead one's."""
    return next((replica for replica in replicas if replica.leads(term)), None)
